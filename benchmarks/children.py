"""What the agent costs a child process that starts and ends within one call: `python -m benchmarks.children`.

Processor time of forks and of interpreters that do nothing, without the agent and with it, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from resource import RUSAGE_CHILDREN, getrusage

from leakcheck.agent.entry.resident import PRELOAD, VARIABLE, announce

_ROUNDS = 15
_FORKS = """
import os, sys
if sys.argv[1] == "with":
    from leakcheck.agent.entry.resident import expect_children
    expect_children()
kept = [bytearray(1000) for _ in range(20_000)]  # what a program of some size shares with its child
for _ in range(200):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
"""


def main() -> None:
    """Print the two figures."""
    with_agent = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    announce(with_agent, "nobody-listens-here")
    without = {name: value for name, value in with_agent.items() if name != VARIABLE}
    without["PYTHONPATH"] = without["PYTHONPATH"].removeprefix(PRELOAD + os.pathsep)
    start = [sys.executable, "-c", "pass"]
    for what, count, plain, watched in (
        (
            "a fork",
            200,
            ([sys.executable, "-c", _FORKS, "without"], without),
            ([sys.executable, "-c", _FORKS, "with"], without),
        ),
        ("an interpreter", 1, (start, without), (start, with_agent)),
    ):
        pairs = [(_milliseconds(*plain) / count, _milliseconds(*watched) / count) for _ in range(_ROUNDS)]
        before, more = statistics.median(one for one, _ in pairs), statistics.median(two - one for one, two in pairs)
        print(f"{what}: {before:.2f} ms without the agent, {more:.2f} ms more with it")


def _milliseconds(command: list[str], environment: dict[str, str]) -> float:
    """Processor time of a command and its children."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


if __name__ == "__main__":
    main()
