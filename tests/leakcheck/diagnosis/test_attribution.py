"""What several means found becomes faults: one for each cause, with its share, in order; each rule by itself first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from leakcheck.agent.inquiry import (
    Adder,
    Arrival,
    Birth,
    DriftingObject,
    Graph,
    GrowingContainer,
    Node,
    PinnedObjects,
    Taker,
    Trace,
    Unclearable,
)
from leakcheck.agent.origin import Origin
from leakcheck.agent.protocol import GarbageMade, Roots
from leakcheck.diagnosis import attribution
from leakcheck.diagnosis.attribution import LEDGER_RULES, LOSS_RULES, RULES, attribute
from leakcheck.diagnosis.blocks import Content
from leakcheck.diagnosis.cycles import HiddenCycle
from leakcheck.diagnosis.faults import (
    Allocation,
    Case,
    Container,
    Drifting,
    Fault,
    Garbage,
    Native,
    Pinned,
    Resource,
    RetainingPath,
    Untracked,
)
from leakcheck.diagnosis.findings import finding_of
from leakcheck.diagnosis.frames import UNKNOWN, NativeFrame
from leakcheck.diagnosis.memray import Site
from leakcheck.diagnosis.memray import sites_of_births as sites_of
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
from leakcheck.diagnosis.rules.resources import bookkeeping_of_resources, resources_with_their_memory
from leakcheck.diagnosis.rules.sites import (
    RELATIVES,
    allocations,
    beside_all_that_grew,
    blocks_beside_objects,
    counted_twice,
    no_more_than_grew,
    of_the_same_line,
    sites_cut_short,
    sites_of_births,
    sites_of_the_same_native_code,
)
from leakcheck.diagnosis.valgrind import Loss

HUB: Trace = (("/src/app/hub.py", 41), ("/src/app/main.py", 7))
RUNNER: Trace = (("/venv/lib/python3.11/site-packages/runner/main.py", 5),)
LOG: Trace = (("/src/app/log.py", 9), ("/src/app/main.py", 8))


ORIGIN = Origin(
    Roots(
        ("/venv/lib/python3.11/site-packages/leakcheck/agent/",),
        ("/venv/lib/python3.11/site-packages/", "/src/leakcheck/"),
        ("/usr/lib/python3.11/",),
    )
)


def container(path: str, trace: Trace, size: float, count: float = 1.0, **more: Any) -> GrowingContainer:
    born = (Birth(trace, count, size),)
    found = GrowingContainer(
        bytes=size,
        objects=count,
        types={"app.Listener": count},
        sites=born,
        opaque=False,
        path=(Node("app", "module"), Node(path, "list")),
        shape="wider",
        many="[*]",
        per_iteration=count,
        shared_with="",
        elements={"app.Listener": count},
        heads=born,
        examples=("app.Listener",),
        adders=(Adder(tuple((file, line, "add") for file, line in trace), count),),
        other_threads=False,
    )
    return found._replace(**more)


def graph(*containers: GrowingContainer, **more: Any) -> Graph:
    nothing = Graph(
        containers=containers, pinned=(), unclearable=(), sites=(), frozen=0.0, freezing=(), at_exit=0.0,
        registering=(), iterations=0, phases={},
    )  # fmt: skip
    return nothing._replace(**more)


def pinned(kind: str, trace: Trace, size: float, count: float = 1.0) -> PinnedObjects:
    return PinnedObjects(
        bytes=size, objects=count, types={}, sites=(Birth(trace, count, size),), opaque=False, type=kind,
        per_iteration=count, heads=(), examples=(),
    )  # fmt: skip


def case_of(**parts: Any) -> Case:
    return Case(origin=ORIGIN, **parts)


def site(trace: Trace, size: float, blocks: float = 1.0, native: tuple[NativeFrame, ...] = ()) -> Site:
    return Site(trace, (), native, blocks, size)


def arrival(count: float, *stack: tuple[str, int, str]) -> Arrival:
    return Arrival(stack=stack, per_iteration=count)


def resource(meter: str, lines: Sequence[tuple[str, int]], count: float = 0.0, size: float = 0.0) -> Fault:
    return Fault(detail=Resource(meter), count=count, bytes=size, lines=frozenset(lines))


def assemble(
    found: Graph | None, sites: Sequence[Site] | None, resources: Sequence[Fault], growth: float
) -> tuple[Fault, ...]:
    """The faults after all rules for the graph, the sites and resources."""
    if sites is None:
        sites = sites_of(found.sites) if found else []
    return attribute(case_of(growth=growth, graph=found, sites=tuple(sites), resources=tuple(resources)), RULES).faults


def with_ledger(faults: Sequence[Fault], ledger: Sequence[Arrival], growth: float) -> tuple[Fault, ...]:
    return attribute(case_of(growth=growth, faults=tuple(faults), ledger=tuple(ledger)), LEDGER_RULES).faults


def with_losses(faults: Sequence[Fault], losses: Sequence[Loss], growth: float) -> tuple[Fault, ...]:
    return attribute(case_of(growth=growth, faults=tuple(faults), losses=tuple(losses)), LOSS_RULES).faults


def kinds(faults: Sequence[Fault]) -> list[str]:
    return [type(fault.detail).__name__.lower() for fault in faults]


def path_of(fault: Fault) -> RetainingPath:
    assert isinstance(fault.detail, Container | Resource)
    assert fault.detail.path is not None
    return fault.detail.path


def ends(faults: Sequence[Fault]) -> list[str]:
    """The last step of each container's path."""
    return [path_of(fault).nodes[-1].label for fault in faults]


