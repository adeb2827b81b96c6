"""The ring in C++ between two threads."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.elkyn.comparing import Row, row_of

SOURCE = Path(__file__).parents[2] / "elkyn" / "native" / "tests" / "bench_event_queue.cpp"
PEERS = {
    "peer": ("boost::lockfree::spsc_queue, paths of up to 256 bytes", 1),
    "small_peer": ("the same, a record made for this path and size", None),
    "memcpy": ("memcpy of the same bytes", 3),
}
"""What it is measured beside, and how many times their cost is the most. The second peer does less than the ring."""


def ring() -> Iterator[Row]:
    """Between two threads, pinned and not, one by one and in batches."""
    compiler = shutil.which("c++")
    if compiler is None or not SOURCE.exists():
        print("skipped: the ring in C++, because no C++ compiler (or no source tree) is here", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "bench"
        subprocess.run(
            [compiler, "-std=c++20", "-O3", "-march=native", "-pthread", str(SOURCE), "-o", str(program)], check=True
        )
        cases = json.loads(subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout)
    if "peer" not in cases[0]:
        print("skipped: boost::lockfree beside the ring; apt-get install libboost-dev", file=sys.stderr)
    for case in cases:
        what = f"ring in C++, {'pinned' if case['pinned'] else 'unpinned'}, {case['at_once']} at once"
        for key, (name, bound) in PEERS.items():
            # A copy is made by one thread: it can be compared with where threads need not wait for each other much.
            if key in case and (key != "memcpy" or case["at_once"] > 1):
                pairs = [(ns / 1e9, peer / 1e9) for ns, peer in zip(case["ring"], case[key], strict=True)]
                yield row_of(what, name, pairs, bound)
