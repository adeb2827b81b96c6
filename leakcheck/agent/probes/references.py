"""Which objects get references that are never given back, or lose one too many: faults that cost no memory at all.

The references to an object are counted, less those that other objects hold, as far as the collector can see them: a
type has as many as instances, a shared value as many as containers that it is in. What is left does not change in a
program that balances its counts; where it changes by the same with each call, native code has forgotten to give back
what it took, or gives back what it never had.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections import Counter
from itertools import chain, repeat
from operator import sub
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from leakcheck.agent.meters.objects import all_in_sight, bring_back
from leakcheck.agent.probes.by_type import ByType
from leakcheck.agent.probes.counts import others
from leakcheck.agent.probes.instances import keep_theirs
from leakcheck.agent.probes.reference_counts import Counts, changes, no_counts
from leakcheck.agent.protocol import CountReferences, Drift, ReferencesCounted
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_MOST_OBJECTS = 2_000_000
"""Objects of the collector's of which all can be looked at: each takes about a microsecond, three times."""
_LEAST_CHANGE = 5
"""References in the first stretch from which on it is a drift: one or two are on their way in or out."""
_UNEVEN = 0.1
"""Part by which the second stretch, which is twice as long, may differ from twice the first: not all come in each
call."""
_MOST_TOLD = 8
"""Drifting objects of which is told, those with most references first."""
_SINGLETONS = (None, True, False, ..., NotImplemented, ())
"""Objects without a name that are the same in each program."""


class Drifting(NamedTuple):
    """An object whose count went on by the same with each call."""

    value: Any
    changes: tuple[int, int]
    """References that came in the first and in the second stretch."""


async def answer(conversation: Conversation, question: CountReferences) -> ReferencesCounted:
    """Runs the step."""
    if why_not := _why_not(conversation):
        return ReferencesCounted(0, 0, 0, [], why_not)
    if question.whole:
        bring_back()
    try:
        calls, last, drifting = await count(conversation, question.iterations, accounted=question.whole)
    except StepRaisedError as error:
        return ReferencesCounted(0, 0, 0, [], f"the step raised {type(error.__cause__).__name__}", True)
    told = []
    for each in drifting:
        rate = sum(each.changes) / (3 * question.iterations)
        theirs = question.whole and await keep_theirs(conversation.driver, each.value, rate)
        told.append(Drift(id(each.value), name_of(each.value), each.changes, sys.getrefcount(each.value), theirs))
    return ReferencesCounted(calls, len(_objects()), last.immortal(), told)


async def count(conversation: Conversation, iterations: int, *, accounted: bool) -> tuple[int, Counts, list[Drifting]]:
    """Count before and after so many iterations, and after twice as many more where something has changed.

    Returns the iterations, the last reading, and what drifts. Where `accounted` is false, references that objects hold
    are counted too: cheaper, and the same where nothing has changed.
    """
    shared = _shared(await conversation.driver.returned())
    first = await _after(conversation, 0, shared, accounted)
    second = await _after(conversation, iterations, shared, accounted)
    if not _changes(first, second):
        return iterations, second, []
    third = await _after(conversation, 2 * iterations, shared, accounted)
    drifts = _drifts(first, second, third)[:_MOST_TOLD]
    wanted = {identity for identity, _ in drifts}
    objects = ByType(_objects() + shared if wanted else [])
    seen = chain(objects.objects, objects.referents(), _named_aside(objects))
    there = {id(each): each for each in seen if id(each) in wanted}
    objects.let_go()
    return 3 * iterations, third, [Drifting(there[key], changes) for key, changes in drifts if key in there]


async def _after(conversation: Conversation, iterations: int, shared: list[Any], accounted: bool) -> Counts:
    """Once there was a first reading, what has few references need not be read: its count cannot have changed by much.

    One that fell to so few is about to be freed while it is in use; no second look would find it.
    """
    if iterations:
        await conversation.driver.run(iterations)
    await conversation.settler.settle()
    return _read(shared, accounted, _LEAST_CHANGE if iterations else 0)


def _why_not(conversation: Conversation) -> str:
    """Why counts cannot be read, or say nothing; empty where they can."""
    if not hasattr(sys, "getrefcount"):
        return "this interpreter counts no references"
    if not getattr(sys, "_is_gil_enabled", lambda: True)() or "free-threading" in sys.version:
        return "a free-threaded interpreter has a count for each thread"
    if not conversation.settler.collects:
        return "the collector is left to the program"
    if len(_objects()) > _MOST_OBJECTS:
        return "there are too many objects"
    return ""


