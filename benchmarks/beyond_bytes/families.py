"""Planted leaks of a kind, and innocents that look like them: each a line or a few of `families/*.toml`.

A family says how its cases are run, and where the tool must say, and for innocents must not say, what is wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, Literal, NamedTuple

from leakcheck.meters import REFERENCES
from leakcheck.records import ALL_POINTS, POINT, ScenarioResult
from leakcheck.report import sentences

FOLDER = Path(__file__).resolve().parent / "families"
How = Literal["run", "errors", "tests"]


class Case(NamedTuple):
    """A step, or a test, that leaks or looks like it."""

    name: str
    body: str
    says: str
    """Regular expression that what is said of it matches; empty for an innocent."""

    @property
    def function(self) -> str:
        """The name of its function."""
        return re.sub(r"\W+", "_", f"{'leaks' if self.says else 'innocent'} {self.name}")


class Family(NamedTuple):
    """Cases of one kind, which have a file in common."""

    name: str
    how: How
    """`run`, `run --errors` or `pytest --leakcheck-tasks`."""
    told: str
    """Where it must be said: a key of `SAID`, or `failed`, where a test fails."""
    head: str
    define: str
    tail: str
    errors: str
    """The exceptions that are legal; empty for those that usually are."""
    cases: list[Case]

    def source(self) -> str:
        """The file of all cases."""
        mark = f"@scenario(errors={self.errors})" if self.errors else "@scenario"
        decorated = self.define if self.how == "tests" else f"{mark}\n{self.define}"
        prefix = "test_" if self.how == "tests" else ""
        text = self.head if self.how == "tests" else f"from leakcheck import scenario\n{self.head}"
        for case in self.cases:
            body = indent(f"{case.body.strip()}\n{self.tail}".rstrip(), "    ")
            text += f"\n\n{decorated} {prefix}{case.function}():\n{body}\n"
        return text


def families() -> list[Family]:
    """All of them, in the order of their names."""
    return [_family(file.stem, tomllib.loads(file.read_text("utf-8"))) for file in sorted(FOLDER.glob("*.toml"))]


def _family(name: str, told: dict[str, Any]) -> Family:
    cases = [Case(each, body, says) for each, (body, says) in told["leaking"].items()]
    cases += [Case(each, body, "") for each, body in told["innocent"].items()]
    how, head = told["how"], told["head"]
    define, tail, errors = told.get("define", "def"), told.get("tail", ""), told.get("errors", "")
    return Family(name, how, told["told"], head, define, tail, errors, cases)


Said = Callable[[Sequence[ScenarioResult]], str]
"""What the results of a case accuse it of, empty where they acquit it. Raises `NotLookedAtError`."""


class NotLookedAtError(Exception):
    """The tool has not looked at it, or has not decided; the message says why."""


def _references(results: Sequence[ScenarioResult]) -> str:
    (result,) = results
    meter = next((each for each in result.meters if each.name == REFERENCES), None)
    if result.verdict == "leak" and meter is not None and meter.growth:
        return result.reason
    if result.verdict not in ("clean", "bounded") or meter is None or "no reference count drifts" not in meter.reason:
        raise NotLookedAtError(f"{result.verdict}: {result.reason}; {' '.join(result.advice)}")
    return ""


def _garbage(results: Sequence[ScenarioResult]) -> str:
    (result,) = results
    if result.verdict not in ("clean", "bounded"):
        raise NotLookedAtError(f"{result.verdict}: {result.reason}")
    return sentences.garbage(result)


def _unfinished(results: Sequence[ScenarioResult]) -> str:
    (result,) = results
    if result.failure is not None:
        raise NotLookedAtError(result.reason)
    ends = ("destroyed while pending", "never awaited", "left before its end")
    return "; ".join(each for each in result.advice if any(end in each for end in ends))


def _pace(results: Sequence[ScenarioResult]) -> str:
    (result,) = results
    if result.failure is not None:
        raise NotLookedAtError(result.reason)
    return "; ".join(each for each in result.advice if "slower" in each)


def _points(results: Sequence[ScenarioResult]) -> str:
    accused = [each for each in results if POINT in each.id and not each.id.endswith(ALL_POINTS)]
    whole = [each for each in results if each.id.endswith(ALL_POINTS)]
    plain = [each for each in results if POINT not in each.id]
    if [each.verdict for each in plain] not in (["clean"], ["bounded"]):
        return "; ".join(f"without a failure {each.verdict}: {each.reason}" for each in plain)
    if accused:
        return "; ".join(each.reason for each in accused)
    if not whole or not whole[0].reason.endswith("none leaves anything behind"):
        raise NotLookedAtError("; ".join(each.reason for each in whole) or "no point")
    return ""


SAID: dict[str, Said] = {
    "references": _references,
    "garbage": _garbage,
    "unfinished": _unfinished,
    "pace": _pace,
    "points": _points,
}
