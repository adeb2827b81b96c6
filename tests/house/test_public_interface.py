"""A change of the public interface is deliberate: the dump in the repository changes with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="Pythons spell signatures in different ways")
def test_the_public_interface_is_the_one_in_the_repository(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import public_interface

    assert public_interface.dump().splitlines() == (HERE / "public.txt").read_text("utf-8").splitlines(), (
        "if this is meant: python tests/house/public_interface.py > tests/house/public.txt"
    )
