"""The readers of the meters, inside the measured process: cheap, exact, and leaving no trace.

A reader is made once, before the warm-up, and called often: it returns a number and keeps nothing. To add one, decorate
its maker with the name that the meter has in the tool's catalogue::

    @reader("threads")
    def system_threads(place: Place) -> Read:
        return lambda: len(os.listdir("/proc/self/task"))

A maker that cannot work here raises `Unavailable`, with the reason that the report shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

Read = Callable[[], float]


class Place(NamedTuple):
    """What a reader may have to know of the scenario."""

    directories: Sequence[str]
    """Whose files are counted."""
    in_loop: bool
    """Whether the scenario runs in an event loop."""


Maker = Callable[[Place], Read]

READERS: dict[str, Maker] = {}
"""Filled by `reader`, when the modules of this package are imported."""


class Unavailable(Exception):  # noqa: N818 - not an error: a limit of the platform, said in one sentence
    """This meter cannot work here; the message says why."""


def reader(name: str) -> Callable[[Maker], Maker]:
    """Mark the maker of a meter's reader."""

    def register(maker: Maker) -> Maker:
        READERS[name] = maker
        return maker

    return register
