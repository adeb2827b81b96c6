"""From what the means found to faults, by ordered lists of rules: each takes a case and returns it, changed.

The idea: what Python objects hold is known best, so containers and pinned objects come first and claim the allocation
sites where their objects are born. What nobody claims is a fault of its own, one for each line that calls into it,
unless it comes with what a holder keeps. Bytes are counted once, and no more of them than the heap grew by.

To add a rule: write a function from case to case whose docstring says its principle, where it belongs in `rules/`; put
it into its list here, and give it a test of its name in `test_attribution.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Fault,
    Native,
    Pinned,
    Resource,
    Untracked,
)
from leakcheck.diagnosis.rules.holders import (
    cycles_that_stay,
    cyclic_garbage,
    drifting_references,
    filling_caches,
    frozen_garbage,
    growing_containers,
    inside_a_cycle,
    lines_that_lead_there,
    one_cycle,
    parts_of_a_heavier_object,
    pinned_by_elements,
    pinned_objects,
    shared_elements,
    taken_by_elements,
    taken_together,
)
from leakcheck.diagnosis.rules.losses import (
    entry_of_native_losses,
    lines_of_the_ledger,
    lines_that_feed_a_thread,
    lost_blocks,
    no_crumbs,
    no_trifles,
    rare_allocations,
)
from leakcheck.diagnosis.rules.relations import has_limit, holds_weakly, is_users, may_hold
from leakcheck.diagnosis.rules.resources import bookkeeping_of_resources, resources_with_their_memory
from leakcheck.diagnosis.rules.sites import (
    allocations,
    blocks_beside_objects,
    no_more_than_grew,
    sites_cut_short,
    sites_of_births,
    sites_of_the_same_native_code,
)

_WEIGHT_WITHOUT_USER_LINE = 0.25
"""What the bytes of a fault count for in the order of the report to which no line of the user's leads: such a fault is
rarely one that the user can mend."""

Rule = Callable[[Case], Case]


def attribute(case: Case, rules: Sequence[Rule]) -> Case:
    """Apply rules in their order."""
    return reduce(lambda so_far, rule: rule(so_far), rules, case)


def causes_alone(case: Case) -> Case:
    """A container of weak references, and what no line of the step led to, are not reported beside a cause.

    The first keeps nothing, the second is the interpreter's own or ours.
    """
    causes = [each for each in case.faults if not holds_weakly(each) and (each.adders or each.births or each.sites)]
    return replace(case, faults=tuple(causes)) if causes else case


def by_weight(case: Case) -> Case:
    """Resources come first, containers that have a limit last, and what the user has a line in weighs four times.

    Memory without a holder comes behind what may hold it, however large it is.
    """

    def order(fault: Fault) -> tuple[bool, bool, bool, float, int]:
        detail = fault.detail
        held = any(may_hold(each, fault) for each in case.faults)
        weight = 1.0 if isinstance(detail, Native) or is_users(fault.lines, case.origin) else _WEIGHT_WITHOUT_USER_LINE
        return (
            not isinstance(detail, Resource) or detail.secondary or held,
            has_limit(fault),
            held,
            -fault.bytes * weight,
            2 if isinstance(detail, Native | Allocation | Untracked) else 1 if isinstance(detail, Pinned) else 0,
        )

    return replace(case, faults=tuple(sorted(case.faults, key=order)))


RULES: tuple[Rule, ...] = (
    growing_containers,
    shared_elements,
    filling_caches,
    pinned_objects,
    taken_together,
    one_cycle,
    inside_a_cycle,
    cycles_that_stay,
    lines_that_lead_there,
    sites_of_births,
    sites_cut_short,
    sites_of_the_same_native_code,
    frozen_garbage,
    pinned_by_elements,
    taken_by_elements,
    parts_of_a_heavier_object,
    blocks_beside_objects,
    no_more_than_grew,
    allocations,
    no_more_than_grew,
    causes_alone,
    resources_with_their_memory,
    bookkeeping_of_resources,
    drifting_references,
    cyclic_garbage,
    by_weight,
)
"""For the object graph, allocation sites and resources."""


LEDGER_RULES: tuple[Rule, ...] = (lines_that_feed_a_thread, lines_of_the_ledger, no_trifles, by_weight)
"""For the lines of the heap's own ledger, where much is unexplained."""


LOSS_RULES: tuple[Rule, ...] = (lost_blocks, no_crumbs, by_weight, entry_of_native_losses, rare_allocations)
"""For valgrind's losses; they come last."""
