"""Planted faults of an extension: the first finding names the cause, and no finding says what is not so."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnosing import diagnosed

from benchmarks.detection import faults

QUICK = (
    "cycle-no-collector-support",
    "cycle-name-without-module",
    "cycle-member-not-traversed",
    "cycle-no-clear",
    "cycle-owned-by-rust",
    "error-keeps-argument",
    "method-never-given-back",
    "exception-never-given-back",
    "at-fork",
    "two-sites-on-a-line",
)
"""One of each kind; the benchmark of detection has them all."""


@pytest.mark.parametrize("name", QUICK)
def test_the_first_finding_names_the_cause(name: str, extension: Path) -> None:
    file = extension / "workload.py"
    file.write_text(f"{faults.faults()[name].workload}\nfrom leakcheck import scenario\nscenario(call)\n")
    assert faults.wrong(name, diagnosed(file, "call").findings) == ""
