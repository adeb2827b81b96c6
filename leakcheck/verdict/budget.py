"""The last word of a verdict: growth that a scenario's budget accepts is no leak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from leakcheck import units
from leakcheck.meters import MeterSpec
from leakcheck.verdict.judgement import Judgement


def applied(
    judgements: Mapping[str, Judgement], meters: Iterable[MeterSpec], budget: Mapping[str, float]
) -> dict[str, Judgement]:
    """The judgements with a leak within its budget called clean. A budget is growth per iteration, by meter."""
    return {spec.name: _held_against(judgements[spec.name], spec, budget.get(spec.name)) for spec in meters}


def _held_against(judgement: Judgement, spec: MeterSpec, allowed: float | None) -> Judgement:
    if allowed is None or judgement.verdict != "leak":
        return judgement
    limit = f"{units.quantity(allowed, spec.unit)} per iteration"
    if judgement.low <= allowed:  # within the confidence interval
        return judgement._replace(verdict="clean", rule="within_budget", reason=f"grows within its budget of {limit}")
    return judgement._replace(rule="beyond_budget", reason=f"grows beyond its budget of {limit}")
