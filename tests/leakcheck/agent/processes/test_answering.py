"""What a process of a program says of itself."""

from __future__ import annotations

import subprocess
import sys

GROWTH = """
import gc
from leakcheck.agent.processes.answering import _in_use

def make_garbage():
    for _ in range(200):
        cycle = [bytearray(1000)]
        cycle.append(cycle)

gc.disable()
make_garbage()  # malloc keeps the first few blocks that are freed of a size, and counts them as in use
before = _in_use()
make_garbage()
print(_in_use() - before)
"""


def test_garbage_and_free_lists_are_no_growth() -> None:
    """In a process of its own: threads of a test runner take and give back some memory at any time."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) < 1000
