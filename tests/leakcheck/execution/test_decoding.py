"""Answers are decoded in several threads at once: of the control, of the collection, of each job."""

from __future__ import annotations

import subprocess
import sys

IN_SIX_THREADS = """
import sys, threading
from typing import NamedTuple
import msgspec
from leakcheck.execution.worker import _decoder

sys.setswitchinterval(1e-6)
for turn in range(300):
    inner = NamedTuple("Inner", [(f"a{n}", int) for n in range(20)])
    outer = NamedTuple("Outer", [(f"b{n}", list[inner]) for n in range(20)])
    line = msgspec.json.encode([[[n] * 20] for n in range(20)])
    start = threading.Barrier(6)
    found = []

    def decode():
        start.wait()
        found.append(_decoder(outer).decode(line))

    threads = [threading.Thread(target=decode) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 6 and found[0].b19[0].a0 == 19, found
"""


def test_the_first_answers_of_a_type_may_come_in_several_threads_at_once():
    done = subprocess.run(
        [sys.executable, "-c", IN_SIX_THREADS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
