"""The work of a process as a clock: what grows with the load grows in a line against it, however the load comes.

held |      __/      __/       held |         ./
     |   __/      __/               |      ./
     | ./      __/                  |   ./
     +------------------- time      +-------------- work
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from leakcheck.monitor.history import Bin

IDLE_SHARE = 0.1
"""Part of the time in which there is no load, at the least: what is used then is used all the time."""
UNEVEN_SHARE = 0.2
"""Part of the processor time that must come and go: where less does, work says no more than time."""
JOB_HOURS = 2
"""Hours (of 24 in a period) up to which what uses the processor is a job of its own, and not the load."""


def by_work(times: Sequence[float], used: Sequence[Bin], width: float) -> list[float] | None:
    """The work that was done by each of `times`, in the seconds that it takes in the mean; 0 at the first of them.

    `times` are seconds, the oldest first; `used` is the processor time that the process has used since its start, by
    when. Work is even over `width` seconds, an hour of the period. None where the load is even, or not known over all
    of these times.
    """
    known = [each.at for each in used]
    if not times or not known or known[0] > times[0] + width or known[-1] < times[-1] - width:
        return None

    def total(at: float) -> float:
        later = bisect_right(known, at)
        if later in (0, len(known)):
            return used[min(later, len(known) - 1)].low
        before, after = used[later - 1], used[later]
        return before.low + (after.low - before.low) * (at - before.at) / (after.at - before.at)

    span = times[-1] - times[0]
    marks = [total(times[0] + width * part) for part in range(int(span / width) + 2)]
    rates = [later - earlier for earlier, later in pairwise(marks)]
    idle = sorted(rates)[int(IDLE_SHARE * len(rates))]
    # The middle one of an hour and its neighbours: a rise or a fall stays as it is, and a job goes.
    near = [sorted(rates[max(0, hour - JOB_HOURS) : hour + JOB_HOURS + 1]) for hour in range(len(rates))]
    load = [max(0.0, each[(len(each) - 1) // 2] - idle) for each in near]
    done = list(accumulate(load, initial=0.0))

    def worked(at: float) -> float:
        hour, part = divmod((at - times[0]) / width, 1.0)
        return done[int(hour)] + load[int(hour)] * part

    whole = worked(times[-1])
    if whole <= UNEVEN_SHARE * (whole + idle * span / width):
        return None
    return [worked(at) * span / whole for at in times]
