"""Runs N and then 2N iterations under memray's tracker, each into a file of its own, which the parent reads.

The one probe that imports something beyond the standard library. The settling is inside the tracker, so that what waits
for the collector is gone before the tracker ends.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from leakcheck.agent.probes.leave_alone import leave_alone

_PILOT = 7
"""Iterations that show how slow a step is under the tracker."""
_MOST_S = 4.0
"""Seconds that the captures may take. A step that does little but allocate is slowed down a hundredfold, and to read
what was captured takes longer still."""


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run under the tracker.

    Arguments: `warm`, `count`, `prefix` of the captures' paths, `memray` a folder to import it from as a last resort,
    `pause` in seconds after which has gone what the step keeps for a time only.
    Answers `missing` with the reason where there is no memray for this interpreter.
    """
    try:
        import memray
    except ImportError:
        if arguments["cache_tag"] != sys.implementation.cache_tag or not arguments["memray"]:
            return {
                "missing": f"{sys.executable} has no memray; install it there: {sys.executable} -m pip install memray"
            }
        sys.path.append(arguments["memray"])
        try:
            import memray
        except ImportError as error:
            return {"missing": f"memray cannot be imported by {sys.executable}: {error}"}
    driver, settler = conversation.driver, conversation.settler
    await driver.run(arguments["warm"])
    await settler.settle()
    captures: list[dict[str, Any]] = []

    async def capture(count: int) -> float:
        path = f"{arguments['prefix']}-{count}.bin"
        gc.collect()
        with memray.Tracker(path, native_traces=True, follow_fork=False, trace_python_allocators=False):
            before = driver.iterations
            seconds: float = await driver.run(count)
            await leave_alone(driver, arguments["pause"], count)
            await settler.settle()
        captures.append({"path": path, "iterations": driver.iterations - before, "seconds": seconds})
        return seconds

    count = arguments["count"]
    if count > _PILOT:
        slowed = await capture(_PILOT) / _PILOT
        os.unlink(captures.pop()["path"])
        count = min(count, max(_PILOT + 1, int(_MOST_S / 3 / max(slowed, 1e-9))))
    await capture(count)
    await capture(2 * count)
    return {"captures": captures, "memray": str(getattr(memray, "__version__", ""))}