NATIVE = (NativeFrame("make_key", "src/key.c", 12),)
KEY_LOSS = Loss((NativeFrame("make_key", "/src/key.c", 12),), ("/lib/key.so",), "definitely lost", 1.0, 292.0)


def held(label: str, size: float, *lines: tuple[str, int], count: float = 1.0, **more: Any) -> Fault:
    """A container that is a fault already, on behalf of some lines."""
    path = RetainingPath((Node("app", "module"), Node(label, "list")))
    return Fault(detail=Container(path, **more), count=count, bytes=size, lines=frozenset(lines))


@pytest.mark.parametrize("rule", [*RULES, *LEDGER_RULES, *LOSS_RULES, *RELATIVES])
def test_each_rule_says_its_principle_and_has_a_test_of_its_name(rule: Any) -> None:
    assert rule.__doc__
    assert hasattr(sys.modules[__name__], f"test_{rule.__name__}")


def test_growing_containers() -> None:
    case = growing_containers(case_of(growth=400, graph=graph(container(".listeners", HUB, 400))))
    (fault,) = case.faults
    assert (fault.type, fault.count, fault.bytes, path_of(fault).name) == ("app.Listener", 1, 400, "app.listeners")
    wrapped = container(".x", HUB, 80, elements={"tuple": 1.0}, types={"tuple": 1.0, "app.Job": 0.9})
    (fault,) = growing_containers(case_of(growth=80, graph=graph(wrapped))).faults
    assert fault.type == "app.Job", "a plain tuple says nothing, what it leads to does"


def test_growing_containers_without_lines_that_cannot_be_those_that_add() -> None:
    elsewhere = (Birth(LOG[:1], 1, 64),)
    watched = container(".jobs", HUB, 400, heads=elsewhere, other_threads=True)
    (fault,) = growing_containers(case_of(growth=400, graph=graph(watched))).faults
    assert not fault.adders
    (fault,) = growing_containers(case_of(growth=400, graph=graph(watched._replace(other_threads=False)))).faults
    assert fault.adders


def test_shared_elements() -> None:
    first = held(".listeners", 400, HUB[0])
    second = held(".by_name", 60, HUB[0], shared_with="app.listeners")
    (fault,) = shared_elements(case_of(growth=460, faults=(first, second))).faults
    assert (ends([fault]), fault.bytes) == ([".listeners"], 460)
    assert isinstance(fault.detail, Container)
    assert [f"{path.name}{many}" for path, many in fault.detail.also] == ["app.by_name[*]"]
    weak = replace(first, type="weakref.ReferenceType")
    assert len(shared_elements(case_of(growth=460, faults=(weak, second))).faults) == 2


def test_filling_caches() -> None:
    cache, log = held(".cache", 400, limit=1000), held(".log", 60)
    assert ends(filling_caches(case_of(growth=100, faults=(cache, log))).faults) == [".log"]
    assert len(filling_caches(case_of(growth=460, faults=(cache, log))).faults) == 2


def test_pinned_objects() -> None:
    found = graph(pinned=(pinned("app.Key", HUB, 96),))
    (fault,) = pinned_objects(case_of(growth=96, graph=found)).faults
    assert (fault.detail, fault.type, fault.bytes) == (Pinned(at_exit=False), "app.Key", 96)


def test_taken_together() -> None:
    call = Taker("native.run", ((*HUB[0], "on"),), 1.0, made=True)
    error, trace = pinned("app.Busy", HUB, 100), pinned("traceback", HUB, 400)
    found = graph(pinned=(error._replace(takers=(call,)), trace._replace(takers=(call,)), pinned("app.Key", LOG, 50)))
    case = pinned_objects(case_of(growth=550, graph=found))
    taken, other = taken_together(case).faults
    assert (taken.type, taken.bytes, other.type) == ("app.Busy", 500, "app.Key")


def test_one_cycle() -> None:
    def pinned_by(kind: str, *ways: Node) -> HiddenCycle:
        return HiddenCycle(kind, "support", (*ways, Node("[*]", kind)))

    near = (Node("", "app.Tracer"), Node(".handles", "list"))
    far = (Node("", "method"), Node(".__self__", "app.Owner"), Node(".tracer", "app.Tracer"), Node(".handles", "list"))
    groups = pinned("app.Tracer", HUB, 100), pinned("method", LOG, 400), pinned("app.Key", HUB, 50)
    cycles = pinned_by("native.Handle", *near), pinned_by("native.Handle", *far), pinned_by("native.Other", *near)
    case = pinned_objects(case_of(growth=550, graph=graph(pinned=groups), cycles=cycles))
    first, other = one_cycle(case).faults
    assert (first.type, first.bytes, other.bytes) == ("app.Tracer", 500, 50)
    title = finding_of(first, 550, "graph", ORIGIN).title
    assert "Tracer.handles[*] is a native.Handle, whose type has no collector support" in title


def test_inside_a_cycle() -> None:
    closing = Taker("native.Words.add", ((*HUB[0], "on"),), 1.0, made=False)
    groups = (
        pinned("app.Owner", HUB[1:], 100)._replace(takers=(closing,)),
        pinned("list", HUB, 60)._replace(takers=(closing._replace(function="native.Words"),)),
        pinned("app.Key", HUB, 50)._replace(takers=(closing._replace(function="native.WordsOfOthers"),)),
    )
    cycle = HiddenCycle("native.Words", "support", (Node("", "app.Owner"), Node(".words", "native.Words")))
    case = pinned_objects(case_of(growth=1000, graph=graph(pinned=groups), cycles=(cycle, None, None)))
    case = inside_a_cycle(replace(case, sites=(site(HUB, 300, 13, NATIVE), site(LOG, 200, 1, NATIVE))))
    assert [(fault.type, fault.bytes) for fault in case.faults] == [("app.Owner", 160), ("app.Key", 50)]
    owner, _, apart = allocations(case).faults
    assert (owner.bytes, apart.bytes) == (460, 200), "what is allocated where the cycle is closed is part of it"


