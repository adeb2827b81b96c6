"""The workers that one thing needs: they are called off together, and so is each that is started afterwards."""

from __future__ import annotations

from typing import Any

from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker


class Crew:
    """Starts workers, from any thread; whoever asked for one stops it."""

    def __init__(self) -> None:
        self.interrupted = False
        self._workers: list[Worker] = []

    def start(self, job: Job, **options: Any) -> Worker:
        """A worker, with the options that a `Worker` has."""
        return self.join(Worker(job, **options))

    def join(self, worker: Worker) -> Worker:
        """Take in a worker that was started elsewhere."""
        self._workers.append(worker)
        if self.interrupted:
            worker.interrupt()
        return worker

    def interrupt(self) -> None:
        """Call all of them off."""
        self.interrupted = True
        for worker in self._workers:
            worker.interrupt()
