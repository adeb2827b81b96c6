"""Growth charts as inline SVG: the readings of a meter over iterations, the fitted growth and its confidence band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from leakcheck import units
from leakcheck.records import Meter, Sample
from leakcheck.report.text import line

_WIDTH, _HEIGHT = 640, 220
"""Of a chart, in its own units: a third as high as wide, so that two fit on a screen."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 16, 14, 30
"""Margins of the plot: room for labels such as `1,023.9 MiB` on the left, for iterations below."""
_MINI_WIDTH, _MINI_HEIGHT = 240, 52  # twice the size it is shown in, so that whole numbers are fine enough
_POINTS = 160
"""Readings drawn at most; more are thinned evenly, the first and the last always stay."""


@dataclass(frozen=True)
class _Scale:
    """Maps iterations and values to the drawing."""

    n0: float
    n1: float
    low: float
    high: float
    left: float
    width: float
    top: float
    height: float

    def x(self, n: float) -> float:
        return round(self.left + (n - self.n0) / max(self.n1 - self.n0, 1) * self.width, 1)

    def y(self, value: float) -> float:
        return round(self.top + (self.high - value) / (self.high - self.low) * self.height, 1)


def steepness(meter: Meter) -> float:
    """By how much the readings of a meter go up and down, per iteration: what charts of one scale have in common."""
    values = [sample.value for sample in meter.samples if math.isfinite(sample.value)]
    calls = meter.samples[-1].iterations - meter.samples[0].iterations if meter.samples else 0
    return (max(values) - min(values)) / calls if values and calls > 0 else 0.0


def chart(meter: Meter, steepest: float = 0.0) -> Markup:
    """The large chart of a meter; empty for a meter without two readings. Values are changes since the first.

    In charts of one `steepest`, the largest `steepness` among their meters, the same slope is the same growth.
    """
    samples = _thinned(meter.samples)
    if len(samples) < 2 or samples[0].iterations == samples[-1].iterations:
        return Markup()
    least = max(_least_span(meter, samples), steepest * (samples[-1].iterations - samples[0].iterations))
    scale = _scale(least, samples, _LEFT, _WIDTH - _LEFT - _RIGHT, _TOP, _HEIGHT - _TOP - _BOTTOM)
    first, last, unit = samples[0], samples[-1], line(meter.unit, 40)
    label = (
        f"{line(meter.name, 60)}: {units.quantity(first.value, unit)} at {first.iterations:,} iterations, "
        f"{units.quantity(last.value, unit)} at {last.iterations:,}"
    )
    parts = _grid(scale, first.value, meter.unit)
    parts.append(f'<path class="series" d="{_line(samples, scale)}"/>')
    parts.extend(_fitted(meter, scale))
    parts.append(f'<path class="dots" d="{_dots(samples, scale)}"/>')
    parts.append(f'<path class="cursor" d="M-9 {_TOP}V{_HEIGHT - _BOTTOM}"/>')
    return Markup(  # noqa: S704 - numbers made here, and names through escape()
        f'<svg class="chart v-{meter.verdict}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{escape(label)}" data-frame="{_LEFT} {_WIDTH - _LEFT - _RIGHT}" '
        f"{_readings(meter, samples)}>{''.join(parts)}</svg>"
    )


def mini(meter: Meter) -> Markup:
    """The small chart of a meter beside its figures, in as few bytes as can be: a page has hundreds."""
    samples = _thinned(meter.samples)
    if len(samples) < 2:
        return Markup()
    scale = _scale(_least_span(meter, samples), samples, 4, _MINI_WIDTH - 8, 6, _MINI_HEIGHT - 12)
    return Markup(  # noqa: S704 - numbers made here, and the unit through escape()
        f'<svg class="mini v-{meter.verdict}" viewBox="0 0 {_MINI_WIDTH} {_MINI_HEIGHT}" '
        f'{_readings(meter, _without_flats(samples))}><path d="{_small_line(samples, scale)}"/></svg>'
    )


def _readings(meter: Meter, samples: Sequence[Sample]) -> str:
    """The readings for the script: `iterations:value`, the value left out where it is the one before."""
    pairs, before = [], None
    for sample in samples:
        pairs.append(f"{sample.iterations}" if sample.value == before else f"{sample.iterations}:{sample.value:.12g}")
        before = sample.value
    return f'data-u="{escape(line(meter.unit, 40))}" data-s="{" ".join(pairs)}"'