def test_what_native_code_allocates_where_it_keeps_a_reference_is_what_keeps_it() -> None:
    kept = Taker("native.Hub.on", ((*HUB[0], "on"),), 1.0, made=False)

    def told(taker: Taker, *sites: Site) -> list[float]:
        found = graph(pinned=(pinned("function", LOG, 100)._replace(takers=(taker,)),))
        case = pinned_objects(case_of(growth=500, graph=found))
        return [fault.bytes for fault in allocations(replace(case, sites=sites)).faults]

    assert told(kept, site(HUB, 270, 3, NATIVE), site(HUB, 30, 1)) == [400]
    for apart in (site(HUB, 300, 0.5, NATIVE), site(HUB, 300, 4), site(LOG, 300, 4, NATIVE)):
        assert told(kept, apart) == [100, 300]
    assert told(kept._replace(made=True), site(HUB, 300, 4, NATIVE)) == [100, 300]


def test_a_class_with_a_base_in_c_is_not_taken_by_what_makes_it() -> None:
    made = Taker("__build_class__", ((*HUB[0], "on"),), 1.0, made=True)
    found = graph(pinned=(pinned("type", HUB, 2000)._replace(takers=(made,), base="native.Base"),))
    (fault,) = pinned_objects(case_of(growth=2000, graph=found)).faults
    assert isinstance(fault.detail, Pinned)
    assert fault.detail.taker is None
    assert "native.Base" in finding_of(fault, 2000, "graph", ORIGIN).title


def test_cycles_that_stay() -> None:
    stubborn = Unclearable("native.Link", 1.0, 112, (Birth(HUB, 1.0, 112.0),))
    (fault,) = cycles_that_stay(case_of(growth=112, graph=graph(unclearable=(stubborn,)))).faults
    assert (fault.type, fault.count, fault.bytes) == ("native.Link", 1.0, 112)
    assert "native.Link has no tp_clear" in finding_of(fault, 112, "graph", ORIGIN).title


def test_drifting_references() -> None:
    taken = DriftingObject("app.session (app.Session)", 3.0, (Adder(((*HUB[0], "on"),), 3.0, "ext.use"),))
    lost = DriftingObject("type app.Kind", -1.0, ())
    first, second = drifting_references(case_of(growth=0, drifting=(taken, lost))).faults
    assert (first.detail, first.count, first.meter) == (Drifting(taken.what, False, 0.75), 3.0, "refs")
    assert (first.bytes, first.lines) == (0, {HUB[0]})
    assert (second.detail, second.count, second.adders) == (Drifting(lost.what, True, 0.25), 1.0, ())


def test_cyclic_garbage() -> None:
    made = GarbageMade(4.0, 200_000.0, [(0, 0.0)], True, "app.Node", ".parent", ((*HUB[0], "add"),), "")
    (fault,) = cyclic_garbage(case_of(growth=0, garbage=made)).faults
    assert (fault.detail, fault.type, fault.count, fault.bytes) == (Garbage(".parent"), "app.Node", 4.0, 200_000.0)
    assert (fault.meter, fault.on_heap, fault.lines) == ("garbage.bytes", False, {HUB[0]})
    assert cyclic_garbage(case_of(growth=0)).faults == ()


def test_lines_that_lead_there() -> None:
    library = ("/usr/lib/python3.11/threading.py", 900)
    births = (Birth((library, HUB[0]), 1.0, 90.0), Birth((LOG[0],), 1.0, 5.0))
    fault = Fault(detail=Pinned(), bytes=100, births=births, adders=(Adder(((*HUB[1], "main"),), 1.0),))
    (fault,) = lines_that_lead_there(case_of(growth=100, faults=(fault,))).faults
    assert fault.lines == set(HUB), "neither the library's line, nor one where little is born"


def test_where_an_element_is_born_leads_there_though_it_is_a_small_part_of_what_it_brings() -> None:
    fault = Fault(detail=Pinned(), bytes=100, births=(Birth((LOG[0],), 1.0, 5.0),), heads=(Birth(HUB, 1.0, 5.0),))
    (fault,) = lines_that_lead_there(case_of(growth=100, faults=(fault,))).faults
    assert fault.lines == set(HUB)


BORN = Fault(detail=Pinned(), count=1.0, bytes=400, births=(Birth(HUB, 1.0, 400.0),))


def test_sites_of_births() -> None:
    case = sites_of_births(case_of(growth=900, faults=(BORN,), sites=(site(HUB, 432), site(HUB[:1], 9))))
    assert (case.faults[0].sites, case.sites) == ((site(HUB, 432),), (site(HUB[:1], 9),))


def test_sites_cut_short() -> None:
    case = sites_cut_short(case_of(growth=900, faults=(BORN,), sites=(site(HUB[:1], 432), site(LOG, 9))))
    assert (case.faults[0].sites, case.sites) == ((site(HUB[:1], 432),), (site(LOG, 9),))


def test_sites_of_the_same_native_code() -> None:
    known = replace(BORN, sites=(site(HUB, 400, 1, NATIVE),))
    sites = (site((), 50, 1, NATIVE), site(LOG, 60, 1, NATIVE))
    case = sites_of_the_same_native_code(case_of(growth=900, faults=(known,), sites=sites))
    assert [len(case.faults[0].sites), case.sites] == [2, sites[1:]], "one with a Python line goes by this"


