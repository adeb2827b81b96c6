"""The names that `push()` makes: unique, and in the order of their making."""

import secrets
import threading
import time

ALPHABET = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""64 characters in byte order, each six bits of a name."""
NAME_LENGTH = 20
"""Characters: 8 of the time, 12 of chance."""
KNOWN_PATHS = 1024
"""Paths that are known to hold no later name: as many as a program may push to at the same time."""
FAR_AHEAD_MS = 1 << 44
"""Milliseconds since 1970 that no clock shows: the year 2527. A name of then was made by hand."""
CHANCE_BITS = 72
"""Bits of chance below the milliseconds since 1970: names made by several processes do not meet."""


class PushNames:
    """Makes names of the time and of chance that counts up within one millisecond."""

    def __init__(self, after_ms: int = 0) -> None:
        """Names sort behind those that were made up to `after_ms`, milliseconds since 1970."""
        self._lock = threading.RLock()
        self._number = (after_ms + 1) << CHANCE_BITS if after_ms else 0  # the latest name's
        self._known: dict[str, None] = {}  # paths whose names are all behind us

    @property
    def latest_ms(self) -> int:
        """The time of the latest name, in milliseconds since 1970."""
        return self._number >> CHANCE_BITS

    def knows(self, path: str) -> bool:
        """Whether it has been told of the names that were there below `path`."""
        return path in self._known

    def follow(self, path: str, last: str | None) -> None:
        """Make names that sort behind `last`, which stands below `path`: made in another session, by another clock."""
        if len(self._known) >= KNOWN_PATHS:
            del self._known[next(iter(self._known))]
        self._known[path] = None
        number = None if last is None else number_of(last)
        if number is not None:
            with self._lock:
                self._number = max(self._number, number)

    def make(self) -> str:
        """Return a name that sorts behind all that were made before, also when the clock is set back."""
        inside = self._lock._is_owned()  # type: ignore[attr-defined]  # a signal's handler has interrupted us
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            if inside:  # what we were about to make stays another name
                number = self._number + 1 + secrets.randbits(CHANCE_BITS - 1)
            elif now_ms > self._number >> CHANCE_BITS:
                # One bit of chance less than fits: room to count up.
                number = now_ms << CHANCE_BITS | secrets.randbits(CHANCE_BITS - 1)
            else:
                number = self._number + 1
            self._number = max(self._number, number)
        return name_of(number)


def number_of(name: str) -> int | None:
    """Return the number of a name that push() has made; None for any other, and for one of a time far ahead."""
    if len(name) != NAME_LENGTH or any(character not in ALPHABET for character in name):
        return None
    number = 0
    for character in name:
        number = number << 6 | ALPHABET.index(character)
    return number if number >> CHANCE_BITS < FAR_AHEAD_MS else None


def name_of(number: int) -> str:
    """Return the name that is `number`, milliseconds above chance."""
    return "".join(ALPHABET[number >> 6 * place & 63] for place in reversed(range(NAME_LENGTH)))
