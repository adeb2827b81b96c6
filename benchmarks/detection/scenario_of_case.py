"""The workload of a case as a scenario."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import workloads

from leakcheck import scenario

workload = workloads.load()

if hasattr(workload, "acall"):

    @scenario
    async def case():
        if hasattr(workload, "setup"):
            await workload.setup()
        yield workload.acall
        if hasattr(workload, "teardown"):
            await workload.teardown()

else:

    @scenario
    def case():
        if hasattr(workload, "setup"):
            workload.setup()
        yield workload.call
        if hasattr(workload, "teardown"):
            workload.teardown()
