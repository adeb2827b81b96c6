"""The cases: leaks that happened, leaks that hide, and innocents that look guilty; each a folder with its truth."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.detection import planting
from benchmarks.detection.planting import Build

HERE = Path(__file__).resolve().parent


class Case(NamedTuple):
    """One workload with one truth. A published package makes two: its leaking and its mended version."""

    name: str
    layer: Literal["hard", "lookalike", "adversarial", "native", "python", "peer", "planted"]
    version: Literal["bad", "good", "only"]
    leaks: bool
    workload: Path
    python: str
    requirements: tuple[str, ...]
    arguable: bool = False
    """Whether the other answer is no mistake either: nothing is lost within the calls, or none of the process's."""
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
        if layer in ("hard", "lookalike"):
            needs = tuple(told.get("requires", []))
            found.append(Case(told["name"], layer, "only", layer == "hard", workload, "", needs))  # type: ignore[arg-type]
            continue
        if layer == "adversarial":
            needs, arguable = tuple(told.get("requirements", [])), told.get("arguable", False)
            leaks = told["expect"] == "leak"
            found.append(Case(told["name"], layer, "only", leaks, workload, "", needs, arguable))  # type: ignore[arg-type]
            continue
        for version in ("bad", "good"):
            needs = (
                f"{told['package']}=={told[version]}",
                *told.get("extra_requirements", []),
                *told.get(f"{version}_extra", []),
                *told.get(f"{version}_pins", []),
            )
            found.append(Case(told["name"], layer, version, version == "bad", workload, told["python"], needs))  # type: ignore[arg-type]
    return found + peer_targets() + planted_faults()


def peer_targets() -> list[Case]:
    """The small targets on which leak testers were compared: see `peer_targets.py`."""
    from benchmarks.detection.peer_targets import TARGETS

    workload = HERE / "peer_targets.py"
    return [Case(name, "peer", "only", leaks, workload, "", ()) for name, leaks in TARGETS.items()]


def planted_faults() -> list[Case]:
    """Faults with one cause, for which the first finding is held against the truth: see `planting.py`."""
    return [
        Case(name, "planted", "only", True, planting.workload_file(name), "", (), extension=fault.build)
        for name, fault in planting.faults().items()
    ]
