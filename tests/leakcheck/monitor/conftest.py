"""What the monitor's tests share."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition; fails after a time that is far beyond what it takes."""

    def wait(condition: Callable[[], object], seconds: float = 60.0, do: Callable[[], object] = lambda: None) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            do()
            time.sleep(0.005)

    return wait
