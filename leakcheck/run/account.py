"""What a run has found so far, wherever its scenarios are examined: in the order of the plan, and kept now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from leakcheck.records import Control, Node, RunResult, ScenarioResult, summarize
from leakcheck.run import provenance
from leakcheck.verdict import result as verdicts

_KEEP_APART = 50
"""Results are kept again after so many times as long as that took."""
_MANY = 200
"""Scenarios beyond which the readings of one that is as expected are not kept: a report shows no curve of it then."""


class Account:
    """The results of one run. Not thread-safe.

    `planned` are the ids of all that will have a result; `keep` gets what is there so far, as of a run that was
    interrupted, in case this process is killed.
    """

    def __init__(
        self, planned: Sequence[str], options: Mapping[str, Any], keep: Callable[[RunResult], None] = lambda _: None
    ) -> None:
        self._started, self._began = datetime.now(UTC), time.perf_counter()
        self._planned = planned
        self._options = dict(options)
        self._keep = keep
        self._keep_due = 0.0
        self._results: dict[str, list[ScenarioResult]] = {}
        """Of each scenario its own, and those of its points of failure."""

    def __contains__(self, scenario_id: str) -> bool:
        return scenario_id in self._results

    def take(self, found: Sequence[ScenarioResult]) -> None:
        """The results of one scenario, its own first."""
        many = len(self._planned) > _MANY
        self._results[found[0].id] = [verdicts.without_curves(result) if many else result for result in found]

    def result(
        self, environment: dict[str, Any], control: Control, *, interrupted: bool, nodes: Sequence[Node] = ()
    ) -> RunResult:
        """The run as far as it has come."""
        ordered = [result for each in self._planned for result in self._results.get(each, ())]
        return RunResult(
            tool=provenance.tool(),
            environment=environment,
            started=self._started.isoformat(timespec="seconds"),
            duration_s=time.perf_counter() - self._began,
            control=control,
            summary=summarize(ordered),
            scenarios=ordered,
            interrupted=interrupted,
            options=self._options,
            nodes=list(nodes),
        )

    def keep_now_and_then(self, so_far: Callable[[], RunResult]) -> None:
        """Keep what is finished, for no more than a small part of the time."""
        now = time.monotonic()
        if now >= self._keep_due:
            self._keep(msgspec.structs.replace(so_far(), interrupted=True))
            self._keep_due = time.monotonic() + _KEEP_APART * (time.monotonic() - now)
