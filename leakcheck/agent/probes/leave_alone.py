"""Lets go what a step keeps for a time only: wait until that is over, and call the step again, which then looks."""

from __future__ import annotations

import time
from typing import Any

_REST = 64
"""Part of the iterations whose things may be there still at the end."""


async def leave_alone(driver: Any, pause: float, count: int) -> None:
    """After `count` iterations: as many again, since some forget only a few things at each call, and then a few.

    Nothing is done where `pause` is 0.
    """
    if pause:
        for calls in (count, max(1, count // _REST)):
            time.sleep(pause)
            await driver.run(calls)