def test_frozen_garbage() -> None:
    found = graph(frozen=1.0, freezing=(Adder((("/src/app/main.py", 8, "step"),), 1.0),))
    sites = (site(LOG, 112), site(HUB, 9, 1, NATIVE))
    case = frozen_garbage(case_of(growth=121, graph=found, sites=sites))
    assert (kinds(case.faults), case.faults[0].bytes, case.sites) == (["frozen"], 112, sites[1:])
    assert not frozen_garbage(case_of(growth=121, graph=graph(), sites=sites)).faults


def test_pinned_by_elements() -> None:
    holder = held(".heads", 150, HUB[0], opaque=True)
    inside = replace(BORN, lines=frozenset(HUB[:1]))
    (fault,) = pinned_by_elements(case_of(growth=550, faults=(holder, inside))).faults
    assert (fault.bytes, fault.births) == (550, BORN.births)
    plain = held(".listeners", 150, HUB[0])
    assert len(pinned_by_elements(case_of(growth=550, faults=(plain, inside))).faults) == 2


def test_taken_by_elements() -> None:
    holder = replace(held(".classes", 150, opaque=True), heads=(Birth(HUB, 1.0, 150.0),))
    on_its_line, elsewhere = (Adder(((*line, "on"),), 1.0) for line in (HUB[0], LOG[0]))
    taker = Taker("__build_class__", on_its_line.stack, 1.0, made=False)
    taken = Fault(detail=Pinned(taker=taker), count=1.7, bytes=90, adders=(on_its_line,))
    by_native = Container(RetainingPath((Node("<dict held by native code>", "dict"),), "native code"))
    entered = Fault(detail=by_native, count=3.0, bytes=30, adders=(on_its_line._replace(rate=3.0),))
    (whole,) = taken_by_elements(case_of(growth=270, faults=(taken, holder, entered))).faults
    assert (whole.detail, whole.bytes) == (holder.detail, 270)
    for other in (
        replace(taken, adders=(elsewhere,)),
        replace(taken, adders=(on_its_line._replace(rate=0.5),)),
        replace(taken, detail=Pinned(taker=taker._replace(made=True))),
    ):
        assert len(taken_by_elements(case_of(growth=270, faults=(other, holder))).faults) == 2
    plain = replace(holder, detail=replace(holder.detail, opaque=False))
    assert len(taken_by_elements(case_of(growth=270, faults=(taken, plain))).faults) == 2


def test_parts_of_a_heavier_object() -> None:
    adders = (Adder(((*HUB[0], "add"),), 1.0),)
    whole = replace(held(".text", 96, shape="heavier"), adders=adders)
    by_native = Container(RetainingPath((Node("<list held by native code>", "list"),), "native code"))
    part = Fault(detail=by_native, bytes=32, adders=adders)
    (fault,) = parts_of_a_heavier_object(case_of(growth=128, faults=(part, whole))).faults
    assert (ends([fault]), fault.bytes) == ([".text"], 128)
    other = replace(part, adders=(Adder(((*LOG[0], "add"),), 1.0),))
    assert len(parts_of_a_heavier_object(case_of(growth=128, faults=(other, whole))).faults) == 2


def test_a_heavier_object_that_native_code_holds_is_no_part_of_itself() -> None:
    adders = (Adder(((*HUB[0], "add"),), 1.0),)
    path = RetainingPath((Node("<bytearray held by native code>", "bytearray"),), "native code")
    text, more = (Fault(detail=Container(path, "heavier"), bytes=size, adders=adders) for size in (96, 32))
    assert parts_of_a_heavier_object(case_of(growth=96, faults=(text,))).faults == (text,)
    (fault,) = parts_of_a_heavier_object(case_of(growth=128, faults=(text, more))).faults
    assert fault.bytes == 128


def test_blocks_beside_objects() -> None:
    fault = replace(BORN, sites=(site(HUB, 432),))
    for growth, size in ((900, 432), (410, 410), (300, 400)):
        (seen,) = blocks_beside_objects(case_of(growth=growth, faults=(fault,))).faults
        assert seen.bytes == size


def test_no_more_than_grew() -> None:
    case = case_of(growth=400, faults=(held(".a", 300), held(".b", 500)))
    assert [fault.bytes for fault in no_more_than_grew(case).faults] == [150, 250]
    assert [fault.bytes for fault in no_more_than_grew(replace(case, growth=900)).faults] == [300, 500]


def test_allocations() -> None:
    case = allocations(case_of(growth=400, faults=(held(".a", 100),), sites=(site(LOG, 300, 1, NATIVE),)))
    assert (kinds(case.faults), case.sites) == (["container", "allocation"], ())


ALLOCATION = Fault(detail=Allocation(), count=1.0, bytes=64, lines=frozenset(HUB))


def test_of_the_same_line() -> None:
    first, second = held(".a", 100, LOG[0]), held(".b", 100, HUB[0])
    assert of_the_same_line(case_of(growth=300, faults=(first, second)), ALLOCATION) is second
    assert of_the_same_line(case_of(growth=300, faults=(first,)), ALLOCATION) is None


def test_two_native_functions_of_one_line_are_two_faults() -> None:
    header = NativeFrame("read_header", "native.c", 3)
    sites = (site(LOG, 5000, 1, NATIVE), site(LOG, 112, 1, (header,)), site(LOG, 48, 1))
    body, other = allocations(case_of(growth=5160, sites=sites)).faults
    assert (body.bytes, other.bytes) == (5048, 112), "what has no native frames belongs to most of its line"


