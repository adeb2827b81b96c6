"""A finding as the draft of a bug report, in Markdown: what a maintainer needs who does not know this tool."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import msgspec

from leakcheck import units
from leakcheck.records import Finding, Frame, Meter, RunResult, Sample, ScenarioResult
from leakcheck.report import sentences, text
from leakcheck.report.markdown import block, code, plain, stack_lines
from leakcheck.shell import words_of

_REPRODUCTION_LINES = 10
"""Lines of source that are shown of what leaks."""
_WHOLE_FILE_LINES = 30
"""Lines up to which a file is shown as a whole."""
_MOST_FRAMES = 12
"""Frames of the stack."""
_SCALES = 3
"""Numbers of iterations at which the growth is shown."""


def draft(run: RunResult, scenario: ScenarioResult, finding: Finding) -> str:
    """The document. Its numbers are those of the run, its versions those of the folders that the stack lies in."""
    title = f"# {plain(finding.title)}\n"
    return "\n".join([title, *_section("To reproduce", _reproduction(scenario)), *evidence(run, scenario, finding)])


def evidence(run: RunResult, scenario: ScenarioResult, finding: Finding, installed: Iterable[str] = ()) -> list[str]:
    """All sections but the first; `installed` are names with versions that are known beside those of the stack."""
    versions = [*map(plain, installed), *_versions(run, finding)]
    return [
        *_section("Growth", _growth(scenario, finding)),
        *_section("Where", [block(stack_lines(_shown(finding)))] if finding.stack else []),
        *_section("Held by", [code(sentences.path(finding), 600) + "\n"] if finding.path else []),
        *_section("Versions", _list(dict.fromkeys(versions))),
        *_section("Control", _control(run)),
    ]


def _section(title: str, content: Sequence[str]) -> list[str]:
    return [f"## {title}\n", *content] if content else []


def _list(entries: Iterable[str]) -> list[str]:
    return ["".join(f"* {each}\n" for each in entries)]


def _shown(finding: Finding) -> list[Frame]:
    """The stack, with files as others know them: from the package on, or by their name."""
    frames = finding.stack[:_MOST_FRAMES]
    return [msgspec.structs.replace(frame, file=_known_as(frame.file)) for frame in frames]


def _known_as(file: str) -> str:
    folder, _ = _site_packages(file)
    if folder is not None:
        return Path(file).relative_to(folder).as_posix()
    return file.rpartition("/")[2] if file.startswith("/") else file


def _reproduction(scenario: ScenarioResult) -> list[str]:
    command = f"Judged by {code(scenario.command, text.BLOCK)}\n" if scenario.command else ""
    source = _script(scenario) or _lines_of(scenario)
    return [each for each in (block(source, "python") if source else "", command) if each]


def _script(scenario: ScenarioResult) -> list[str]:
    """A statement as a program that repeats it; empty where the scenario is no statement."""
    words = words_of(scenario.command)
    if words[1:2] != ["snippet"]:
        return []
    setup = [words[index + 1] for index, word in enumerate(words[:-1]) if word in ("-s", "--setup")]
    taken = {index + 1 for index, word in enumerate(words) if word.startswith("-")}
    statement = next((word for index, word in enumerate(words[2:], 2) if index not in taken and word[:1] != "-"), "")
    return ["\n".join(setup), "while True:", *(f"    {line}" for line in statement.splitlines())]


def _lines_of(scenario: ScenarioResult) -> list[str]:
    """The file of the scenario, or of a long one the lines from the scenario on, as far as it is there."""
    lines = linecache.getlines(scenario.file) if scenario.file and scenario.line else []
    if len(lines) > _WHOLE_FILE_LINES:
        lines = lines[scenario.line - 1 :][:_REPRODUCTION_LINES]
    return "".join(lines).rstrip().splitlines()


def _growth(scenario: ScenarioResult, finding: Finding) -> list[str]:
    meter = next((each for each in scenario.meters if each.name == finding.meter), None)
    meter = meter or sentences.decisive_meter(scenario)
    rows = list(_scales(meter)) if meter else []
    if meter is None or not rows:
        return []
    lines = [f"| calls | {plain(meter.name)} | for each further call |", "|--:|--:|--:|", *rows]
    return ["\n".join(lines) + "\n"]


def _scales(meter: Meter) -> Iterable[str]:
    """The meter at the end, at half and at a quarter of the iterations, with the rate between two."""
    if not meter.samples:
        return
    last = meter.samples[-1].iterations
    wanted = [last / 2**part for part in range(_SCALES, -1, -1)]
    chosen = [_nearest(meter.samples, mark) for mark in wanted]
    for before, after in pairwise(chosen):
        if calls := after.iterations - before.iterations:
            numbers = after.value, (after.value - before.value) / calls
            total, rate = (units.quantity(number, meter.unit) for number in numbers)
            yield f"| {after.iterations:,} | {total} | {rate} |"


def _nearest(samples: Iterable[Sample], iterations: float) -> Sample:
    return min(samples, key=lambda each: abs(each.iterations - iterations))


def _versions(run: RunResult, finding: Finding) -> Iterable[str]:
    environment = run.environment
    for name, version in _distributions(finding):
        yield plain(f"{name} {version}")
    yield plain(f"{environment.get('implementation', 'Python')} {environment.get('python', '')}")
    yield plain(f"{environment.get('platform', '')}, {environment.get('libc', '')}")
    yield plain(f"{run.tool.name} {run.tool.version}")


def _distributions(finding: Finding) -> Iterable[tuple[str, str]]:
    """Name and version of each installed package that the stack goes through."""
    seen = set()
    for frame in finding.stack:
        folder, inside = _site_packages(frame.file)
        if folder is None or inside in seen:
            continue
        seen.add(inside)
        for each in metadata.distributions(path=[str(folder)]):
            if any(path.parts[:1] == (inside,) for path in each.files or ()):
                yield str(each.name), each.version
                break


def _site_packages(file: str) -> tuple[Path | None, str]:
    """The folder of installed packages that a file lies in, and the name of what lies there."""
    for parent in Path(file).parents:
        if parent.name in ("site-packages", "dist-packages"):
            return parent, Path(file).relative_to(parent).parts[0]
    return None, ""


def _control(run: RunResult) -> list[str]:
    """What was measured in the same run in the same way, with a truth that is known."""
    return _list(plain(f"{check.name}: {check.verdict}, as it should be") for check in run.control.checks if check.ok)
