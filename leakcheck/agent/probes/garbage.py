"""Cyclic garbage: how many bytes a call makes, how many wait until the collector comes by itself, and what closes them.

The collector comes when enough objects were made, however large these are: a cycle of two objects that holds a megabyte
waits for some hundred others.
"""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator
from types import CoroutineType, FrameType, FunctionType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

from leakcheck.agent.inquiry import Stack
from leakcheck.agent.probes.referents import ATTRIBUTE, UNNAMED, derives, full_name, references
from leakcheck.agent.probes.watch import Watch
from leakcheck.agent.protocol import GarbageMade, MeasureGarbage
from leakcheck.agent.step import StepRaisedError

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation
    from leakcheck.agent.step import Driver

_MOST_WEIGHED_CALLS = 31
"""Calls whose garbage is weighed."""
_COMINGS = 3
"""Times that the collector comes by itself and frees something, which show how much waits for it."""
_BATCH_CALLS = 8
"""Calls after which it is looked whether that is enough."""
_CLOSED_CALLS = 3
"""Calls in which it is seen which line closes a cycle."""
_MOST_CANDIDATES = 64
"""Objects of which it is asked how they lead back to themselves."""
_MOST_REACHED = 400
"""Objects that one of them may lead to."""

_RUNNING = (FunctionType, MethodType, GeneratorType, CoroutineType)
_OF_CODE = (".<local ", ".<closure ", ".<await>", UNNAMED)
"""How the steps begin that tell nothing of the program's data: variables of a function for one."""

Way = tuple[tuple[str, str], ...]
"""Labels and types of the steps of a cycle, from an object back to itself."""


async def answer(conversation: Conversation, question: MeasureGarbage) -> GarbageMade:
    """Runs the step."""
    ledger = conversation.readings.reader("heap.bytes")
    if ledger is None:
        return _nothing("there is no ledger in bytes")
    driver, enabled = conversation.driver, gc.isenabled()
    try:
        await conversation.settler.settle()
        objects, size = await _weighed(conversation, ledger, question)
        if not objects:
            return _nothing("", driver.iterations)
        gc.enable() if enabled else gc.disable()
        waiting, comings = await _waiting(conversation, ledger, question, size)
        way, stack = await _closed(driver)
    except StepRaisedError as error:
        return _nothing(f"the step raised {type(error.__cause__).__name__}")
    finally:
        gc.enable() if enabled else gc.disable()
        gc.collect()
    return GarbageMade(
        objects=objects,
        bytes=size,
        waiting=waiting,
        collected=comings > 0,
        type=way[0][1] if way else "",
        way="".join(label for label, _ in way),
        stack=stack,
        why_not="",
    )


def _nothing(why_not: str, iterations: int = 0) -> GarbageMade:
    return GarbageMade(0.0, 0.0, [(iterations, 0.0)], False, "", "", (), why_not)


async def _weighed(
    conversation: Conversation, ledger: Callable[[], float], question: MeasureGarbage
) -> tuple[float, float]:
    """Objects and bytes of a call that only the collector frees."""
    driver, clock = conversation.driver, conversation.clock
    gc.collect()
    gc.disable()
    before, calls, started = ledger(), 0, clock()
    while calls < _MOST_WEIGHED_CALLS and ledger() - before < question.bytes:
        await driver.run(1)
        calls += 1
        if clock() - started > question.seconds:
            break
    there = _in_sight()
    full = ledger()
    found = gc.collect()
    size = full - ledger()
    # It does not count what a finalizer frees: that of a generator or a coroutine breaks the cycle that it is in.
    return max(found, len(there - _in_sight())) / calls, max(0.0, size) / calls


def _in_sight() -> set[int]:
    """What the collector sees, but for what it takes off its lists where that refers to numbers and the like only."""
    there = gc.get_objects()  # before the function of the comprehension is made, which would be among them
    return {id(each) for each in there if type(each) is not tuple and type(each) is not dict}


