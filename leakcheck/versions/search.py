"""Find the first version that leaks, asking as few versions as can be; versions that cannot be judged are passed by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from leakcheck.records import Record, RunResult
from leakcheck.results.problems import leaks

Answer = Literal["good", "bad", "unknown"]

DECIDED = ("clean", "bounded", "leak")
"""Verdicts that say of a version whether it leaks."""


class Found(Record, frozen=True, kw_only=True):
    """The end of a search: `last_good` is followed by `first_bad`, but for the `unknown` versions between."""

    last_good: str
    first_bad: str
    unknown: list[str]


def answer(run: RunResult, fingerprint: str = "") -> Answer:
    """What a run says of a version: bad when it leaks (or has the leak of that fingerprint), unknown when not judged.

    Planted leaks (`expect="leak"`) that are found do not count.
    """
    if run.control.status == "failed" or run.interrupted or not run.scenarios:
        return "unknown"
    if fingerprint:
        found = [problem for one in run.scenarios if one.verdict == "leak" for problem in leaks(one)]
        if any(problem.fingerprint.startswith(fingerprint) for problem in found):
            return "bad"
    elif any(not scenario.ok and scenario.verdict in DECIDED for scenario in run.scenarios):
        return "bad"
    decided = all(scenario.verdict in DECIDED for scenario in run.scenarios)
    return "good" if decided else "unknown"


def search(versions: Sequence[str], ask: Callable[[str], Answer]) -> Found:
    """Find the border in `versions`, of which the first is known to be good and the last to be bad."""
    good, bad = 0, len(versions) - 1
    unknown: set[int] = set()
    while candidates := [index for index in range(good + 1, bad) if index not in unknown]:
        middle = (good + bad) / 2
        index = min(candidates, key=lambda one: abs(one - middle))
        said = ask(versions[index])
        if said == "good":
            good = index
        elif said == "bad":
            bad = index
        else:
            unknown.add(index)
    between = [versions[index] for index in range(good + 1, bad)]
    return Found(last_good=versions[good], first_bad=versions[bad], unknown=between)
