"""Interpreters without the GIL: one that has turned it on again says so."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

import elkyn


@pytest.mark.parametrize(("flags", "enabled", "said"), [("t", True, True), ("t", False, False), ("", True, False)])
def test_open_says_that_a_free_threaded_python_runs_with_the_gil(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    flags: str,
    enabled: bool,
    said: bool,
) -> None:
    monkeypatch.setattr(sys, "abiflags", flags)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    with caplog.at_level(logging.WARNING, "elkyn"), elkyn.open(tmp_path / "data"):
        pass
    assert ("runs with the GIL" in caplog.text) == said
