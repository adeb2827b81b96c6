"""A sweep from beginning to end: control, screen, judge, reports."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from leakcheck.errors import ControlError
from leakcheck.records import ScenarioResult
from leakcheck.results import atomic
from leakcheck.run import provenance
from leakcheck.sweep import bug_report, clusters, judged, planted_control, scenario_file, state
from leakcheck.sweep.clusters import Cluster
from leakcheck.sweep.inside.messages import Asked, Crash, Swept
from leakcheck.sweep.records import CrashFound, Find, Sweep, Unconfirmed, encode
from leakcheck.sweep.seen import Seen
from leakcheck.sweep.sweeper import sweep

FILE_NAME = "sweep.json"
_AFTER_FAILURE = frozenset({"error", "callback raises", "abandoned", "closed twice"})
"""Ways of calling after which nothing can be meant to be kept, whatever names it."""
_SENTENCE = 300
"""Characters of a reason that are kept."""


class Options(NamedTuple):
    """How to sweep; see the options of the command."""

    targets: list[str]
    python: str
    folder: Path
    include: list[str]
    exclude: list[str]
    seconds: float
    jobs: int
    errors_only: bool
    seeds: str
    resume: bool
    control: bool


class View(Protocol):
    """What is told while a sweep goes on."""

    def stage(self, what: str) -> None:
        """Something begins that takes its time."""

    def progress(self, seen: Seen) -> None:
        """The interpreter has said something."""


def look(options: Options) -> Seen:
    """What would be called, without calling any of it. Raises `UsageError`."""
    seen = Seen()
    for message in sweep(_asked(options, seen, dry=True), options.python):
        seen.take(message)
    return seen


def run(options: Options, view: View, known: Iterable[str] = ()) -> Sweep:
    """Sweep, judge and write; `known` are fingerprints of finds that are accepted.

    Raises `UsageError` where nothing can be swept, `ControlError` where what is planted is not found.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    if options.control:
        view.stage("control: planted leaks and innocents")
        if wrong := planted_control.control(options.python, options.jobs):
            raise ControlError(f"the control failed: {wrong}; nothing that is found here could be relied on")
    seen, interrupted = _screened(options, view)
    finds: list[Find] = []
    unconfirmed: list[Unconfirmed] = []
    if not interrupted:
        chosen = clusters.clusters(seen.suspects, seen.targets)
        with _interruptible() as ended:
            finds, unconfirmed = _confirmed(chosen, options, seen, view)
        interrupted = ended.interrupted
    fingerprints = frozenset(known)
    finds = [msgspec.structs.replace(each, known=each.fingerprint in fingerprints) for each in finds]
    result = Sweep(
        tool=provenance.tool(),
        asked=options.targets,
        distributions=seen.began.distributions,
        python=seen.began.python,
        isolation=seen.began.isolation,  # type: ignore[arg-type]
        started=started.isoformat(timespec="seconds"),
        duration_s=time.perf_counter() - began,
        control="ok" if options.control else "off",
        targets=len(seen.targets),
        calls=seen.calls,
        finds=[each for each in finds if not each.named or each.kind in _AFTER_FAILURE],
        kept=[each for each in finds if each.named and each.kind not in _AFTER_FAILURE],
        unconfirmed=unconfirmed,
        crashes=_crashes(seen.crashes),
        refused=seen.refused,
        not_made=[name for name in seen.targets if name in seen.swept and not seen.swept[name].made],
        unfinished=[name for name in seen.targets if name not in seen.swept or not seen.swept[name].complete],
        failures=[(each.target, each.traceback) for each in seen.broken],
        interrupted=interrupted,
    )
    atomic.write(options.folder / FILE_NAME, encode(result))
    return result


class _Interruptible(contextlib.AbstractContextManager["_Interruptible"]):
    interrupted = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        return self.interrupted


def _interruptible() -> _Interruptible:
    """A block that Ctrl-C ends, and the program goes on behind it."""
    return _Interruptible()


def _asked(options: Options, seen: Seen, *, dry: bool = False) -> Asked:
    return Asked(
        targets=options.targets,
        include=options.include,
        exclude=options.exclude,
        seconds=options.seconds,
        jobs=options.jobs,
        errors_only=options.errors_only,
        dry=dry,
        seeds=options.seeds,
        folder=os.getcwd(),
        skipped=seen.done_before,
        makers=seen.makers,
    )


