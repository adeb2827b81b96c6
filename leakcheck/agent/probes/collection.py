"""Inside the measured process: run the collector once, whatever the run's mode."""

from __future__ import annotations

import gc
from typing import Any


async def probe(_conversation: Any, _arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns how many unreachable objects were `found`."""
    return {"found": gc.collect()}