def test_what_one_type_ties_into_cycles_is_one_fault() -> None:
    tied = Content("", "native.Handle")
    sites = (site(LOG, 184)._replace(content=tied), site(HUB, 80)._replace(content=tied), site(HUB, 50))
    cycle, other = allocations(case_of(growth=314, sites=sites)).faults
    assert (cycle.bytes, other.bytes) == (264, 50)
    assert "part of a cycle through a native.Handle" in finding_of(cycle, 314, "graph", ORIGIN).title


def test_counted_twice() -> None:
    foreign = replace(ALLOCATION, lines=frozenset(RUNNER))
    holder = held(".a", 100, LOG[0])
    assert counted_twice(case_of(growth=104, faults=(holder,)), foreign) is holder
    assert counted_twice(case_of(growth=164, faults=(holder,)), foreign) is None, "there is room for both"
    assert counted_twice(case_of(growth=104, faults=(holder,)), ALLOCATION) is None, "the user's own line"


def test_beside_all_that_grew() -> None:
    holder = held(".a", 100, LOG[0])
    assert beside_all_that_grew(case_of(growth=102, faults=(holder,)), ALLOCATION) is holder
    assert beside_all_that_grew(case_of(growth=160, faults=(holder,)), ALLOCATION) is None
    native = replace(ALLOCATION, sites=(site(HUB, 64, 1, NATIVE),))
    assert beside_all_that_grew(case_of(growth=102, faults=(holder,)), native) is None


def test_causes_alone() -> None:
    weak = replace(held(".all", 100), type="weakref.ReferenceType", births=BORN.births)
    placeless = held(".internal", 50)
    assert attribution.causes_alone(case_of(growth=550, faults=(weak, placeless, BORN))).faults == (BORN,)
    assert attribution.causes_alone(case_of(growth=150, faults=(weak, placeless))).faults == (
        weak,
        placeless,
    )


def test_resources_with_their_memory() -> None:
    holder, thread = held(".threads", 400, HUB[0]), resource("threads", HUB, 1.0)
    (fault,) = resources_with_their_memory(case_of(growth=400, faults=(holder,), resources=(thread,))).faults
    assert (kinds([fault]), fault.bytes, ends([fault])) == (["resource"], 400, [".threads"])
    often = replace(holder, count=5.0)
    case = resources_with_their_memory(case_of(growth=400, faults=(often,), resources=(thread,)))
    assert len(case.faults) == 2, "five objects a thread are something else"


def test_bookkeeping_of_resources() -> None:
    thread, lock = resource("threads", HUB, 1.0, 800), Fault(detail=Allocation(), count=2.0, bytes=200)
    waits = RetainingPath((Node("<frame Event.wait of thread Thread-1>", "frame"), Node(".waiters", "deque")))
    waiter = Fault(detail=Container(waits), count=1.0, bytes=90, lines=frozenset({LOG[0]}))
    other = held(".log", 400, LOG[0])
    case = case_of(growth=1500, faults=(thread, lock, waiter, other))
    kept, left = bookkeeping_of_resources(case).faults
    assert (kept.meter, kept.bytes, ends([left])) == ("threads", 1090, [".log"])
    rare = case_of(growth=1500, faults=(thread, replace(lock, count=0.3)))
    assert len(bookkeeping_of_resources(rare).faults) == 2, "it does not come as often"
    file = case_of(growth=1500, faults=(resource("fds", HUB, 1.0), waiter))
    assert len(bookkeeping_of_resources(file).faults) == 2, "a descriptor has no frames"


def test_by_weight() -> None:
    faults = (held(".cache", 900, HUB[0], limit=10), held(".a", 100, HUB[0]), held(".b", 200, RUNNER[0]))
    case = attribution.by_weight(case_of(growth=1200, faults=(*faults, resource("fds", HUB))))
    assert kinds(case.faults)[0] == "resource"
    assert ends(case.faults[1:]) == [".a", ".b", ".cache"]


def test_by_weight_what_holds_memory_comes_before_the_memory() -> None:
    kept = held(".jobs", 300, HUB[0], opaque=True)
    pages = resource("mapped.bytes", LOG, size=16384)
    blocks = Fault(detail=Allocation(), count=2.0, bytes=1500, lines=frozenset(LOG))

    def order(*faults: Fault) -> list[str]:
        return kinds(attribution.by_weight(case_of(growth=1800, faults=faults)).faults)

    assert order(pages, blocks, kept) == ["container", "resource", "allocation"]
    assert order(pages, blocks, held(".jobs", 300, HUB[0])) == ["resource", "allocation", "container"]
    assert order(pages, held(".cache", 300, HUB[0], opaque=True, limit=10))[0] == "resource", "it holds no more soon"
    assert order(replace(blocks, count=0.3), kept) == ["allocation", "container"], "it does not come as often"
    assert order(resource("fds", LOG, 1.0), kept) == ["resource", "container"], "a descriptor is no memory"


def test_lines_that_feed_a_thread() -> None:
    unseen = Fault(detail=Allocation(), count=1.0, bytes=3000, sites=(site((), 3000, 1, NATIVE),))
    fed = arrival(3008, ("/src/app/native.py", 3, "call"))
    (fault,) = lines_that_feed_a_thread(case_of(growth=3000, faults=(unseen,), ledger=(fed,))).faults
    assert "in a thread of its own, while native.py:3 in call runs" in finding_of(fault, 3000, "graph", ORIGIN).title
    less = case_of(growth=3000, faults=(unseen,), ledger=(arrival(200, ("/src/app/native.py", 3, "call")),))
    assert not lines_that_feed_a_thread(less).faults[0].adders
    has_line = replace(unseen, sites=(site(LOG, 3000, 1, NATIVE),))
    case = case_of(growth=3000, faults=(has_line,), ledger=(fed,))
    assert not lines_that_feed_a_thread(case).faults[0].adders