def _screened(options: Options, view: View) -> tuple[Seen, bool]:
    """What the interpreter has said, with what an earlier sweep had found, and whether it was interrupted."""
    seen = Seen()
    file = options.folder / state.FILE_NAME
    if options.resume:
        state.read(file, options.targets).put_into(seen)
    view.stage("screen")
    ended = _interruptible()
    with ended:
        for message in sweep(_asked(options, seen), options.python):
            seen.take(message)
            view.progress(seen)
            if isinstance(message, Swept):
                state.write(file, options.targets, seen)
    if not ended.interrupted:
        file.unlink(missing_ok=True)
    return seen, ended.interrupted


def _confirmed(
    chosen: Sequence[Cluster], options: Options, seen: Seen, view: View
) -> tuple[list[Find], list[Unconfirmed]]:
    """What the judge finds to leak twice, and what it does not."""
    names = _names(chosen)
    if not names:
        return [], []
    view.stage(f"judge: {len(names)} suspects, first time")
    texts = {name: scenario_file.text(cluster, with_neighbour=False) for name, cluster in names.items()}
    first = judged.judge(texts, options.python, options.jobs, diagnose=False)
    leaking = {name: cluster for name, cluster in names.items() if _leaks(first.of(name))}
    unconfirmed = [_unconfirmed(names[name], first.of(name)) for name in names if name not in leaking]
    if not leaking:
        return [], unconfirmed
    view.stage(f"judge: {len(leaking)} suspects, second time, and why")
    texts = {
        name: scenario_file.text(cluster, with_neighbour=bool(cluster.suspect.neighbour))
        for name, cluster in leaking.items()
    }
    second = judged.judge(texts, options.python, options.jobs, folder=options.folder, diagnose=True)
    finds = []
    for name, cluster in leaking.items():
        result = second.of(name)
        if result is None or not _leaks(result):
            unconfirmed.append(_unconfirmed(cluster, result))
            (options.folder / f"{name}.py").unlink(missing_ok=True)
            continue
        is_clean = second.neighbour_is_clean(name)
        if cluster.suspect.neighbour and not is_clean:
            text = scenario_file.text(cluster, with_neighbour=False)
            atomic.write(options.folder / f"{name}.py", text.encode())
        find = _find(name, cluster, result, neighbour=cluster.suspect.neighbour if is_clean else "")
        draft = bug_report.text(find, cluster, result, second.run, seen.began)
        atomic.write(options.folder / find.draft, draft.encode("utf-8", "replace"))
        finds.append(find)
    return sorted(finds, key=lambda each: -clusters.worth(each.growth) * each.likelihood), unconfirmed


def _names(chosen: Sequence[Cluster]) -> dict[str, Cluster]:
    """Names of files, the same in the next sweep as long as the same is found."""
    names: dict[str, Cluster] = {}
    for cluster in chosen:
        name = scenario_file.file_name(cluster)
        again = sum(each == name or each.startswith(f"{name}_") for each in names)
        names[f"{name}_{again + 1}" if again else name] = cluster
    return names


def _leaks(result: ScenarioResult | None) -> bool:
    return result is not None and result.verdict == "leak"


def _unconfirmed(cluster: Cluster, result: ScenarioResult | None) -> Unconfirmed:
    return Unconfirmed(
        target=cluster.target,
        kind=cluster.kind,
        step=cluster.suspect.step,
        verdict=result.verdict if result else "error",
        reason=result.reason[:_SENTENCE] if result else "was not measured",
    )


def _find(name: str, cluster: Cluster, result: ScenarioResult, *, neighbour: str) -> Find:
    containers = [finding for finding in result.findings if finding.kind == "container" and finding.path]
    named = "".join(node.name for node in containers[0].path) if containers else ""
    growth = {meter.name: meter.growth for meter in result.meters if meter.decisive and meter.verdict == "leak"}
    return Find(
        id=name,
        fingerprint=cluster.fingerprint,
        kind=cluster.kind,
        target=cluster.target,
        exception=cluster.suspect.exception,
        growth=growth or cluster.suspect.growth,
        likelihood=cluster.likelihood,
        reason=result.reason[:_SENTENCE],
        step=cluster.suspect.step,
        neighbour=neighbour,
        named=named,
        scenario=f"{name}.py",
        draft=f"{name}.md",
    )


def _crashes(crashes: Iterable[Crash]) -> list[CrashFound]:
    """One for each target and ending, with the shortest program."""
    found: dict[tuple[str, str], list[str]] = {}
    for crash in crashes:
        found.setdefault((crash.target, crash.how), []).append(crash.source.strip())
    return [
        CrashFound(target=target, how=how, step=min(steps, key=len), times=len(steps))
        for (target, how), steps in sorted(found.items())
    ]


def accepted(path: Path) -> frozenset[str]:
    """Fingerprints of a sweep that stands as a baseline. Raises `UsageError`."""
    sweep = state.of_sweep(path)
    return frozenset(each.fingerprint for each in [*sweep.finds, *sweep.kept])
