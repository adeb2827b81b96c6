"""The cases: leaks that happened, leaks that hide, and innocents that look guilty; each a folder with its truth."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.detection import faults
from benchmarks.detection.planting import Build

HERE = Path(__file__).resolve().parent


class Case(NamedTuple):
    """One workload with one truth. A published package makes two: its leaking and its mended version."""

    name: str
    layer: str
    """`peer`, or the folder of the case."""
    version: Literal["bad", "good", "only"]
    leaks: bool
    workload: Path
    python: str
    requirements: tuple[str, ...]
    arguable: bool = False
    """Whether the other answer is no mistake either: nothing is lost within the calls, or none of the process's."""
    module: str = ""
    """The module in C or C++ that it imports, from `extensions/`."""
    environ: Mapping[str, str] = {}
    """What the user has set."""
    path: Path | None = None
    """Where that is, once it is compiled."""
    extension: Build = ""
    """How the extension of the planted faults is built for it."""

    @property
    def id(self) -> str:
        """`name` or `name-bad`, `name-good`."""
        return self.name if self.version == "only" else f"{self.name}-{self.version}"


def all_cases() -> list[Case]:
    """Every case of the collection, and the peers' targets."""
    found = []
    for file in sorted((HERE / "cases").glob("*/*/case.toml")):
        told = tomllib.loads(file.read_text("utf-8"))
        layer, workload = file.parent.parent.name, file.parent / "workload.py"
        case = Case(told["name"], layer, "only", layer == "hard", workload, "", ())
        if layer in ("hard", "lookalike"):
            found.append(case._replace(requirements=tuple(told.get("requires", []))))
        elif "expect" in told:
            found += _told(case, told)
        else:
            found += _published(case, told)
    return found + peer_targets() + known_faults()


def _told(case: Case, told: Mapping[str, Any]) -> list[Case]:
    """A case that says what to expect; where a later version of its package is mended, it is the second of two."""
    case = case._replace(
        leaks=told["expect"] == "leak",
        requirements=tuple(told.get("requirements", [])),
        arguable=told.get("arguable", False),
        module=told.get("extension", ""),
        environ=told.get("environ", {}),
    )
    if "mended" not in told:
        return [case]
    return [
        case._replace(version="bad"),
        case._replace(version="good", leaks=False, requirements=tuple(told["mended"])),
    ]


def _published(case: Case, told: Mapping[str, Any]) -> list[Case]:
    """The leaking and the mended version of a package."""
    return [
        case._replace(
            version=version,
            leaks=version == "bad",
            python=told["python"],
            requirements=(
                f"{told['package']}=={told[version]}",
                *told.get("extra_requirements", []),
                *told.get(f"{version}_extra", []),
                *told.get(f"{version}_pins", []),
            ),
        )
        for version in ("bad", "good")
    ]


def peer_targets() -> list[Case]:
    """The small targets on which leak testers were compared: see `peer_targets.py`."""
    from benchmarks.detection.peer_targets import TARGETS

    workload = HERE / "peer_targets.py"
    return [Case(name, "peer", "only", leaks, workload, "", ()) for name, leaks in TARGETS.items()]


def known_faults() -> list[Case]:
    """Faults with one cause, for which the first finding is held against the truth: see `faults.py`."""
    return [
        Case(name, fault.layer, "only", True, faults.workload_file(name), "", fault.requirements, extension=fault.build)
        for name, fault in faults.faults().items()
    ]
