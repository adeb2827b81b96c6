"""What an element is called in a finding."""

from __future__ import annotations

import math
from typing import Any

import pytest

from leakcheck.agent.probes.elements import element_name


def numbered() -> None:
    """A function with a name."""


class Store:
    def get(self) -> None: ...


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (numbered, "function numbered"),
        (Store().get, "method Store.get"),
        (Store, "class Store"),
        ([].append, "method list.append"),
        ((each for each in ()).__next__, "method generator.__next__"),
        (dict.fromkeys, "method dict.fromkeys"),
        (math.sin, "function sin"),
        (Store().__eq__, f"method {Store.__module__}.Store.__eq__"),
        (3, "int"),
    ],
)
def test_functions_methods_and_classes_have_names(value: Any, name: str) -> None:
    assert element_name(value) == name
