"""Growth of a living process, seen before it hurts: inside the service (`leakcheck.watch`) and from outside.

What runs inside the service uses the standard library alone, and of this package only what stands here:

* history     a meter's readings in fixed memory, thinned by age
* trend       pure: history in, trend out; tells warm-up, daily rhythm and steps from a leak
* explain     pure: whether a line is needed beside all that is innocent
* episodes    pure: trends in, one alert an episode out
* limits      what the process may use: a number, `2 GiB`, the control group, the machine
* panel       all meters together: histories, trends, which alert is due
* readings    the meters of the own process
* alert       what is told
* service     the thread, and its life over fork and exit

Loaded when they are asked for: evidence (the growing container, a memray window, the report) and outside (other
processes).
"""

from leakcheck.monitor.alert import Alert
from leakcheck.monitor.panel import Reading
from leakcheck.monitor.watching import Watch, watch

__all__ = ["Alert", "Reading", "Watch", "watch"]
