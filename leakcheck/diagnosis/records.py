"""What a diagnosis is given and what it gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import field

from leakcheck.records import Finding, Record, ToolRun

ToolName = Literal["graph", "memray", "valgrind"]


class GrowthFacts(Record, frozen=True, kw_only=True):
    """What the growth measurement found out, so that the diagnosis runs no longer than it must."""

    meters: dict[str, float]
    """Growth per iteration of each meter that grows."""
    iterations: int = 0
    """After how many the leak was clear; 0 where unknown."""
    seconds_per_iteration: float = 0.0
    warmup: int = 0
    """Iterations before the growth is steady."""
    pause: float = 0.0
    """Seconds after which what the step keeps for a time only has gone; 0 where it keeps nothing so."""


class DiagnosisOptions(Record, frozen=True, kw_only=True):
    """What a diagnosis may do."""

    tools: frozenset[ToolName] = frozenset({"graph", "memray", "valgrind"})
    valgrind: bool = False
    """Run valgrind even where nothing native seems to grow."""
    keep_captures: Path | None = None
    """Folder in which memray's captures stay; None throws them away."""
    suppressions: tuple[Path, ...] = ()
    """Files in valgrind's suppression syntax."""
    graph: Path | None = None
    """Folder for pictures of the back-references (needs objgraph and graphviz)."""
    time_s: float = 120.0
    """Time-out of each process other than valgrind's."""
    valgrind_time_s: float = 120.0


class Diagnosis(Record, frozen=True, kw_only=True):
    """The causes of a growth, and how complete they are."""

    findings: list[Finding] = field(default_factory=list)
    """The best first."""
    tools: list[ToolRun] = field(default_factory=list)
    explained: float | None = None
    """The part of the growth of the heap (of the first growing meter, where the heap does not grow) that the findings
    explain, 0 to 1."""
    pictures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else a person should know: captures that were kept and how to open them, records that were suppressed."""
