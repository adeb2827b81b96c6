"""Faults of which each has one true cause: planted ones in extensions of our own, and those of published packages.

`cases/*/faults.toml` says of each how it is called and what its first finding must name, and what no finding may say.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.detection.places import told
from benchmarks.detection.planting import Build
from leakcheck.records import Finding

_CASES = Path(__file__).resolve().parent / "cases"
_MOST_SHARE = 1.005
"""Shares of the findings that explain one meter together, rounding included."""


class Fault(NamedTuple):
    """One workload with one cause."""

    name: str
    layer: str
    """`planted` or `published`."""
    workload: str
    build: Build
    requirements: tuple[str, ...]
    """The release that leaks."""
    truth: list[str]
    """Regular expressions, all of which the first finding matches."""
    never: list[str]
    """What no finding may say."""
    only: bool
    """Whether there is one cause, which is to be told once."""
    second: list[str]
    """Regular expressions that another finding matches, where there is a second cause."""


@cache
def faults() -> dict[str, Fault]:
    """All faults by name."""
    return {
        name: _fault(name, file.parent.name, said)
        for file in sorted(_CASES.glob("*/faults.toml"))
        for name, said in tomllib.loads(file.read_text("utf-8")).items()
    }


def _fault(name: str, layer: str, said: Mapping[str, Any]) -> Fault:
    workload = said["workload"].lstrip("\n")
    needs = re.search(r"^import planted", workload, re.MULTILINE)
    return Fault(
        name,
        layer,
        workload,
        "" if not needs else "stripped" if said.get("stripped") else "plain",
        tuple(said.get("requires", [])),
        said["truth"],
        said.get("never", []),
        said.get("only", False),
        said.get("second", []),
    )


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="faults-")


def workload_file(name: str) -> Path:
    """The workload of a fault as a file, which is there for as long as this process."""
    file = Path(_folder().name) / name / "workload.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(faults()[name].workload, "utf-8")
    return file


def wrong(name: str, findings: Sequence[Finding]) -> str:
    """What is wrong with the findings of a fault; empty where all is right."""
    fault = faults()[name]
    if not findings:
        return "no finding"
    missing = [pattern for pattern in fault.truth if not re.search(pattern, told(findings[0]))]
    if missing:
        return f"the first finding does not say {' nor '.join(missing)}"
    for finding in findings:
        for pattern in fault.never:
            if re.search(pattern, told(finding)):
                return f"a finding says {pattern}"
    for meter in {finding.meter for finding in findings}:
        if sum(finding.share or 0.0 for finding in findings if finding.meter == meter) > _MOST_SHARE:
            return f"the shares of {meter} are more than the whole"
    if fault.second and not any(all(re.search(each, told(other)) for each in fault.second) for other in findings[1:]):
        return f"no other finding says {' and '.join(fault.second)}"
    if fault.only and len(findings) > 1:
        return f"one cause, {len(findings)} findings"
    return ""
