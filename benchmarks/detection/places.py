"""Whether a diagnosis names the true place of a leak, and at which rank."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from leakcheck.records import Finding

TRUTH = Path(__file__).resolve().parent / "truth.toml"


@cache
def truths() -> dict[str, list[str]]:
    """Regular expressions by case, all of which the right finding matches."""
    layers = tomllib.loads(TRUTH.read_text("utf-8"))
    return {case: patterns for layer in layers.values() for case, patterns in layer.items()}


def named(case: str, findings: Iterable[Finding]) -> int:
    """Rank of the first finding that names the true place, from 1; 0 where none does or no truth is known."""
    patterns = truths().get(case)
    if not patterns:
        return 0
    for rank, finding in enumerate(findings, 1):
        text = told(finding)
        if all(re.search(pattern, text) for pattern in patterns):
            return rank
    return 0


def told(finding: Finding) -> str:
    """Everything that a finding says about its place."""
    lines = [finding.title, "".join(node.name for node in finding.path)]
    for frame in finding.stack:
        lines.append(f"{frame.file.rpartition('/')[2]}:{frame.line} in {frame.function}: {frame.source}")
    return "\n".join(lines)
