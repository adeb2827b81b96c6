"""Runs N and then 2N iterations under memray's tracker, each into a file of its own, which the parent reads.

The one probe that imports something beyond the standard library. The settling is inside the tracker, so that what waits
for the collector is gone before the tracker ends.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from typing import TYPE_CHECKING

from leakcheck.agent.inquiry import Capture, Captures, TrackSurvivors
from leakcheck.agent.probes.expiring import let_expire

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_PILOT_CALLS = 7
"""Iterations that show how slow a step is under the tracker."""
_CAPTURES_S = 4.0
"""Seconds that the captures may take. A step that does little but allocate is slowed down a hundredfold, and to read
what was captured takes longer still."""


async def answer(conversation: Conversation, question: TrackSurvivors) -> Captures:
    """Run under the tracker."""
    warnings.simplefilter("ignore")  # here nothing is judged; a warning of memray's own would end it in strict projects
    try:
        import memray
    except ImportError:
        if question.cache_tag != sys.implementation.cache_tag or not question.memray:
            install = f"{sys.executable} -m pip install memray"
            return Captures((), f"{sys.executable} has no memray; install it there: {install}")
        sys.path.append(question.memray)
        try:
            import memray
        except ImportError as error:
            return Captures((), f"memray cannot be imported by {sys.executable}: {error}")
    driver, settler = conversation.driver, conversation.settler
    await driver.run(question.warm)
    await settler.settle()
    captures: list[Capture] = []

    async def capture(count: int) -> float:
        path = f"{question.prefix}-{count}.bin"
        gc.collect()
        with memray.Tracker(path, native_traces=True, follow_fork=False, trace_python_allocators=False):
            before = driver.iterations
            seconds: float = await driver.run(count)
            await let_expire(driver, question.pause, count)
            await settler.settle()
        captures.append(Capture(path, driver.iterations - before, seconds))
        return seconds

    count = question.iterations
    if count > _PILOT_CALLS:
        slowed = await capture(_PILOT_CALLS) / _PILOT_CALLS
        os.unlink(captures.pop().path)
        count = min(count, max(_PILOT_CALLS + 1, question.at_least, int(_CAPTURES_S / 3 / max(slowed, 1e-9))))
    await capture(count)
    await capture(2 * count)
    return Captures(tuple(captures))
