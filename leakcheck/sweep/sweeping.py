"""A sweep from beginning to end: control, screen, judge, reports."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from leakcheck.errors import ControlError
from leakcheck.results import atomic
from leakcheck.run import provenance
from leakcheck.sweep import clusters, planted_control, state
from leakcheck.sweep.ages import Ages, Range
from leakcheck.sweep.confirming import confirmed
from leakcheck.sweep.inside.messages import Asked, Began, Crash, Swept
from leakcheck.sweep.inside.values import SHORT_OF_MEMORY
from leakcheck.sweep.outcome import CrashFound, Find, Sweep, Unconfirmed, encode
from leakcheck.sweep.seen import Seen
from leakcheck.sweep.sweeper import sweep

FILE_NAME = "sweep.json"
_AFTER_FAILURE = frozenset({"error", "callback raises", "abandoned", "closed twice", "out of memory"})
"""Ways of calling after which nothing can be meant to be kept, whatever names it."""


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
    since: Path | None = None
    """A `sweep.json`: targets whose code is what it was there are left out."""
    versions: Range | None = None
    """Older versions of what is swept, in which its finds are judged as well."""


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
        ages = Ages(options.versions, options.jobs, view.stage) if options.versions else None
        with _Interruptible() as ended:
            finds, unconfirmed = confirmed(
                chosen, options.python, options.jobs, options.folder, seen.began, view.stage, ages
            )
        interrupted = ended.interrupted
    if not interrupted:
        _forget_earlier(options.folder, finds)
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
        finds=[each for each in finds if not may_be_meant(each)],
        kept=[each for each in finds if may_be_meant(each)],
        unconfirmed=unconfirmed,
        crashes=_crashes(seen.crashes),
        refused=seen.refused,
        not_made=[name for name in seen.targets if name in seen.swept and not seen.swept[name].made],
        unfinished=[name for name in seen.targets if name not in seen.unchanged and not _is_done(name, seen)],
        unchanged=seen.unchanged,
        code={name: code for name, code in seen.code.items() if name in seen.unchanged or _is_done(name, seen)},
        generator=state.generator(),
        failures=[(each.target, each.traceback) for each in seen.broken],
        interrupted=interrupted,
    )
    atomic.write(options.folder / FILE_NAME, encode(result))
    if not interrupted:
        (options.folder / state.FILE_NAME).unlink(missing_ok=True)
    return result


def may_be_meant(find: Find) -> bool:
    """Whether the program itself names what is kept, after a call that has not failed: it may keep it on purpose."""
    return bool(find.named) and find.kind not in _AFTER_FAILURE


def _is_done(target: str, seen: Seen) -> bool:
    return target in seen.swept and seen.swept[target].complete


class _Interruptible(contextlib.AbstractContextManager["_Interruptible"]):
    """A block that Ctrl-C ends, and the program goes on behind it."""

    interrupted = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        return self.interrupted


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
        since=state.code_of(options.since) if options.since else {},
    )


def _screened(options: Options, view: View) -> tuple[Seen, bool]:
    """What the interpreter has said, with what an earlier sweep had found, and whether it was interrupted."""
    seen = Seen()
    file = options.folder / state.FILE_NAME
    earlier = state.read(file, _asked(options, seen)) if options.resume else None
    if earlier is not None:
        earlier.put_into(seen)
    view.stage("screen")
    asked = _asked(options, seen)
    with _Interruptible() as ended:
        for message in sweep(asked, options.python):
            seen.take(message)
            if isinstance(message, Began) and earlier is not None:
                earlier.check(message)
            view.progress(seen)
            if isinstance(message, Swept):
                state.write(file, asked, seen)
    return seen, ended.interrupted


def _forget_earlier(folder: Path, finds: Iterable[Find]) -> None:
    """Remove the files of an earlier sweep that are of none of these finds."""
    if not (folder / FILE_NAME).exists():
        return
    earlier = state.of_sweep(folder / FILE_NAME)
    kept = {name for find in finds for name in (find.scenario, find.draft)}
    for find in (*earlier.finds, *earlier.kept):
        for name in {find.scenario, find.draft} - kept:
            (folder / Path(name).name).unlink(missing_ok=True)


def _crashes(crashes: Iterable[Crash]) -> list[CrashFound]:
    """One for each target and ending, with the shortest program; those that ask for a lack of memory at the end."""
    found: dict[tuple[str, str], list[str]] = {}
    for crash in crashes:
        found.setdefault((crash.target, crash.how), []).append(crash.source.strip())
    shortest = [
        CrashFound(target=target, how=how, step=min(steps, key=_rank), times=len(steps))
        for (target, how), steps in sorted(found.items())
    ]
    return sorted(shortest, key=lambda crash: _rank(crash.step)[0])


def _rank(step: str) -> tuple[bool, int]:
    return SHORT_OF_MEMORY in step, len(step)


def accepted(path: Path) -> frozenset[str]:
    """Fingerprints of a sweep that stands as a baseline. Raises `UsageError`."""
    sweep = state.of_sweep(path)
    return frozenset(each.fingerprint for each in [*sweep.finds, *sweep.kept])
