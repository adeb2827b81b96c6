"""The names that `push()` makes: unique, and in the order of their making."""

import secrets
import threading
import time

ALPHABET = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""64 characters in byte order, each six bits of a name."""
NAME_LENGTH = 20
"""Characters: 8 of the time, 12 of chance."""
CHANCE_BITS = 72
"""Bits of chance below the milliseconds since 1970: names made by several processes do not meet."""


class PushNames:
    """Makes names of the time and of chance that counts up within one millisecond."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._number = 0  # the latest name's

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


def name_of(number: int) -> str:
    """Return the name that is `number`, milliseconds above chance."""
    return "".join(ALPHABET[number >> 6 * place & 63] for place in reversed(range(NAME_LENGTH)))
