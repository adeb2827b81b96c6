"""Names the calls and lines after which native code has more references to new objects than before, and keeps them.

Of each newborn object of a kind the references are counted that neither newborn objects nor local variables account
for. The line after which there are some, for good, lost them. Which C function of the line it was, a profile function
tells: while such a function runs, nothing of its caller's changes, so that a difference is what the function took.
"""

from __future__ import annotations

import gc
import sys
import types
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from leakcheck.agent.inquiry import Stack, Taker
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.counts import others
from leakcheck.agent.probes.newborn import only_new
from leakcheck.agent.probes.snapshot import group_name
from leakcheck.agent.probes.watch import Watch, called, lasting, stack_of
from leakcheck.agent.step import Driver

_MOST_S = 2.0
"""Seconds that the watching may take: each line, and each call of a C function, is a look at the newborn objects."""
_MOST_TAKERS = 3
"""Calls of which is told, for each group."""
_MOST_NEWBORN = 2000
"""Newborn objects that are looked at each time: the newest."""


class _Call(NamedTuple):
    """A call of a C function after which there were more references than before."""

    function: str
    stack: Stack
    made: bool
    """Whether the object was not there before."""


class Takers:
    """Watches some groups of objects, each named as by `group_name`, while the step runs."""

    def __init__(self, groups: frozenset[str]) -> None:
        self._groups = groups
        self._before: dict[int, int] = {}
        self._calls: dict[int, list[_Call]] = {}
        self._lost: frozenset[int] = frozenset()
        self._is_over: Callable[[], bool] = lambda: False

    async def watch(self, driver: Driver, calls: int) -> dict[str, tuple[Taker, ...]]:
        """Run some iterations, and tell for each group who took what is still there afterwards."""
        with only_new():
            until = driver.clock() + _MOST_S
            self._is_over = lambda: driver.clock() > until
            with Watch(self._without_owner) as lines:
                sys.setprofile(self._profile)
                try:
                    await driver.run(calls)
                finally:
                    sys.setprofile(None)
            gc.collect()
            newborn = set(map(id, gc.get_objects()))
        return self._told(newborn, {each.thing: each.stack for each in lasting(lines.additions)}, calls)

    def _told(self, newborn: set[int], lines: dict[Any, Stack], calls: int) -> dict[str, tuple[Taker, ...]]:
        """Of what is still there, and no object holds: an old one may, which was put aside meanwhile."""
        found: dict[str, Counter[_Call]] = {}
        objects = [each for each in gc.get_objects() if id(each) in newborn and group_name(each) in self._groups]
        held = Counter(map(id, gc.get_referents(*gc.get_objects())))
        for each in objects:
            call = self._decisive(id(each), lines)
            if call is not None and others(sys.getrefcount(each)) > held[id(each)] - 1:
                found.setdefault(group_name(each), Counter())[call] += 1
        return {
            group: tuple(
                Taker(call.function, call.stack, count / calls, call.made)
                for call, count in counts.most_common(_MOST_TAKERS)
            )
            for group, counts in found.items()
        }

    def _decisive(self, identity: int, lines: dict[Any, Stack]) -> _Call | None:
        """The last call that took a reference to what was there; else the line, or the call below which it was made."""
        line = lines.get(identity, ())
        for call in reversed(self._calls.get(identity, [])):
            if not call.made or (line and call.stack == line[-len(call.stack) :]):
                return call
        return _Call("", line, False) if line else None

    def _profile(self, frame: types.FrameType, event: str, function: Any) -> None:
        if event not in ("c_call", "c_return", "c_exception") or HERE.own(frame.f_code.co_filename):
            return
        if self._is_over():
            sys.setprofile(None)
            return
        now = self._unaccounted()
        if event != "c_call":
            for identity, count in now.items():
                before = self._before.get(identity)
                if count > (before or 0):
                    call = _Call(called(function), stack_of(frame, frame.f_lineno or 0), before is None)
                    self._calls.setdefault(identity, []).append(call)
        self._before = now

    def _without_owner(self) -> frozenset[int]:
        """Newborn objects to which there are references that nothing accounts for."""
        if not self._is_over():
            unaccounted = self._unaccounted()
            variables = in_variables() if unaccounted else Counter[int]()
            self._lost = frozenset(identity for identity, count in unaccounted.items() if count > variables[identity])
        return self._lost

    def _unaccounted(self) -> dict[int, int]:
        """Of the newborn objects of the groups: references that no newborn object accounts for.

        No object of ours may be among them, whose place in memory would soon be another's: all are made after the look.
        """
        newborn = gc.get_objects()
        if len(newborn) > _MOST_NEWBORN:
            newborn = newborn[-_MOST_NEWBORN:]
        wanted = {id(each) for each in newborn if group_name(each) in self._groups}
        if not wanted:
            return {}
        known = Counter(identity for identity in map(id, gc.get_referents(*newborn)) if identity in wanted)
        found = {}
        for each in newborn:
            if id(each) in wanted:
                found[id(each)] = others(sys.getrefcount(each)) - known[id(each)]
        return found


def in_variables() -> Counter[int]:
    """How many local variables of the running functions that are not ours refer to each object, by its `id`."""
    return Counter(map(id, variables()))


def variables() -> list[Any]:
    """What these refer to. A variable of an inner function's is in a cell, which is an object."""
    found: list[Any] = []
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and HERE.own(frame.f_code.co_filename):
        frame = frame.f_back
    while frame is not None and not HERE.own(frame.f_code.co_filename):
        code, names = frame.f_code, frame.f_locals
        if code.co_flags & 1:  # `CO_OPTIMIZED`: elsewhere a dictionary is all there is
            found += [names[name] for name in code.co_varnames if name in names and name not in code.co_cellvars]
        frame = frame.f_back
    return found
