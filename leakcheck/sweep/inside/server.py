"""The fork server: it has imported the package once, and every target has a child of its own, a fork of it."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from leakcheck.agent.children import processor_ticks
from leakcheck.sweep.inside.child import Child, Learned, Task
from leakcheck.sweep.inside.inventory import Package, Target
from leakcheck.sweep.inside.literals import of_docstrings
from leakcheck.sweep.inside.messages import NO_SEEDS, Asked, Broken, Crash, Looked, Suspect, Swept
from leakcheck.sweep.inside.program import Programs
from leakcheck.sweep.inside.recording import record
from leakcheck.sweep.inside.shared_page import Page
from leakcheck.sweep.inside.trials import Call
from leakcheck.sweep.inside.values import SHORT_OF_MEMORY

_MOST_CRASHES = 8
"""Of one target, after which the rest of it is left out."""
_MOST_STANDING = 2
"""Times that a target may be waited for in vain, which takes `_STANDING_S` each time."""
_MOST_BLAMED = 3
"""Targets of which processes may end where an object is a part of what runs."""
_LOOK_S = 0.25
"""How often it is looked whether a child that says nothing has gone on."""
_STANDING_S = 20.0
"""Seconds after which a child is ended that has neither begun anything nor used processor time: it waits for something.
One that waits for a busy machine uses some now and then."""
_MOST_PROCESSES = 50
"""In the process group of one child."""
_MOST_PENDING = 1 << 20
"""Bytes of one message: more is nothing that a child of ours says."""
_PYTHONS_PART = 0.25
"""Of the time of a target, for one that is written in Python: there is far less to be lost there."""
_ROUNDS = 4
"""Of looking for calls that succeed, at most: what one has found are arguments in the next, and used objects."""


class Running:
    """A child that lives."""

    def __init__(self, pid: int, task: Task, page: Page, replies: int) -> None:
        self.pid = pid
        self.task = task
        self.page = page
        self.replies = replies
        self.end = os.pidfd_open(pid)
        """Can be read when the child has ended."""
        self.pending = bytearray()
        self.finished = False
        """Whether it has said so."""
        self.silent = False
        """Whether it can say nothing more: its end is awaited."""
        self._progress = (0, 0.0)
        self._since = time.monotonic()

    def stands_still(self) -> bool:
        """Whether it has done nothing for a long time."""
        progress = self.page.read()[1], processor_ticks(self.pid)
        if progress != self._progress:
            self._progress, self._since = progress, time.monotonic()
        return time.monotonic() - self._since > _STANDING_S

    def close(self) -> None:
        """Give back what was opened for it."""
        os.close(self.replies)
        os.close(self.end)
        self.page.close()


class Server:
    """Sweeps the targets of a package, some children at a time."""

    def __init__(
        self,
        package: Package,
        programs: Programs,
        asked: Asked,
        makers: dict[str, list[str]],
        tell: Callable[[NamedTuple], None],
        *,
        runs_tests: bool = False,
    ) -> None:
        """`makers` are the user's recipes; with `runs_tests`, the seeds are tests that may be run."""
        self._package = package
        self._programs = programs
        self._asked = asked
        self._tell = tell
        self._makers = makers
        """How objects of each type are made, as it is known so far."""
        objects = [] if asked.seeds == NO_SEEDS else [*package.objects.values(), *package.types.values()]
        self._written = of_docstrings(objects)
        if asked.seeds not in ("", NO_SEEDS):
            self._written.read_files(asked.seeds)
            if runs_tests:
                record(package, asked.seeds, self._written)
        self._valid: dict[str, list[Call]] = {}
        self._crashed: dict[str, set[str]] = {}
        """By target, the programs that have ended a process."""
        self._standing: dict[str, int] = {}
        """How often each target was waited for in vain."""
        self._blamed: dict[str, set[str]] = {}
        """By the expression for an object, the targets of which a process has ended with it."""
        self._alone = os.getpid() == 1
        """Whether all other processes that can be seen come from this one."""

    def sweep(self) -> None:
        """All targets, each told when it is done."""
        gc.collect()
        gc.freeze()
        targets = self._package.targets
        for _ in range(_ROUNDS):
            callable_before = sum(map(bool, self._valid.values()))
            for kinds in (("type", "function"), ("method",)):  # a method is called on what a type has made
                unknown = [each for each in targets if each.kind in kinds and not self._valid.get(each.name)]
                self._all(self._task(each, discover=True) for each in unknown)
            if sum(map(bool, self._valid.values())) == callable_before:
                break
        skipped = frozenset(self._asked.skipped)
        self._all(self._task(each, discover=False) for each in targets if each.name not in skipped)

    def _task(self, target: Target, *, discover: bool) -> Task:
        seconds = self._asked.seconds * (1.0 if target.native else _PYTHONS_PART)
        return Task(target, 0, seconds, frozenset(self._crashed.get(target.name, ())), discover)

    def _all(self, tasks: Iterable[Task]) -> None:
        waiting, running = list(tasks), list[Running]()
        while waiting or running:
            while waiting and len(running) < self._asked.jobs:
                try:
                    running.append(self._start(waiting[0]))
                except BlockingIOError:  # one that runs has started as many processes as there may be
                    break
                del waiting[0]
            watched = [*(each.end for each in running), *(each.replies for each in running if not each.silent)]
            ready, _, _ = select.select(watched, [], [], _LOOK_S)
            multiplying = [] if ready else _multiplying(running)
            for each in list(running):
                if each.replies in ready and not self._receive(each):
                    os.kill(each.pid, signal.SIGKILL)
                endless = each.end not in ready and (each in multiplying or each.stands_still())
                if endless:
                    os.kill(each.pid, signal.SIGKILL)
                if endless or each.end in ready:
                    running.remove(each)
                    waiting[:0] = self._after(each, endless=endless)
            if self._alone and not running:
                self._clear()

    def _start(self, task: Task) -> Running:
        page = Page()
        page.begin(task.from_recipe, "")
        replies, write = os.pipe()
        pid = os.fork()
        if not pid:
            self._be_child(task, page, write)
        os.close(write)
        os.set_blocking(replies, False)
        return Running(pid, task, page, replies)

    def _be_child(self, task: Task, page: Page, write: int) -> NoReturn:
        code = 1
        with suppress(BaseException):
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            for name in os.listdir("/proc/self/fd"):
                if int(name) > 2 and int(name) != write:
                    with suppress(OSError):
                        os.close(int(name))
            makers = {kind: list(ways) for kind, ways in self._makers.items()}
            child = Child(self._package, self._programs, self._asked, makers, self._valid, self._written, page, write)
            try:
                child.live(task)
                code = 0
            except BaseException:  # noqa: BLE001 - it ends here in any case, and is told
                child.tell(Broken(task.target.name, traceback.format_exc()))
        os._exit(code)

    def _receive(self, each: Running) -> bool:
        """Take what a child says; false where it is nothing that a child of ours says."""
        while True:
            try:
                part = os.read(each.replies, 1 << 16)
            except BlockingIOError:
                return True
            if not part:
                each.silent = True
                return True
            each.pending.extend(part)
            while (end := each.pending.find(b"\n")) >= 0:
                line = bytes(each.pending[:end])
                del each.pending[: end + 1]
                try:
                    self._take(each, json.loads(line))
                except (ValueError, TypeError, KeyError, IndexError, AttributeError):
                    return False  # what was swept has written into the pipe
            if len(each.pending) > _MOST_PENDING:
                return False

    def _take(self, each: Running, message: list[Any]) -> None:
        name, fields = message[0], message[1:]
        target = each.task.target.name
        if name == "Learned":
            learned = Learned(*fields)
            self._learn(learned.makers)
            self._valid[target] = [Call(receiver, called, tuple(rest)) for receiver, called, rest in learned.valid]
            if each.task.discover:
                self._tell(Looked(target))
        elif name == "Suspect":
            self._tell(Suspect(*fields))
        elif name == "Broken":
            each.finished = True
            self._tell(Broken(*fields))
            self._tell(Swept(target, 0, made=bool(self._valid.get(target)), complete=False, seconds=0.0))
        elif name == "Swept":
            each.finished = True
            if not each.task.discover:
                self._tell(Swept(*fields))

    def _after(self, each: Running, *, endless: bool) -> list[Task]:
        """See how a child ended; what is left to be done behind what ended it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(each.pid, signal.SIGKILL)  # what it has started and left in its session
        _, status = os.waitpid(each.pid, 0)
        self._receive(each)
        index, _, source = each.page.read()
        each.close()
        target = each.task.target.name
        if each.finished:
            return []
        crashed = self._crashed.setdefault(target, set())
        known = source in crashed
        crashed.add(source)
        self._distrust(target, source)
        how = "does not end" if endless else _how(os.waitstatus_to_exitcode(status))
        self._standing[target] = self._standing.get(target, 0) + endless
        if not known:
            self._tell(Crash(target, how, source))
        if known or len(crashed) > _MOST_CRASHES or self._standing[target] >= _MOST_STANDING:
            if not each.task.discover:
                self._tell(Swept(target, 0, made=bool(self._valid.get(target)), complete=False, seconds=0.0))
            return []
        return [each.task._replace(from_recipe=index, skipped=frozenset(crashed))]

    def _distrust(self, target: str, source: str) -> None:
        """Make no more use of an object that was used where processes of several targets ended.

        A constructor that is not meant to be called often succeeds, and each method crashes then. Where one method
        does, however often, or an allocation was made to fail, the object is not to blame.
        """
        if SHORT_OF_MEMORY in source:
            return
        for way in {way for ways in self._makers.values() for way in ways if way in source and way != source}:
            self._blamed.setdefault(way, set()).add(target)
        self._learn(self._makers)

    def _learn(self, makers: dict[str, list[str]]) -> None:
        """Keep what is known of how objects are made, but for what is distrusted."""
        known = {kind: list(dict.fromkeys([*self._makers.get(kind, ()), *ways])) for kind, ways in makers.items()}
        trusted = {
            kind: [way for way in ways if len(self._blamed.get(way, ())) < _MOST_BLAMED] for kind, ways in known.items()
        }
        self._makers = {kind: ways for kind, ways in {**self._makers, **trusted}.items() if ways}

    def _clear(self) -> None:
        """End what children have left behind in other sessions."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _multiplying(running: Iterable[Running]) -> list[Running]:
    """Children that have started more processes than any call has a use for."""
    groups: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                group = int(file.read().rpartition(b")")[2].split()[2])
                groups[group] = groups.get(group, 0) + 1
    return [each for each in running if groups.get(each.pid, 0) > _MOST_PROCESSES]


def _how(code: int) -> str:
    if code == -signal.SIGPROF:
        return "does not end"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