def _thinned(samples: Sequence[Sample]) -> list[Sample]:
    finite = [sample for sample in samples if math.isfinite(sample.value)]
    if len(finite) <= _POINTS:
        return finite
    step = (len(finite) - 1) / (_POINTS - 1)
    return [finite[round(index * step)] for index in range(_POINTS)]


def _scale(least: float, samples: Sequence[Sample], left: float, width: float, top: float, height: float) -> _Scale:
    values = [sample.value for sample in samples]
    low, high = min(values), max(values)
    if high - low < least:  # noise far below what could matter must not look like a mountain range
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    margin = (high - low) * 0.06
    return _Scale(samples[0].iterations, samples[-1].iterations, low - margin, high + margin, left, width, top, height)


def _least_span(meter: Meter, samples: Sequence[Sample]) -> float:
    rounds = samples[-1].iterations - samples[0].iterations
    noticed = (meter.detectable or 0.0) * rounds * 2
    return max(noticed, 4096.0 if meter.unit == "B" else 4.0, abs(samples[0].value) * 1e-9)


def _line(samples: Sequence[Sample], scale: _Scale) -> str:
    points = [(scale.x(s.iterations), scale.y(s.value)) for s in _without_flats(samples)]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _small_line(samples: Sequence[Sample], scale: _Scale) -> str:
    """The path in whole numbers, each place once."""
    places = dict.fromkeys((round(scale.x(s.iterations)), round(scale.y(s.value))) for s in _without_flats(samples))
    return "M" + "L".join(f"{x} {y}" for x, y in places)


def _dots(samples: Sequence[Sample], scale: _Scale) -> str:
    """A dot for each reading, as strokes of no length with round ends; those that would cover each other once."""
    places = dict.fromkeys((round(scale.x(s.iterations)), round(scale.y(s.value))) for s in samples)
    return "".join(f"M{x} {y}h0" for x, y in places)


def _without_flats(samples: Sequence[Sample]) -> list[Sample]:
    """The readings without those between two of the same value: the same line with fewer points."""
    return [
        sample
        for index, sample in enumerate(samples)
        if index in (0, len(samples) - 1) or not samples[index - 1].value == sample.value == samples[index + 1].value
    ]


def _grid(scale: _Scale, base: float, unit: str) -> list[str]:
    parts = []
    right = scale.left + scale.width
    for tick in _ticks(scale.low - base, scale.high - base, unit):
        y = scale.y(base + tick)
        label = f"{'+' if tick > 0 else ''}{units.quantity(tick, unit if unit == 'B' else '')}"
        parts.append(
            f'<path class="grid{" zero" if tick == 0 else ""}" d="M{scale.left:g} {y:g}H{right:g}"/>'
            f'<text x="{scale.left - 8:g}" y="{y + 4:g}" text-anchor="end">{escape(label)}</text>'
        )
    floor = scale.top + scale.height
    for tick in _ticks(scale.n0, scale.n1, ""):
        x = scale.x(tick)
        parts.append(
            f'<path class="grid" d="M{x:g} {floor:g}v4"/>'
            f'<text x="{x:g}" y="{floor + 18:g}" text-anchor="middle">{tick:,.0f}</text>'
        )
    return parts


def _ticks(low: float, high: float, unit: str) -> list[float]:
    """Round numbers between `low` and `high`, about four; for bytes powers of two."""
    rough = (high - low) / 4
    if unit == "B":
        step = 2.0 ** math.ceil(math.log2(rough))
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)][:12]


def _fitted(meter: Meter, scale: _Scale) -> list[str]:
    """The growth of the later half of the readings as a line, and its confidence interval as a fan around it."""
    late = [sample for sample in meter.samples[len(meter.samples) // 2 :] if math.isfinite(sample.value)]
    slopes = (meter.low, meter.growth, meter.high)
    if len(late) < 2 or not all(map(math.isfinite, slopes)) or not meter.model:
        return []
    level = sorted(sample.value - meter.growth * sample.iterations for sample in late)[len(late) // 2]
    start, end = late[0].iterations, late[-1].iterations
    pivot = (start + end) / 2
    centre = level + meter.growth * pivot

    def at(slope: float, n: float) -> str:
        value = min(max(centre + slope * (n - pivot), scale.low), scale.high)
        return f"{scale.x(n):g} {scale.y(value):g}"

    band = "L".join((at(meter.low, start), at(meter.high, end), at(meter.low, end), at(meter.high, start)))
    return [
        f'<path class="band" d="M{band}Z"/>',
        f'<path class="fit" d="M{at(meter.growth, start)}L{at(meter.growth, end)}"/>',
    ]
