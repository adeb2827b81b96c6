"""What meters of the same memory say against each other: a heap that has stopped while the resident size goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leakcheck.meters import RESIDENT_SIZE, MeterSpec
from leakcheck.verdict.judgement import Evidence, Judgement


def contradicted(
    judgements: Mapping[str, Judgement], meters: Sequence[MeterSpec], evidence: Evidence
) -> dict[str, Judgement]:
    """The judgements, where no meter of memory has stopped as long as the resident size is a straight line.

    Memory that is taken in large pieces is touched bit by bit. So what grows in jumps, each larger than the one before,
    leaks at the rate at which it is touched. What has grown in other ways and stopped may still be touched, or may grow
    again: that is not known.
    """
    line = judgements.get(RESIDENT_SIZE)
    if line is None or line.rule != "line":
        return dict(judgements)
    memory = [spec.name for spec in meters if spec.decisive and spec.unit == "B" and spec.family in ("heap", "pages")]
    return {
        name: _against(judgement, line, evidence) if name in memory else judgement
        for name, judgement in judgements.items()
    }


def _against(judgement: Judgement, line: Judgement, evidence: Evidence) -> Judgement:
    if judgement.rule == "jumps" and line.verdict == "leak":
        reason = f"grows in jumps, and {RESIDENT_SIZE} in a straight line"
        return judgement._replace(
            verdict="leak", shape="linear", growth=line.growth, low=line.low, high=line.high, detectable=None,
            reason=reason, rule="contradicted", limit=None,
        )  # fmt: skip
    if judgement.verdict == "bounded":
        return judgement._replace(
            verdict="inconclusive" if evidence.final else None,
            reason=f"{judgement.reason}, but {RESIDENT_SIZE} grows in a straight line",
            rule="contradicted",
        )
    return judgement
