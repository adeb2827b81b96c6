"""Planted faults: an extension of our own in C, C++ and Cython, and what holds things in the standard library.

`faults.toml` says of each fault how it is called and what its first finding must name, and what no finding may say.
"""

from __future__ import annotations

import re
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.detection.building import compile_extension, output
from benchmarks.detection.places import told
from leakcheck.records import Finding

Build = Literal["", "plain", "stripped"]
"""How the extension is built; empty where a fault needs none."""
_SOURCES = Path(__file__).resolve().parent / "cases" / "planted"
_FLAGS = {
    "plain": ["-g", "-O1"],
    "stripped": ["-O2", "-fvisibility=hidden", "-s"],
}
_CYTHON = "cython"
_MOST_SHARE = 1.005
"""Shares of the findings that explain one meter together, rounding included."""


class PlantedFault(NamedTuple):
    """One workload with one cause."""

    name: str
    workload: str
    build: Build
    truth: list[str]
    """Regular expressions, all of which the first finding matches."""
    never: list[str]
    """What no finding may say."""
    only: bool
    """Whether there is one cause, which is to be told once."""
    second: list[str]
    """Regular expressions that another finding matches, where there is a second cause."""


@cache
def faults() -> dict[str, PlantedFault]:
    """All planted faults by name."""
    table = tomllib.loads((_SOURCES / "faults.toml").read_text("utf-8"))
    return {name: _fault(name, told) for name, told in table.items()}


def _fault(name: str, told: dict[str, object]) -> PlantedFault:
    workload = str(told["workload"]).lstrip("\n")
    needs = re.search(r"^import planted", workload, re.MULTILINE)
    build: Build = "" if not needs else "stripped" if told.get("stripped") else "plain"
    truth, never = list(told["truth"]), list(told.get("never", []))  # type: ignore[call-overload]
    return PlantedFault(name, workload, build, truth, never, bool(told.get("only")), list(told.get("second", [])))  # type: ignore[call-overload]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="planted-")


def workload_file(name: str) -> Path:
    """The workload of a fault as a file, which is there for as long as this process."""
    file = Path(_folder().name) / name / "workload.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(faults()[name].workload, "utf-8")
    return file


def build_c(kind: Build, folder: Path, python: Path = Path(sys.executable)) -> None:
    """Build the extensions in C and C++ into a folder of an interpreter's path. Raises `EnvironmentMissingError`."""
    for name, flags in (("planted.c", _FLAGS[kind]), ("planted_cpp.cpp", _FLAGS[kind]), ("planted_rust.c", ["-O1"])):
        source = _SOURCES / name
        compile_extension(source, folder / f"{source.stem}.so", flags, python)


def build(kind: Build, folder: Path, python: Path) -> None:
    """Build all extensions, that in Cython too, which is fetched from the index. Raises `EnvironmentMissingError`."""
    build_c(kind, folder, python)
    with tempfile.TemporaryDirectory() as temporary:
        output([str(python), "-m", "pip", "install", "--quiet", "--target", f"{temporary}/cython", _CYTHON])
        source = Path(temporary) / "planted_cython.c"
        output(["env", f"PYTHONPATH={temporary}/cython", str(python), "-m", "cython", "-3",
                str(_SOURCES / "planted_cython.pyx"), "-o", str(source)])  # fmt: skip
        compile_extension(source, folder / "planted_cython.so", _FLAGS[kind], python)


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
