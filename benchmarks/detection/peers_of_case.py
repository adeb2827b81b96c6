"""The workload of a case as its peers take it: run with `python` for psleak, with `pytest` for pytest-memray."""

from __future__ import annotations

import asyncio
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import workloads

workload = workloads.load()


def _prepared():
    """Set-up, the function to call, tear-down; an async workload runs on a loop of its own."""
    if hasattr(workload, "acall"):
        loop = asyncio.new_event_loop()
        if hasattr(workload, "setup"):
            loop.run_until_complete(workload.setup())
        return lambda: loop.run_until_complete(workload.acall())
    if hasattr(workload, "setup"):
        workload.setup()
    return workload.call


def main() -> None:
    """psleak with its defaults: exit code 1 for a leak."""
    import unittest

    import psleak

    class Case(psleak.MemoryLeakTestCase):
        def test_case(self) -> None:
            self.execute(_prepared())

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Case)
    outcome = unittest.TextTestRunner(verbosity=0).run(suite)
    broken = [text for _, text in outcome.errors if "LeakError" not in text and "Unclosed" not in text]
    sys.exit(3 if broken or outcome.skipped else 1 if outcome.failures or outcome.errors else 0)


if __name__ == "__main__":
    main()
elif os.environ.get("DETECTION_PYTEST"):
    import pytest

    @pytest.mark.limit_leaks("1 KB")
    def test_case() -> None:
        """pytest-memray with the limit that its documentation uses, over 1000 calls."""
        call = _prepared()
        for _ in range(1000):
            call()
