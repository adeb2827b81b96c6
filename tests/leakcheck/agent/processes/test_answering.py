"""What a process of a program says of itself."""

from __future__ import annotations

import gc

from leakcheck.agent.processes.answering import _in_use

CYCLES = 200


def test_garbage_and_free_lists_are_no_growth() -> None:
    gc.disable()
    try:
        before = _in_use()
        for _ in range(CYCLES):
            cycle: list[object] = [bytearray(1000)]
            cycle.append(cycle)
        del cycle
        assert _in_use() - before < 1000
    finally:
        gc.enable()
