"""Makes the figures of `how-it-works.md`: its example is run, and what the judge read of the heap is drawn.

Each figure carries the readings that it is drawn from, so that it can be drawn and judged again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from leakcheck import meters, results, units
from leakcheck.records import Sample, ScenarioResult
from leakcheck.report.sentences import SYMBOLS
from leakcheck.verdict.doublings import Series
from leakcheck.verdict.judge import judge
from leakcheck.verdict.judgement import Evidence, Judgement

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
FIGURES = ("clean", "bounded", "leak", "inconclusive", "error")
"""The verdicts of the example's scenarios, each the name of a figure: `images/how-leak.svg`."""

_WIDTH, _HEIGHT = 760, 268
_LEFT, _RIGHT, _TOP, _FLOOR = 74, 470, 52, 208
"""Of the curve, in pixels of the figure."""
_BARS, _BAR, _STEP = 540, 48, 72
"""Where the first bar stands, how wide it is, and how far it is to the next."""
_STYLE = """
svg { --card: #fff; --ink: #1f1e1b; --soft: #5f5b53; --line: #d8d3c8; --tint: #f3f0ea; }
@media (prefers-color-scheme: dark) { svg { --card: #1b1d21; --ink: #ebe8e2; --soft: #a9a59c; --line: #41454c; --tint: #26292f; } }
.leak { --v: #b42318; } .error { --v: #8a2094; } .inconclusive { --v: #8a5200; } .bounded { --v: #0b6377; } .clean { --v: #22703a; }
@media (prefers-color-scheme: dark) { .leak { --v: #ff8f85; } .error { --v: #e79cf0; } .inconclusive { --v: #f5b95c; } .bounded { --v: #6fd3e6; } .clean { --v: #84d69a; } }
text { font: 12px system-ui, sans-serif; fill: var(--soft); } .said { font-size: 14px; font-weight: 600; fill: var(--v); }
.card { fill: var(--card); stroke: var(--line); } .doubling { fill: var(--tint); } .axis, .read { stroke: var(--soft); } .read { stroke-opacity: .7; }
.curve { fill: none; stroke: var(--v); stroke-width: 2; } .dot, .bar { fill: var(--v); } .end { stroke: var(--v); stroke-dasharray: 4 3; }
"""  # noqa: E501 - rules of style, one a line


def main() -> None:
    """Write `docs/images/how-<verdict>.svg`."""
    with tempfile.TemporaryDirectory(prefix="curves-") as folder:
        for scenario in measured(Path(folder)):
            (IMAGES / f"how-{scenario.verdict}.svg").write_text(draw(readings(scenario)), "utf-8")


def example() -> str:
    """`shapes.py` as the page prints it."""
    page = (DOCS / "how-it-works.md").read_text("utf-8")
    found = re.search(r"<!-- file: shapes\.py -->\n```python\n(.*?)```", page, re.DOTALL)
    if found is None:
        raise LookupError("how-it-works.md: no block of Python after <!-- file: shapes.py -->; the figures show it")
    return found[1]


def measured(folder: Path) -> list[ScenarioResult]:
    """What the command says of the example, run in `folder`."""
    (folder / "shapes.py").write_text(example(), "utf-8")
    command = [sys.executable, "-m", "leakcheck", "run", "shapes.py", "--report", "report", "--quiet"]
    subprocess.run(command, cwd=folder, check=False, timeout=600)
    return results.read(folder / "report").scenarios


def readings(scenario: ScenarioResult) -> dict[str, Any]:
    """What a figure is drawn from: the verdict, and the readings of the heap."""
    heap = next(meter for meter in scenario.meters if meter.name == meters.LEDGER)
    return {
        "scenario": scenario.id,
        "verdict": scenario.verdict,
        "failure": scenario.failure.type if scenario.failure else "",
        "samples": [[sample.iterations, sample.value] for sample in heap.samples],
    }


def kept(figure: str) -> dict[str, Any]:
    """The same, out of a figure."""
    found = re.search(r"<metadata>(.*?)</metadata>", figure, re.DOTALL)
    if found is None:
        raise LookupError("the figure has no <metadata> with its readings; make it with `make screenshots`")
    told: dict[str, Any] = json.loads(found[1])
    return told


def judged(told: dict[str, Any]) -> Judgement:
    """What the judge says of the readings, as the last word."""
    samples = [Sample(*pair) for pair in told["samples"]]
    return judge(samples, meters.of(meters.LEDGER, "B").thresholds, Evidence(final=told["verdict"] == "inconclusive"))


