"""Counters that are read at the end of a round, inside the measured process: cheap, exact, and leaving no trace.

A meter is made once, before the warm-up, and read often: `read()` returns a number and keeps nothing. A meter that
cannot work here raises `Unavailable` when it is made, with the reason that the report shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Unavailable(Exception):  # noqa: N818 - not an error: a limit of the platform, said in one sentence
    """This meter cannot work here; the message says why."""


class Meter(NamedTuple):
    """One counter of the process."""

    name: str
    unit: str
    read: Callable[[], float]
    decisive: bool = True
    """Whether growth of this meter makes a leak, or is evidence only."""
