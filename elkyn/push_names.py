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
        self._lock = threading.Lock()
        self._at_ms = 0
        self._chance = 0

    def make(self) -> str:
        """Return a name that sorts behind all that were made before, also when the clock is set back."""
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            if now_ms > self._at_ms:
                self._at_ms = now_ms
                self._chance = secrets.randbits(CHANCE_BITS - 1)  # one bit less than fits: room to count up
            else:
                self._chance += 1
            number = self._at_ms << CHANCE_BITS | self._chance
        return "".join(ALPHABET[number >> 6 * place & 63] for place in reversed(range(NAME_LENGTH)))