def draw(told: dict[str, Any]) -> str:
    """A figure: on the left the curve with each reading, on the right the growth in each of the last doublings."""
    series = Series([Sample(*pair) for pair in told["samples"]], meters.of(meters.LEDGER, "B").thresholds)
    verdict, failure = told["verdict"], told["failure"]
    said = failure or (judgement := judged(told)).rule.replace("_", " ") + f": {judgement.reason}"
    parts = [
        f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="8"/>',
        f'<text class="said" x="20" y="28">{SYMBOLS[verdict]} {verdict}</text>'
        f'<text x="156" y="28">{escape(said)}</text>',
        *_curve(series, failure),
        *([] if failure else _rates(series)),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" class="{verdict}" '
        f'role="img"><title>{verdict}: {escape(said)}</title><metadata>{json.dumps(told)}</metadata>'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _curve(series: Series, failure: str) -> Iterator[str]:
    samples = series.samples
    last = samples[-1].iterations
    first = samples[0].value
    highest = max(max(sample.value - first for sample in samples), 4 * series.limits.notable)

    def x(iterations: float) -> float:
        return round(_LEFT + iterations / last * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        return round(_FLOOR - value / highest * (_FLOOR - _TOP), 1)

    if not failure:
        for window in series.windows[::2]:  # the one between them is told by its neighbours
            left, right = (x(edge.iterations) for edge in (window.samples[0], window.samples[-1]))
            box = f'x="{left}" y="{_TOP}" width="{right - left:.1f}" height="{_FLOOR - _TOP}"'
            yield f'<rect class="doubling" {box}/>'
        edges = [series.windows[0].samples[0], *(window.samples[-1] for window in series.windows)]
        for name, edge in zip(("N/8", "N/4", "N/2", "N"), edges, strict=True):
            yield f'<text x="{x(edge.iterations)}" y="{_FLOOR + 24}" text-anchor="middle">{name}</text>'
    else:
        yield f'<path class="end" d="M{_RIGHT} {_TOP}V{_FLOOR}"/>'
        yield f'<text x="{_RIGHT + 12}" y="{_TOP + 14}">the step raises {escape(failure)}</text>'
    yield f'<path class="axis" d="M{_LEFT} {_FLOOR}H{_RIGHT}"/>'
    yield f'<text x="{_RIGHT}" y="{_FLOOR + 44}" text-anchor="end">after {last:,} calls</text>'
    yield f'<text x="{_LEFT}" y="{_FLOOR + 44}">a stroke for each reading</text>'
    for value in (0.0, highest):
        yield f'<text x="{_LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{units.size(value)}</text>'
    yield f'<path class="read" d="{"".join(f"M{x(each.iterations)} {_FLOOR + 1}v6" for each in samples)}"/>'
    points = [(x(each.iterations), y(each.value - first)) for each in samples]
    yield f'<path class="curve" d="M{"L".join(f"{left} {top}" for left, top in points)}"/>'
    yield "".join(f'<circle class="dot" cx="{left}" cy="{top}" r="2.6"/>' for left, top in points)


def _rates(series: Series) -> Iterator[str]:
    rates: Sequence[float] = series.rates
    highest = max(*rates, series.limits.quantum)
    yield f'<text x="{_BARS}" y="{_TOP}">growth per call in each doubling</text>'
    yield f'<path class="axis" d="M{_BARS - 8} {_FLOOR}H{_BARS + 2 * _STEP + _BAR + 8}"/>'
    for index, (name, rate) in enumerate(zip(("N/8 to N/4", "N/4 to N/2", "N/2 to N"), rates, strict=True)):
        height = max(0.0, rate) / highest * (_FLOOR - _TOP - 42)
        left, middle = _BARS + index * _STEP, _BARS + index * _STEP + _BAR / 2
        yield f'<rect class="bar" x="{left}" y="{_FLOOR - height:.1f}" width="{_BAR}" height="{height:.1f}"/>'
        yield (
            f'<text x="{middle:g}" y="{_FLOOR - height - 7:.1f}" text-anchor="middle">{units.size(rate)}</text>'
            f'<text x="{middle:g}" y="{_FLOOR + 24}" text-anchor="middle">{name}</text>'
        )


if __name__ == "__main__":
    main()