def test_lines_of_the_ledger() -> None:
    ledger = (arrival(200, ("/src/app/native.py", 3, "call")),)
    case = lines_of_the_ledger(case_of(growth=300, faults=(held(".a", 100),), ledger=ledger))
    assert [(type(fault.detail), fault.bytes) for fault in case.faults] == [(Container, 100), (Untracked, 200)]
    known = held(".a", 100, ("/src/app/native.py", 3))
    (fault,) = lines_of_the_ledger(case_of(growth=300, faults=(known,), ledger=ledger)).faults
    assert fault.bytes == 200, "the bytes go to the fault that has the line"


def test_no_trifles() -> None:
    stray = replace(ALLOCATION, bytes=0.76)
    assert kinds(no_trifles(case_of(growth=320, faults=(stray, held(".a", 319)))).faults) == ["container"]


def test_no_crumbs() -> None:
    crumb, part = replace(ALLOCATION, bytes=1.0), replace(ALLOCATION, bytes=100.0)
    assert not no_crumbs(case_of(growth=2000, faults=(crumb,))).faults
    assert kinds(no_crumbs(case_of(growth=2000, faults=(part, held(".a", 1)))).faults) == ["allocation", "container"]


def test_lost_blocks() -> None:
    known = replace(ALLOCATION, bytes=300, sites=(site(LOG, 300, 1, NATIVE),))
    (fault,) = lost_blocks(case_of(growth=300, faults=(known,), losses=(KEY_LOSS,))).faults
    assert fault.losses == (KEY_LOSS,)
    (fault,) = lost_blocks(case_of(growth=300, losses=(KEY_LOSS,))).faults
    assert (fault.detail, fault.bytes) == (Native(), 300)
    possible = KEY_LOSS._replace(kind="possibly lost")
    assert len(lost_blocks(case_of(growth=0, losses=(KEY_LOSS, possible))).faults) == 1


def test_all_unknown_functions_of_a_library_are_one_fault() -> None:
    def unknown(*libraries: str) -> Loss:
        return Loss((NativeFrame(UNKNOWN, "", 0),) * len(libraries), libraries, "definitely lost", 1.0, 92.0)

    losses = unknown("/lib/key.so"), unknown("/lib/key.so", "/lib/key.so"), unknown("/lib/other.so"), KEY_LOSS
    one, other, key = lost_blocks(case_of(growth=600, losses=losses)).faults
    assert (one.count, one.bytes, len(one.losses)) == (2.0, 200, 2)
    assert (other.bytes, key.bytes) == (100, 300)


def test_entry_of_native_losses() -> None:
    native, entry = Fault(detail=Native(), count=1.0), (("/src/scenario.py", 3, "step"),)
    case = entry_of_native_losses(case_of(growth=0, faults=(native, ALLOCATION), entry=entry))
    assert [fault.adders for fault in case.faults] == [(Adder(entry, 1.0),), ()]


def test_rare_allocations() -> None:
    often, rare = ALLOCATION, replace(ALLOCATION, count=0.01)
    case = rare_allocations(case_of(growth=100, faults=(often, rare), iterations=101))
    assert [fault.detail for fault in case.faults] == [Allocation(rare=False), Allocation(rare=True)]


def test_a_container_and_the_allocations_of_its_elements_are_one_fault() -> None:
    faults = assemble(graph(container(".listeners", HUB, 400)), [site(HUB, 432)], [], 432)
    assert (kinds(faults), faults[0].bytes) == (["container"], 432)


def test_two_containers_are_two_faults_the_larger_first() -> None:
    found = graph(container(".listeners", HUB, 100), container(".lines", LOG, 300))
    faults = assemble(found, [site(HUB, 100), site(LOG, 300)], [], 400)
    assert ends(faults) == [".lines", ".listeners"]


def test_what_a_second_container_alone_holds_is_counted_with_the_first() -> None:
    record: Trace = (("/src/app/hub.py", 43), ("/src/app/main.py", 7))
    second = container(".calls", record, 900, shared_with="app.listeners")
    (fault,) = assemble(graph(container(".listeners", HUB, 400), second), [site(HUB, 400), site(record, 900)], [], 1300)
    assert (kinds([fault]), fault.bytes) == (["container"], 1300)


def test_a_set_of_weak_references_is_no_cause_where_there_is_another() -> None:
    weak = container(".all", HUB, 100, elements={"weakref.ReferenceType": 1.0}, types={})
    faults = assemble(graph(weak, container(".listeners", HUB, 90)), [], [], 190)
    assert ends(faults) == [".listeners"]


def test_an_allocation_that_nothing_holds_is_a_fault_of_its_own() -> None:
    faults = assemble(graph(container(".listeners", HUB, 100)), [site(HUB, 100), site(LOG, 300, 1, NATIVE)], [], 400)
    assert kinds(faults) == ["allocation", "container"]


def test_a_small_remainder_is_left_to_the_residual() -> None:
    faults = assemble(graph(container(".listeners", HUB, 1000)), [site(HUB, 1000), site(LOG, 5)], [], 1000)
    assert len(faults) == 1


def test_without_memray_the_graphs_own_births_stand_in() -> None:
    found = graph(sites=(Birth(LOG, 2.0, 100.0),))
    faults = assemble(found, None, [], 116)
    assert (kinds(faults), faults[0].bytes) == (["allocation"], 116)


def test_without_the_graph_the_sites_are_all_there_is() -> None:
    assert kinds(assemble(None, [site(HUB, 100)], [], 100)) == ["allocation"]


