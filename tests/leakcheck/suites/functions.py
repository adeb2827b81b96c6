"""Functions that `leakcheck.check` is tried on: in a module of their own, as a user's are."""

import asyncio

kept: list[bytearray] = []


def leaks(size: int = 100) -> None:
    """Keep what it makes."""
    kept.append(bytearray(size))


async def waits() -> None:
    """Let the loop turn once."""
    await asyncio.sleep(0)
