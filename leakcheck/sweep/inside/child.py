"""The life of a child: one target, its trials, its recipes, what they keep."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from leakcheck.agent.clock import own_clock
from leakcheck.sweep.inside import allowance, recipes
from leakcheck.sweep.inside.inventory import Package, Target
from leakcheck.sweep.inside.ledgers import Ledgers
from leakcheck.sweep.inside.literals import Written
from leakcheck.sweep.inside.messages import Asked, Kind, Recipe, Suspect, Swept
from leakcheck.sweep.inside.program import Programs, Repeated
from leakcheck.sweep.inside.shared_page import Page
from leakcheck.sweep.inside.shrink import shrunk
from leakcheck.sweep.inside.trials import Call, Trials, name_of

_FOR_TRIALS = 0.5
"""Part of the time of a target in which calls are looked for that succeed: a trial takes microseconds."""
_MOST_OF_A_KIND = 5
"""Suspects of one kind and target that are shrunk and told: those behind them are nearly always the same."""
_ALIKE = 0.25
"""Part by which the growth of two programs that lose the same may differ: what they are given lies in other blocks."""


class Task(NamedTuple):
    """What a child is to do."""

    target: Target
    from_recipe: int
    """Recipes before it have been run by an earlier child, which did not end by itself."""
    seconds: float
    """Less those that others had the processor."""
    skipped: frozenset[str]
    """Programs that have ended a process."""
    discover: bool
    """Only look for calls that succeed, so that other targets have their results."""


class Learned(NamedTuple):
    """What a child tells of its trials."""

    makers: dict[str, list[str]]
    calls: int
    valid: list[Call]


class Child:
    """Everything that happens after the fork; never returns to the server's code."""

    def __init__(
        self,
        package: Package,
        programs: Programs,
        asked: Asked,
        makers: dict[str, list[str]],
        valid: dict[str, list[Call]],
        written: Written,
        page: Page,
        replies: int,
    ) -> None:
        """`valid` has calls that are known to succeed, by target, `written` those that somebody has written down."""
        self._package = package
        self._programs = programs
        self._asked = asked
        self._makers = makers
        self._valid = valid
        self._written = written
        self._page = page
        self._replies = replies
        self._skipped: frozenset[str] = frozenset()
        self._seconds = 0.0
        self._pid = 0
        self._index = 0
        self._calls = 0
        self._clock: Callable[[], float] = float
        self._began = 0.0
        self._opened = frozenset[int]()
        self._told: set[tuple[str, str]] = set()

    def live(self, task: Task) -> None:
        """Do the task, tell what came of it, and end."""
        os.setsid()
        allowance.end_with_parent()
        self._pid = os.getpid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        allowance.set_limits()
        self._skipped = task.skipped
        self._seconds = task.seconds
        self._clock = own_clock()
        self._began = self._clock()
        gc.collect()
        gc.freeze()
        trials = Trials(self._package, self._programs, self._makers, self._written, self._running, self._valid)
        found = self._valid.get(task.target.name) or trials.valid(task.target, _FOR_TRIALS * task.seconds)
        self._calls += trials.calls
        self.tell(Learned(self._makers, trials.calls, found))
        complete = True
        if not task.discover:
            complete = self._screen(task, trials, found)
        owner = task.target.owner if task.target.kind == "attribute" else task.target.name
        made = bool(found) or (task.target.kind in ("attribute", "type") and bool(trials.instances(owner)))
        self.tell(Swept(task.target.name, self._calls, made, complete, self._clock() - self._began))

    def _running(self, source: str) -> bool:
        """Note what runs now; false for what has ended a process before."""
        if source in self._skipped:
            return False
        self._end_copy()
        self._page.begin(self._index, source)
        self._start_clock()
        return True

    def _start_clock(self) -> None:
        allowance.start_clock(self._seconds)  # what takes longer than its target may is not waited for either

    def _screen(self, task: Task, trials: Trials, valid: list[Call]) -> bool:
        """Whether there was time for all recipes."""
        target = task.target
        instances = [call.source for call in valid] if target.kind == "type" else []
        if target.kind == "type":
            kind = self._package.types[target.name]
            instances += [each for each in self._makers.get(name_of(kind), ()) if each not in instances]
        elif target.owner:
            instances = trials.instances(target.owner)
        makers = self._valid.get(target.owner, ()) if target.owner else ()
        known = recipes.Known(target, valid, instances, self._methods(target), self._iterates(valid), makers)
        ledgers = Ledgers()
        self._opened = _descriptors()
        told: dict[Kind, int] = {}
        self._told = set()
        steady: list[str] = []
        for index, recipe in enumerate(recipes.recipes(known, errors_only=self._asked.errors_only)):
            self._index = index
            if index < task.from_recipe:
                continue
            if self._clock() - self._began > task.seconds:
                return False
            if told.get(recipe.kind, 0) >= _MOST_OF_A_KIND:
                continue
            exception, growth = self._growth(ledgers, recipe.setup, recipe.step)
            if growth:
                told[recipe.kind] = told.get(recipe.kind, 0) + 1
                self._report(ledgers, recipe, exception, growth, steady)
                gc.collect()
                gc.freeze()
            elif growth is not None and not exception:
                steady.append(recipe.step)
        return True

    def _iterates(self, valid: list[Call]) -> bool:
        """Whether the first of some calls returns an iterator."""
        if not valid or not self._running(valid[0].source):
            return False
        try:
            return hasattr(type(self._programs.value(valid[0].source)), "__next__")
        except BaseException:  # noqa: BLE001 - whatever the package raises
            return False

    def _methods(self, target: Target) -> list[Call]:
        """One valid call of each method of a type."""
        methods = [each.name for each in self._package.targets if each.kind == "method" and each.owner == target.name]
        return [call for name in methods for call in self._valid.get(name, ())[:1]]

    def _growth(self, ledgers: Ledgers, setup: str, step: str) -> tuple[str, dict[str, float] | None]:
        """The exception that a step ends with, and what it keeps; None where it cannot be run."""
        if not self._running(f"{setup}\n{step}"):
            return "", None
        try:
            repeated = Repeated(self._programs.step(setup, step), self._start_clock)
        except BaseException:  # noqa: BLE001 - the set-up is made of names of the package
            return "", None
        growth = ledgers.growth(repeated)
        self._calls += repeated.calls
        if "fds" in growth:
            _close_others(self._opened)  # they would soon be all that this process may have
        return repeated.exception, growth

    def _report(
        self, ledgers: Ledgers, recipe: Recipe, exception: str, growth: dict[str, float], steady: list[str]
    ) -> None:
        def still(setup: str, step: str) -> bool:
            raised, kept = self._growth(ledgers, setup, step)
            return kept is not None and raised == exception and kept.keys() == growth.keys()

        setup, step = shrunk(recipe.setup, recipe.step, still)
        _, smallest = self._growth(ledgers, setup, step)
        if not smallest:
            setup, step, smallest = recipe.setup, recipe.step, growth
        if (setup, step) in self._told or not self._programs.names_the_package(step):
            return
        if self._keeps_as_much_without(recipe.target, ledgers, setup, step, smallest):
            return
        self._told.add((setup, step))
        neighbour = _nearest(step, steady) if not setup else ""
        head = self._programs.head(setup, f"{step}\n{neighbour}")
        folders = self._programs.folders(f"{setup}\n{step}")
        self.tell(Suspect(recipe.kind, recipe.target, head, step, exception, smallest, folders, neighbour))

    def _keeps_as_much_without(
        self, target: str, ledgers: Ledgers, setup: str, step: str, growth: dict[str, float]
    ) -> bool:
        """Whether the builtin type that the target is derived from keeps as much in its place: it is the interpreter's.

        CPython 3.11 loses the list that it makes where the second allocation of `list([1])` fails.
        """
        derived = self._package.types.get(target)
        base = next((each for each in derived.__mro__ if each.__module__ == "builtins"), object) if derived else object
        if base is object:
            return False
        program = [part.replace(target, base.__name__) for part in (setup, step)]
        _, kept = self._growth(ledgers, *program)
        return kept is not None and all(kept.get(name, 0.0) >= (1 - _ALIKE) * value for name, value in growth.items())

    def _end_copy(self) -> None:
        """End here where what was called has forked this process: the copy would go on as this one does."""
        if self._pid != os.getpid():
            os._exit(0)

    def tell(self, message: NamedTuple) -> None:
        """Say something to the server."""
        self._end_copy()
        line = json.dumps([type(message).__name__, *message]).encode() + b"\n"
        while line:
            line = line[os.write(self._replies, line) :]


def _nearest(step: str, steady: list[str]) -> str:
    """The steady step that has most of its beginning in common with `step`."""

    def common(other: str) -> int:
        return next((index for index, pair in enumerate(zip(step, other, strict=False)) if len(set(pair)) > 1), 0)

    best = max(steady, key=common, default="")
    return best if best and common(best) > len("subject = ") else ""


def _descriptors() -> frozenset[int]:
    return frozenset(map(int, os.listdir("/proc/self/fd")))


def _close_others(opened: frozenset[int]) -> None:
    for descriptor in _descriptors() - opened:
        with suppress(OSError):  # the one that has listed them
            os.close(descriptor)
