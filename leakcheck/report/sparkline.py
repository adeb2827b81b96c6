"""A series of readings in one line of characters."""

from __future__ import annotations

from collections.abc import Sequence

from leakcheck.records import Sample

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(samples: Sequence[Sample], width: int = 16, least: float = 0.0) -> str:
    """The course of a meter over iterations, oldest left; a flat series stays at the bottom.

    The newest `width` readings are drawn, scaled from their smallest to their largest value, or over `least` when they
    lie closer together: noise must not look like growth.
    """
    values = [sample.value for sample in samples[-width:]]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = max(high - low, least)
    if not span > 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(len(_BARS) - 1, int((value - low) / span * len(_BARS)))] for value in values)
