"""Since which version of a package its finds leak: their scenarios are judged in as few of the older ones as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from leakcheck.errors import UsageError
from leakcheck.execution.workspace import Workspace
from leakcheck.records import ScenarioResult
from leakcheck.sweep import judged
from leakcheck.sweep.outcome import Age
from leakcheck.versions import sandbox, search


class Range:
    """Versions of a package from pip's index, the oldest first; the last is the one that is swept."""

    def __init__(self, package: str, asked: str) -> None:
        """`asked` is `A..B`, or `A..` up to the newest. Raises `UsageError` for what is none, or not in the index."""
        oldest, dots, newest = asked.partition("..")
        if not (oldest and dots):
            raise UsageError(f"--versions {asked} is no range; write 1.0..2.0, or 1.0.. up to the newest")
        self.package = package
        self.versions = sandbox.between(package, oldest, newest, prereleases=False)


class Ages:
    """Judges finds in the versions of a range; each version is installed once, and judges all of them."""

    def __init__(self, asked: Range, jobs: int, stage: Callable[[str], None]) -> None:
        self._range = asked
        self._jobs = jobs
        self._stage = stage

    def of(self, files: Mapping[str, str]) -> dict[str, Age]:
        """The age of each find, by the names of its scenario files, whose content leaks in the last version."""
        answers: dict[str, dict[str, search.Answer]] = {}

        def ask(name: str, version: str) -> search.Answer:
            if version not in answers:
                answers[version] = self._answers(version, files)
            return answers[version][name]

        versions = self._range.versions
        return {name: _age(versions, partial(ask, name)) for name in files}

    def _answers(self, version: str, files: Mapping[str, str]) -> dict[str, search.Answer]:
        requirement = f"{self._range.package}=={version}"
        self._stage(f"since when: {requirement}")
        with Workspace() as place:
            try:
                python = sandbox.environment(place / "environment")
                sandbox.install(python, [requirement])
                said = judged.judge(files, str(python), self._jobs, diagnose=False)
            except sandbox.TrialError:
                return dict.fromkeys(files, "unknown")
        return {name: _answer(said.of(name)) for name in files}


def _answer(result: ScenarioResult | None) -> search.Answer:
    if result is None or result.verdict not in search.DECIDED:
        return "unknown"
    return "bad" if result.verdict == "leak" else "good"


def _age(versions: Sequence[str], ask: Callable[[str], search.Answer]) -> Age:
    oldest = ask(versions[0])
    if oldest == "bad":
        return Age(leaks=versions[0], clean="", unknown=[])
    found = search.search(versions, ask)
    if oldest == "unknown" and found.last_good == versions[0]:
        return Age(leaks=found.first_bad, clean="", unknown=[versions[0], *found.unknown])
    return Age(leaks=found.first_bad, clean=found.last_good, unknown=found.unknown)