def test_the_faults_never_explain_more_than_there_is() -> None:
    found = graph(container(".listeners", HUB, 300), container(".lines", LOG, 300))
    faults = assemble(found, [site(HUB, 400), site(LOG, 400)], [], 400)
    assert sum(fault.bytes for fault in faults) == pytest.approx(400)


@pytest.mark.parametrize("opaque", [True, False])
def test_native_memory_beside_elements_of_a_foreign_type_is_not_said_to_be_held_by_nobody(opaque: bool) -> None:
    heads = container(".heads", HUB, 150, opaque=opaque)
    memory = site(LOG, 16000, 40, (NativeFrame("draw", "", 0),))
    faults = assemble(graph(heads), [site(HUB, 150), memory], [], 16150)
    (beside,) = [fault.detail for fault in faults if isinstance(fault.detail, Allocation)]
    assert beside.beside_foreign == opaque


VIEWS: Trace = (("/src/app/hub.py", 42), ("/src/app/main.py", 7))


def test_memory_that_comes_with_elements_of_a_foreign_type_is_held_by_them() -> None:
    views = container(".heads", HUB, 150, opaque=True, elements={"numpy.ndarray": 1.0})
    memory = site(VIEWS, 16000, 1, (NativeFrame("default_calloc", "", 0),))
    (fault,) = assemble(graph(views), [site(HUB, 150), memory], [], 16150)
    assert (kinds([fault]), ends([fault]), fault.bytes) == (["container"], [".heads"], 16150)
    of_seven_parts = site(VIEWS, 16000, 7, (NativeFrame("lzma_code", "", 0),))
    (fault,) = assemble(graph(views), [site(HUB, 150), of_seven_parts], [], 16150)
    assert (kinds([fault]), fault.bytes) == (["container"], 16150)
    twice_in_seven = site(VIEWS, 16000, 2 / 7, (NativeFrame("default_calloc", "", 0),))
    faults = assemble(graph(views), [site(HUB, 150), twice_in_seven], [], 16150)
    assert kinds(faults) == ["allocation", "container"], "what does not come as often is another's"


def test_memory_that_comes_with_elements_that_show_all_they_hold_is_a_fault_of_its_own() -> None:
    memory = site(VIEWS, 16000, 1, (NativeFrame("make_key", "key.c", 3),))
    faults = assemble(graph(container(".listeners", HUB, 150)), [site(HUB, 150), memory], [], 16150)
    assert kinds(faults) == ["allocation", "container"]


def test_weak_references_to_the_elements_of_a_container_are_no_fault() -> None:
    references = pinned("weakref.ReferenceType", VIEWS, 90, 1.8)
    (fault,) = assemble(graph(container(".classes", HUB, 900), pinned=(references,)), [], [], 990)
    assert (ends([fault]), fault.bytes) == ([".classes"], 990)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(detail=Allocation(rare=True), count=1e-4, bytes=9.8), "too rarely for what holds it to be seen"),
        (Fault(detail=Allocation(), count=1.0, bytes=64.0), "nothing that Python knows of holds it"),
        (Fault(detail=Allocation(beside_foreign=True), count=1.0, bytes=64.0), "what holds it is not known"),
        (Fault(detail=Untracked(), bytes=4.0), "it comes too rarely, or from an allocator"),
        (Fault(detail=Untracked(), bytes=400.0), "the allocator is one that no tracker sees"),
    ],
)
def test_what_was_too_rare_to_be_seen_is_not_said_to_be_held_by_nobody(fault: Fault, words: str) -> None:
    title = finding_of(fault, 1000.0, "survivors").title
    assert words in title
    assert ("nothing that Python" in title) == (words == "nothing that Python knows of holds it")


@pytest.mark.parametrize(
    ("fault", "unseen", "words"),
    [
        (Fault(detail=Allocation(), count=1.0, bytes=64.0), "graph", "what holds it was not looked at"),
        (Fault(detail=Allocation(rare=True), count=1e-4, bytes=9.8), "graph", "what holds it was not looked at"),
        (Fault(detail=Untracked(), bytes=400.0), "memray", "what allocated it was not looked at"),
        (Fault(detail=Untracked(), bytes=400.0), "valgrind", "valgrind has not looked"),
    ],
)
def test_what_was_not_looked_at_is_said_as_not_looked_at(fault: Fault, unseen: str, words: str) -> None:
    title = finding_of(fault, 1000.0, "survivors", unseen=frozenset({unseen})).title
    assert words in title
    assert "nothing that Python" not in title
    assert "no tracker sees" not in title


def test_what_the_heaps_own_ledger_leaves_over_is_no_fault_of_its_own() -> None:
    ledger = [
        arrival(203.2, ("/src/app/native.py", 3, "call")),
        arrival(18.0, ("/src/app/native.py", 1, "call")),  # what the watching gets wrong
    ]
    known = assemble(graph(container(".listeners", HUB, 202)), [], [], 405)
    assert [fault.bytes for fault in with_ledger(known, ledger, 405.6)] == [pytest.approx(203.2), 202]


def test_a_stack_ends_where_the_users_code_was_called_from_outside() -> None:
    assert ORIGIN.inside((*HUB, *RUNNER)) == HUB
    assert ORIGIN.inside((*RUNNER, *HUB, *RUNNER)) == (*RUNNER, *HUB)
    assert ORIGIN.inside(RUNNER) == RUNNER


def test_the_pytest_plugin_is_nobodys_own_code_where_it_is_installed_in_place() -> None:
    plugin = (("/src/leakcheck/pytest_plugin/__init__.py", 95),)
    assert ORIGIN.inside((*HUB, *RUNNER, *plugin, *RUNNER)) == HUB
    assert ORIGIN.rank("/home/me/app/tests/leakcheck/test_plugin.py") == 0


