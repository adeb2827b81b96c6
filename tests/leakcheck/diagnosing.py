"""Diagnoses a scenario in real processes, as far as it grows in some hundred iterations."""

from __future__ import annotations

from pathlib import Path

from leakcheck.diagnosis.investigation import diagnose
from leakcheck.diagnosis.plan import Diagnosis, DiagnosisOptions, GrowthFacts
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

RESOURCES = ("fds", "threads", "tasks", "children")


def diagnosed(
    file: Path, name: str, tools: frozenset[str] = frozenset({"graph", "memray"}), **options: object
) -> Diagnosis:
    """Measure how a scenario grows, then ask why."""
    job = Job(scenario=ScenarioInfo(id=f"{file.name}::{name}", target=str(file), name=name))
    with Worker(job) as worker:
        meters = [name for name, _ in worker.open().meters]
        worker.run(20)
        before, after = worker.run(30), worker.run(100)
    growth = {
        meter: (late - early) / 100
        for meter, early, late in zip(meters, before.values, after.values, strict=True)
        if meter in (*RESOURCES, "heap.bytes") and (late - early) / 100 > 0.5
    }
    facts = GrowthFacts(meters=growth, seconds_per_iteration=after.seconds / 100, warmup=20)
    return diagnose(job, facts, DiagnosisOptions(tools=tools, **options))  # type: ignore[arg-type]