async def _waiting(
    conversation: Conversation, ledger: Callable[[], float], question: MeasureGarbage, size: float
) -> tuple[list[tuple[int, float]], int]:
    """Bytes that waited each time that the collector came by itself, by calls, and how often it came and freed some.

    `size` is what it frees of one call.
    """
    driver, clock = conversation.driver, conversation.clock
    before, began, started = ledger(), driver.iterations, clock()
    waited: list[tuple[int, float]] = []
    comings = 0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal comings
        if phase == "start":
            waited.append((driver.iterations, ledger() - before))
        elif info["collected"] or ledger() - before < waited[-1][1] - size / 2:
            comings += 1

    gc.callbacks.append(note)
    try:
        while comings < _COMINGS and ledger() - before < question.bytes and clock() - started < question.seconds:
            await driver.run(min(_BATCH_CALLS, question.iterations - (driver.iterations - began)))
            if driver.iterations - began >= question.iterations:
                break
    finally:
        gc.callbacks.remove(note)
    highest = [(began, 0.0)]
    for each in [*waited, (driver.iterations, ledger() - before)]:
        if each[1] > highest[-1][1]:
            highest.append(each)
    return highest, comings


async def _closed(driver: Driver) -> tuple[Way, Stack]:
    """How an object of the garbage leads back to itself, and the stack of the line after which it does."""
    gc.disable()
    gc.collect()
    gc.freeze()  # what is new is all that the collector sees
    try:
        await driver.run(1)
        before = _shortest(gc.get_objects())
        way = _shortest(_garbage()) or before  # what a finalizer frees is not among what the collector finds
        if not way:
            return (), ()
        kind = way[0][1]

        def in_cycles() -> frozenset[int]:
            new = [each for each in gc.get_objects() if full_name(type(each)) == kind]
            return frozenset(id(each) for each in new if _leads_back(each, way))

        with Watch(in_cycles) as watch:
            await driver.run(_CLOSED_CALLS)
    finally:
        gc.unfreeze()
    stacks = Counter(each.stack for each in watch.additions if each.amount > 0 and each.stack)
    return way, stacks.most_common(1)[0][0] if stacks else ()


def _garbage() -> list[Any]:
    """What the collector would free now, which stays."""
    before = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(before)
        gc.garbage.clear()


def _shortest(garbage: list[Any]) -> Way:
    """The shortest way from an object back to itself, best of a type that has a name of its own."""
    inside = set(map(id, garbage))
    ranked = sorted(garbage, key=lambda each: _rank(type(each)))[:_MOST_CANDIDATES]
    ways = [(_rank(type(each)), way) for each in ranked if (way := _way_back(each, inside))]
    return min(ways, key=lambda found: (found[0], len(found[1])))[1] if ways else ()


def _rank(kind: type) -> int:
    """How much a type says: one with a module is somebody's own, an error or a function has a name at least."""
    if "." in full_name(kind):
        return 0
    return 1 if derives(kind, BaseException) or kind in _RUNNING else 2


def _way_back(start: Any, inside: set[int]) -> Way:
    """Breadth-first, by what the collector has found only."""
    seen: set[int] = set()
    waiting: deque[tuple[Any, Way]] = deque([(start, ())])
    while waiting and len(seen) < _MOST_REACHED:
        value, way = waiting.popleft()
        for label, each in _steps(value):
            if id(each) not in inside or id(each) in seen:
                continue
            longer = (*way, (label, full_name(type(each))))
            if each is start:
                return ((longer[0][0], full_name(type(start))), *longer[1:])
            seen.add(id(each))
            waiting.append((each, longer))
    return ()


def _steps(value: Any) -> Iterator[tuple[str, Any]]:
    if type(value) is FrameType:  # it may be running, under our trace function, and its variables are left as they are
        yield from ((f".<local {name}>", each) for name, each in value.f_locals.items())
        return
    for label, values in references(value):
        for each in values:
            yield _shown(label), each


def _shown(label: str) -> str:
    """A step as far as the author has named it: a key of a dictionary may be anything."""
    if label.startswith("[") and label != "[*]":
        return "[key]"
    named = not label.startswith(".") or label.startswith(_OF_CODE) or label[1:].isidentifier()
    return label if named else ATTRIBUTE


def _leads_back(start: Any, way: Way) -> bool:
    """Whether the steps of a way lead from an object to itself."""
    reached = [start]
    for label, _ in way:
        reached = [each for value in reached for name, each in _steps(value) if name == label][:_MOST_REACHED]
    return any(each is start for each in reached)