def _shared(returned: Any) -> list[Any]:
    """What a call returns, or puts into what it returns, if it lives for longer and the collector does not know it."""
    found = [returned, *(gc.get_referents(returned) if type(returned) in (tuple, list) else ())]
    del returned
    return [each for each in found if others(sys.getrefcount(each)) > 0 and not gc.is_tracked(each)]


def _read(shared: list[Any], accounted: bool, least: int) -> Counts:
    """Of objects with at least so many references, or of all, accounted for; that takes three times the time.

    Our own lists have an object as often as others refer to it: as long as these do not change, that is constant.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        objects = ByType(_objects() + shared)
        known = objects.referents()
        if accounted:
            return _accounted(objects, known)
        found = no_counts()
        for each in (known, objects.objects, _named_aside(objects)):
            found.add(each, least)
        return found
    finally:
        known.clear()
        objects.let_go()
        if enabled:
            gc.enable()


def _objects() -> list[Any]:
    """What the collector sees, and what a test runner or the program has put aside: the program's own may be there.

    They are put aside again, for every collection would walk them.
    """
    if all_in_sight():
        return gc.get_objects()
    gc.unfreeze()
    found = gc.get_objects()
    gc.freeze()
    return found


def _named_aside(objects: ByType) -> list[Any]:
    """What modules call by a name that the collector does not see with all they have: built-in functions for one."""
    spaces = [vars(each) for each in list(sys.modules.values()) if type(each) is ModuleType]
    in_sight = set(map(id, objects.of(dict)))
    return list(chain.from_iterable(list(each.values()) for each in spaces if id(each) not in in_sight))


def _accounted(objects: ByType, known: list[Any]) -> Counts:
    """Less the references that other objects hold."""
    held = Counter(map(id, known))
    distinct = dict(zip(map(id, known), known, strict=True))
    distinct.update(zip(map(id, objects.objects), objects.objects, strict=True))
    known.clear()
    objects.let_go()
    held.update(map(id, gc.get_referents(*_unseen(list(distinct.values())))))
    counts = map(sys.getrefcount, distinct.values())
    return Counts(array("Q", distinct), array("q", map(sub, counts, map(held.get, distinct, repeat(0)))))


def _unseen(objects: list[Any]) -> list[Any]:
    """Containers that the collector does not track: what they refer to is part of no cycle, a number for one."""
    by_type = ByType(objects)
    found = [each for each in by_type.of(dict, tuple) if not gc.is_tracked(each)]
    by_type.let_go()
    return found


def _changes(before: Counts, after: Counts) -> dict[int, int]:
    """By how much counts have changed that may drift, by `id`."""
    return {key: change for key, change in changes(before, after).items() if abs(change) >= _LEAST_CHANGE}


def _drifts(first: Counts, second: Counts, third: Counts) -> list[tuple[int, tuple[int, int]]]:
    """Objects, by `id`, whose count went on by the same with each call; the most first."""
    early, late = _changes(first, second), _changes(second, third)
    found = [(key, (change, late[key])) for key, change in early.items() if key in late and steady(change, late[key])]
    return sorted(found, key=lambda each: -abs(each[1][1]))


def steady(early: int, late: int) -> bool:
    """Whether a count that changed by `early` in a stretch, and by `late` in one twice as long, drifts."""
    return abs(late - 2 * early) <= max(1.0, _UNEVEN * abs(late))


def name_of(value: Any) -> str:
    """What the code calls an object: by its own name, else by that of the variable of a module, else by its type."""
    from leakcheck.agent.probes.elements import element_name  # dear to import, and seldom needed
    from leakcheck.agent.probes.referents import derives, full_name, namespace_of

    kind = type(value)
    if derives(kind, type):
        return f"type {full_name(value)}"
    if kind is ModuleType:
        return f"module {value.__name__}"
    if kind is FunctionType:
        return f"function {value.__module__}.{value.__qualname__}"
    if kind is BuiltinFunctionType:
        return element_name(value)
    if kind is dict:
        owners = [each for each in gc.get_referrers(value) if derives(type(each), type) and namespace_of(each) is value]
        if owners:
            return f"the dict of type {full_name(owners[0])}"
    if any(value is each for each in _SINGLETONS):
        return repr(value)
    for module, names in [(name, vars(each)) for name, each in list(sys.modules.items()) if type(each) is ModuleType]:
        for name, each in list(names.items()):
            if each is value and type(name) is str:
                return f"{module}.{name} ({full_name(kind)})"
    return full_name(kind)
