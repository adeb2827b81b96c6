"""Elkyn's speed, as ratios against named peers measured in the same run: `python -m benchmarks.elkyn`.

`--growth` adds how cost grows (in microseconds), `--memory` how memory does, `--all` everything. What it prints are the
tables of the guide; `--runs N` measures all rows N times and says in how many each bound held.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.elkyn.comparing import Row, figure, header
from benchmarks.elkyn.events import delivery, isolation, latency, with_watchers
from benchmarks.elkyn.growth import growth, memory_growth
from benchmarks.elkyn.ring import ring
from benchmarks.elkyn.storage import durable, leaves, objects


def line(runs: list[Row]) -> str:
    """Spell the same row of one or more runs: of several the median, and from which to which."""
    row = sorted(runs, key=lambda row: row.ratio)[len(runs) // 2]
    low, high = (row.low, row.high) if len(runs) == 1 else (min(r.ratio for r in runs), max(r.ratio for r in runs))
    bound = "" if row.bound is None else f"at {'least' if row.faster else 'most'} {row.bound:g}x"
    held = sum(run.holds for run in runs)
    verdict = ("" if row.bound is None else "holds" if held == len(runs) else "**no**") + (
        f", {held} of {len(runs)}" if len(runs) > 1 and row.bound is not None else ""
    )
    what = re.sub(r"^(get|set|set_async|delete)\b", r"`\1`", row.what)
    ratio = f"{row.ratio:.2f}x ({low:.2f} to {high:.2f})"
    return f"| {' | '.join((what, row.against, time_of(row.ours_us), time_of(row.peer_us), ratio, bound, verdict))} |"


def time_of(us: float) -> str:
    if us < 0.1:
        return f"{us * 1000:.0f} ns"
    return f"{figure(us)} us" if us < 1000 else f"{figure(us / 1000)} ms"


def measure(runs: int, only: str, groups: dict[str, Callable[[Path, Path], Iterator[Row]]]) -> list[list[Row]]:
    """Measure the rows of `groups` and print each when its last run is there."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for run in range(runs):
        with (
            tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as memory,
            tempfile.TemporaryDirectory(dir=os.getcwd(), prefix=".bench-") as disk,
        ):
            for name, group in groups.items():
                for row in group(Path(memory), Path(disk)) if only in name else ():
                    rows.setdefault((row.what, row.against), []).append(row)
                    if run == runs - 1:
                        print(line(rows[row.what, row.against]), flush=True)
    return list(rows.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elkyn", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--growth", action="store_true", help="how cost grows with subscriptions, leaves and bytes")
    parser.add_argument("--memory", action="store_true", help="10 million events against a stalled consumer, and so on")
    parser.add_argument("--all", action="store_true", help="all of it")
    parser.add_argument("--only", default="", help="only the groups whose name contains this")
    parser.add_argument("--runs", type=int, default=1, help="measure so many times")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    groups: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
        "leaves": lambda memory, disk: leaves(memory),
        "objects": lambda memory, disk: objects(memory),
        "watchers": lambda memory, disk: with_watchers(memory),
        "durable": lambda memory, disk: durable(disk),
        "delivery": lambda memory, disk: delivery(memory),
        "latency": lambda memory, disk: latency(memory),
        "isolation": lambda memory, disk: isolation(memory),
        "ring": lambda memory, disk: ring(),
    }
    print(*header("what", "against", "ours", "peer", "ratio", "bound", "")[1:], sep="\n")
    rows = measure(options.runs, options.only, groups)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as memory:
        for text in growth(Path(memory)) if options.growth or options.all else ():
            print(text, flush=True)
        for text in memory_growth(Path(memory), 10_000_000) if options.memory or options.all else ():
            print(text, flush=True)
    if options.json:
        options.json.write_text(
            json.dumps([row._asdict() | {"holds": row.holds} for runs in rows for row in runs], indent=1)
        )
    bounded = [runs for runs in rows if runs[0].bound is not None]
    kept = sum(all(row.holds for row in runs) for runs in bounded)
    print(f"\n{kept} of {len(bounded)} bounds hold on this machine now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