def test_of_lines_that_add_as_much_the_users_is_named() -> None:
    adders = (Adder(((*RUNNER[0], "run"),), 1.0), Adder(((*HUB[0], "Hub.on"),), 1.0))
    (fault,) = assemble(graph(container(".listeners", HUB, 300, adders=adders)), [], [], 300)
    assert fault.adders[0].stack[0][2] == "Hub.on"


def test_a_fault_to_which_no_line_of_the_users_leads_comes_after_those_that_have_one() -> None:
    faults = assemble(graph(container(".cache", RUNNER, 200), container(".listeners", HUB, 100)), [], [], 300)
    assert ends(faults) == [".listeners", ".cache"]
    faults = assemble(graph(container(".cache", RUNNER, 900), container(".listeners", HUB, 100)), [], [], 1000)
    assert ends(faults) == [".cache", ".listeners"], "not before what is much larger"


def test_blocks_that_the_user_got_from_a_free_list_are_counted_once() -> None:
    found = graph(container(".listeners", HUB, 89))
    (fault,) = assemble(found, [site(HUB, 32), site(RUNNER, 63, 0.98)], [], 104)
    assert (ends([fault]), fault.bytes) == ([".listeners"], 104)
    assert len(assemble(found, [site(HUB, 32), site(RUNNER, 63, 0.98)], [], 152)) == 2, "there is room for both"
    assert len(assemble(found, [site(HUB, 32), site(RUNNER, 63, 0.4)], [], 104)) == 2, "not as often"


def test_the_heaps_ledger_believes_the_users_lines_first() -> None:
    ledger = [
        arrival(5000.0, (*RUNNER[0], "run")),  # what another line of the runner gives back
        arrival(320.0, ("/src/app/native.py", 3, "call")),
    ]
    (fault,) = with_ledger([], ledger, 320)
    assert (fault.bytes, fault.adders[0].stack[0][2]) == (320, "call")


def test_a_loss_is_reported_in_its_place() -> None:
    faults = with_losses(assemble(None, [site(LOG, 30)], [], 330), [KEY_LOSS], 330)
    assert kinds(faults) == ["native", "allocation"]


def test_a_container_with_a_limit_is_no_cause_where_others_explain_the_growth() -> None:
    found = graph(container(".cache", HUB, 400, limit=1000), container(".log", LOG, 60))
    assert ends(assemble(found, [], [], 100)) == [".log"]
    assert ends(assemble(found, [], [], 460)) == [".log", ".cache"], "it comes last"
    (only,) = assemble(graph(container(".cache", HUB, 400, limit=1000)), [], [], 400)
    assert "may have 1,000 elements and is not full yet" in finding_of(only, 400.0, "graph").title


def test_what_atexit_was_given_is_held_by_it() -> None:
    method = pinned("method Scratch.clean", HUB, 376, 1.02)
    line = Adder(((*HUB[0], "Scratch.__init__"),), 1.0)
    (fault,) = assemble(graph(pinned=[method], at_exit=1.0, registering=(line,)), [], [], 376)
    title = finding_of(fault, 376.0, "graph").title
    assert title.endswith(
        "registered at hub.py:41 in Scratch.__init__ with atexit.register, which only atexit.unregister undoes before "
        "the process ends"
    )
    (fault,) = assemble(graph(pinned=[method], at_exit=0.2, registering=(line,)), [], [], 376)
    assert fault.detail == Pinned(at_exit=False), "it comes more often than anything was registered"


def test_a_holder_of_the_users_is_named_before_the_librarys_own_list() -> None:
    threads = resource("threads", HUB[:1], 1.0)
    of_user = container(".executors", HUB, 300)
    of_library = container(".x", HUB, 5000)._replace(path=(Node("threading._active", "dict"),))
    faults = assemble(graph(of_library, of_user), [], [threads], 5300)
    assert ends(faults[:1]) == [".executors"]


def test_all_that_is_allocated_where_the_elements_are_made_is_theirs() -> None:
    found = graph(container(".listeners", LOG, 423, adders=(Adder(((*HUB[0], "Hub.on"),), 1.0),)))
    assert len(assemble(found, [site(HUB, 273, 2.0)], [], 650)) == 1
    assert len(assemble(found, [site(HUB, 273, 2.5)], [], 650)) == 2, "not as many for each"
    assert len(assemble(found, [site(HUB, 273, 2.0, NATIVE)], [], 650)) == 2, "native code may lose it"


def test_where_all_is_explained_there_is_no_room_for_more() -> None:
    other = (("/src/app/other.py", 3),)
    assert len(assemble(graph(container(".listeners", HUB, 367)), [site(other, 64)], [], 370)) == 1
    assert len(assemble(graph(container(".listeners", HUB, 300)), [site(other, 64)], [], 370)) == 2


def test_what_is_mapped_is_not_counted_with_the_heap() -> None:
    mapping = resource("mapped.bytes", HUB[:1], size=64.0)
    faults = assemble(graph(container(".callbacks", HUB, 761)), [], [mapping], 761)
    assert [(fault.meter, fault.bytes) for fault in faults] == [("heap.bytes", 761), ("mapped.bytes", 64)]
    assert path_of(faults[1]) == path_of(faults[0]), "the same holds both"
    mapping = resource("mapped.bytes", HUB[:1], size=8192.0)
    faults = assemble(graph(container(".callbacks", HUB, 761)), [], [mapping], 761)
    assert [fault.meter for fault in faults] == ["mapped.bytes", "heap.bytes"]
