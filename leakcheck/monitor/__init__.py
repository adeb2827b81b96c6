"""Growth of a living process, seen before it hurts: inside the service (`leakcheck.watch`) and from outside.

What runs inside the service uses the standard library alone, and of this package only what stands here, each module
above those it imports:

* watching    the thread, and its life over fork and exit
* readings    the meters of the own process
* panel       all meters together: histories, trends, which alert is due
* trend       pure: a history in, a trend out; an ordered list of looks
* explain     pure: whether a line is needed beside all that is innocent
* levels      pure: what is held in the quiet hours of each period, and the line through that
* work        pure: the work of a process as a clock
* curves      pure: a cache that fills, fragmentation, a step, a leak
* regression  pure: least squares
* history     a meter's readings in fixed memory, thinned by age
* limits      what the process may use: a number, `2 GiB`, the control group, the machine
* alert       the records of an alert

Loaded when they are asked for: evidence (the growing container, a memray window, the report), and for other processes
session, outside, inside (the agent in them), attach, record and dashboard.
"""

from leakcheck.monitor.alert import Alert
from leakcheck.monitor.panel import Reading
from leakcheck.monitor.watching import Watch, watch

__all__ = ["Alert", "Reading", "Watch", "watch"]
