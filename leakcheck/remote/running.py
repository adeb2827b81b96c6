"""`run --on ADDRESS`: from a plan to its results, by the nodes of the cluster that answers there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from leakcheck.errors import UsageError
from leakcheck.records import RunResult
from leakcheck.remote import bundle, likeness, locked
from leakcheck.remote.dispatch import Dispatch, NodesView
from leakcheck.remote.engine import Cluster, Engine, place_of
from leakcheck.run.runner import Plan


def run(
    plan: Plan,
    view: NodesView,
    keep: Callable[[RunResult], None],
    cluster: Cluster,
    took_s: Mapping[str, float],
) -> RunResult:
    """The same as `Runner.run` with the same plan: verdicts, findings and paths as if they had been made here.

    `took_s` are the seconds that scenarios have taken before, by id. Raises `UsageError` where no scheduler answers, or
    where sources cannot be sent.
    """
    name = uuid4().hex[:12]
    plan = plan._replace(suppressions=[Path(os.path.abspath(each)) for each in plan.suppressions])
    needed = [each.target for each in plan.scenarios if each.target.endswith(".py")]
    needed += map(str, plan.suppressions)
    with connect(cluster.address, name) as engine:
        sources = bundle.make(plan.template.cwd, needed)
        like = likeness.here(cluster.python)
        lock = None if cluster.lock is None else locked.read(cluster.lock, like.python.split()[-1])
        return Dispatch(
            plan, engine, view, sources, like,
            name=name, cluster=cluster, lock=lock, took_s=took_s, keep=keep,
        ).run()  # fmt: skip


def connect(address: str, run: str) -> Engine:
    """The engine that listens at an address, for the run of that name. Raises `UsageError`."""
    place = place_of(address)
    try:
        from leakcheck.remote.dask_engine import DaskEngine
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--on {address}: {error.name} is not installed here; pip install 'elkyn-leakcheck[dask]' brings it"
        ) from error
    return DaskEngine(place, run)
