"""Rules for what comes last: the lines of the heap's own ledger, and the blocks that valgrind saw lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leakcheck.agent.inquiry import Adder
from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Fault,
    Native,
    Pinned,
    Untracked,
)
from leakcheck.diagnosis.frames import outside_library
from leakcheck.diagnosis.memray import BLOCK_OVERHEAD_BYTES
from leakcheck.diagnosis.plan import EVENTS_PER_STRETCH
from leakcheck.diagnosis.rules.relations import (
    NEGLIGIBLE,
    about,
    changed,
    has_native_frames,
    is_users,
    named,
    native_functions,
)
from leakcheck.diagnosis.valgrind import Loss

LEDGER_NOISE_BYTES = 16
"""Bytes per iteration that the watching of the heap's ledger may get wrong."""


def lines_that_feed_a_thread(case: Case) -> Case:
    """What is allocated on no line of Python's, in a thread of native code, goes to the line while which it comes.

    It is the line after which the heap's own ledger has grown by as much.
    """

    def fed(fault: Fault) -> Fault:
        if fault.lines or fault.adders or any(site.trace for site in fault.sites):
            return fault
        line = next((each for each in case.ledger if each.stack and about(each.per_iteration, fault.bytes)), None)
        if line is None:
            return fault
        lines = outside_library((place[:2] for place in line.stack), case.origin)
        return replace(fault, adders=(Adder(line.stack, line.per_iteration),), lines=lines)

    return changed(case, fed, Allocation)


def lines_of_the_ledger(case: Case) -> Case:
    """A line after which the heap had grown allocates by a way that no tracker sees, where nothing else explains it.

    Lines of the user's are believed first: a test runner gives back on one line what it takes on another. The bytes go
    to the fault that has a line in common with it.
    """
    for arrival in sorted(case.ledger, key=lambda each: not is_users(each.stack, case.origin)):
        noise = LEDGER_NOISE_BYTES if case.faults else 0
        if case.unexplained <= noise:
            break
        if arrival.per_iteration < max(0.2 * case.unexplained, noise) or not arrival.stack:
            continue
        lines = outside_library((place[:2] for place in arrival.stack), case.origin)
        relative = next((each for each in case.faults if each.lines & lines), None)
        if relative is None:
            adder, size = Adder(arrival.stack, arrival.per_iteration), min(arrival.per_iteration, case.unexplained)
            case = case.adding([Fault(detail=Untracked(), bytes=size, adders=(adder,), lines=lines)])
        elif relative.on_heap:
            more = min(max(0.0, arrival.per_iteration - relative.bytes), case.unexplained)
            case = case.replacing(relative, replace(relative, bytes=relative.bytes + more))
    return replace(case, ledger=())


def no_trifles(case: Case) -> Case:
    """A stray block is not reported beside what the heap's ledger has found."""
    least = NEGLIGIBLE * case.explained
    return case.without(
        *(each for each in case.faults if isinstance(each.detail, Allocation | Untracked) and each.bytes < least)
    )


def no_crumbs(case: Case) -> Case:
    """Blocks that are next to nothing of the growth are not its cause, however little else is known of it."""
    least = NEGLIGIBLE * case.growth
    return case.without(
        *(
            each
            for each in case.faults
            if isinstance(each.detail, Allocation | Untracked) and each.on_heap and each.bytes < least
        )
    )


def lost_blocks(case: Case) -> Case:
    """A block that valgrind saw lost belongs to the fault with one of its native functions.

    Where nearly all is explained, it belongs to a fault whose native frames are not known; and what nothing else
    explains is a fault of its own, one for all unknown functions of a library. Without a growth of the heap only what
    is lost for certain is reported.
    """
    for loss in case.losses:
        size = loss.bytes + BLOCK_OVERHEAD_BYTES * loss.blocks
        new = Fault(detail=Native(), count=loss.blocks, bytes=size, losses=(loss,))
        if case.growth <= 0:
            case = case.adding([new] if loss.kind == "definitely lost" else [])
            continue
        relative = next((each for each in case.faults if native_functions(each) & named(loss)), None)
        if relative is None and case.unexplained < 0.1 * case.growth:
            relative = next((each for each in case.faults if _lacks_native_frames(each, loss)), None)
        if relative is not None:
            case = case.replacing(relative, replace(relative, losses=(*relative.losses, loss)))
        elif case.unexplained >= 0.5 * loss.bytes and case.unexplained >= NEGLIGIBLE * case.growth:
            alike = next(
                (each for each in case.faults if _unknown_in(each.losses[:1]) == _unknown_in((loss,)) != ""), None
            )
            case = case.adding([new]) if alike is None else case.replacing(alike, _with_loss(alike, new))
    return replace(case, losses=())


def _unknown_in(losses: Sequence[Loss]) -> str:
    """The library of a loss of which no function has a name; empty for any other."""
    return next((loss.objects[0] for loss in losses if loss.objects and not named(loss)), "")


def _with_loss(fault: Fault, more: Fault) -> Fault:
    losses = (*fault.losses, *more.losses)
    return replace(fault, count=fault.count + more.count, bytes=fault.bytes + more.bytes, losses=losses)


def entry_of_native_losses(case: Case) -> Case:
    """Valgrind knows no Python lines: what it alone found happens somewhere below the scenario's function."""
    if not case.entry:
        return case
    return changed(case, lambda fault: replace(fault, adders=(Adder(case.entry, fault.count),)), Native)


def rare_allocations(case: Case) -> Case:
    """Of blocks that came less than half as often as a stretch is sized for, the graph cannot say what holds them."""

    def judged(fault: Fault) -> Fault:
        rare = 0 < fault.count * case.iterations < EVENTS_PER_STRETCH / 2
        assert isinstance(fault.detail, Allocation)
        return replace(fault, detail=replace(fault.detail, rare=rare))

    return changed(case, judged, Allocation)


def _lacks_native_frames(fault: Fault, loss: Loss) -> bool:
    if isinstance(fault.detail, Untracked):
        return True
    return bool(loss.frames) and isinstance(fault.detail, Allocation | Pinned) and not has_native_frames(fault)
