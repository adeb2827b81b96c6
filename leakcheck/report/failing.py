"""What a failing test or a printed result says: the verdict sentence, the line, who holds it, how to see it again."""

from __future__ import annotations

from leakcheck import units
from leakcheck.records import Finding, ScenarioResult
from leakcheck.report import sentences
from leakcheck.report.text import block, line
from leakcheck.results.problems import place

_MOST_FINDINGS = 3
"""Findings of one scenario that a failure shows."""
_MOST_FRAMES = 6
"""Frames of a finding that a failure shows."""


def text(result: ScenarioResult) -> str:
    """Plain text, the sentence first; one line for what is as expected."""
    lines = [f"{_head(result)}: {line(result.reason)}"]
    if result.ok:
        return lines[0]
    for finding in result.findings[:_MOST_FINDINGS]:
        lines += _finding(finding, result)
    if len(result.findings) > _MOST_FINDINGS:
        lines.append(f"  and {len(result.findings) - _MOST_FINDINGS} more")
    if excess := sentences.beyond_budget(result):
        lines.append(f"  {excess}")
    elif not result.findings and result.verdict == "leak":
        lines += [
            f"  {meter.name} {units.rate(meter.growth, meter.unit)}"
            for meter in result.meters
            if meter.decisive and meter.verdict == "leak"
        ]
    if result.failure is not None and result.failure.traceback:
        lines += [f"  {each}" for each in block(result.failure.traceback).rstrip().splitlines()[-30:]]
    if result.iterations:
        lines.append(f"  measured over {result.iterations:,} iterations in {units.seconds(result.duration_s)}")
    return "\n".join(lines)


def _head(result: ScenarioResult) -> str:
    expectation = sentences.expectation(result)
    return f"{result.verdict} ({expectation})" if expectation else str(result.verdict)


def _finding(finding: Finding, result: ScenarioResult) -> list[str]:
    lines = [] if finding.title == result.reason else [f"  {line(finding.title)}"]
    where = sentences.location(place(finding))
    source = next((frame.source for frame in finding.stack if frame.user and frame.source), "")
    if where:
        lines.append(f"  {where}" + (f": {line(source, 160)}" if source else ""))
    outer = [frame for frame in finding.stack if frame.user][1:_MOST_FRAMES]
    lines += [f"    from {sentences.location(frame)}: {line(frame.source, 160)}" for frame in outer]
    if finding.path:
        lines.append(f"  held by {line(sentences.path(finding))}")
    numbers = [part for part in (sentences.rates(finding), sentences.share(finding, result)) if part]
    if numbers:
        lines.append(f"  {', '.join(numbers)}")
    if finding.hint:
        lines.append(f"  {line(finding.hint)}")
    return lines
