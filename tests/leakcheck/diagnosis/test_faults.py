"""What several means found becomes faults: one for each cause, with its share, in order."""

from __future__ import annotations

from typing import Any

import pytest

from leakcheck.agent import origin
from leakcheck.diagnosis.faults import Fault, assemble, with_ledger, with_losses
from leakcheck.diagnosis.findings import finding_of
from leakcheck.diagnosis.memray import NativeFrame, Site, Trace
from leakcheck.diagnosis.valgrind import Loss

HUB: Trace = (("/src/app/hub.py", 41), ("/src/app/main.py", 7))
LOG: Trace = (("/src/app/log.py", 9), ("/src/app/main.py", 8))


def container(path: str, trace: Trace, size: float, count: float = 1.0, **more: Any) -> dict[str, Any]:
    stack = [[file, line, "add"] for file, line in trace]
    born = [[list(map(list, trace)), count, size]]
    return {
        "path": [["app", "module"], [path, "list"]],
        "shape": "wider",
        "many": "[*]",
        "opaque": False,
        "limit": 0,
        "count": count,
        "bytes": size,
        "shared_with": "",
        "elements": {"app.Listener": count},
        "types": {"app.Listener": count},
        "sites": born,
        "heads": born,
        "examples": ["app.Listener"],
        "adders": [[stack, count]],
        "other_threads": False,
    } | more


def graph(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    nothing = {"pinned": [], "sites": [], "frozen": 0.0, "freezing": [], "at_exit": {"count": 0.0, "adders": []}}
    return {"containers": list(containers), **nothing} | more


def site(trace: Trace, size: float, blocks: float = 1.0, native: tuple[NativeFrame, ...] = ()) -> Site:
    return Site(trace, (), native, blocks, size)


def test_a_container_and_the_allocations_of_its_elements_are_one_fault() -> None:
    faults = assemble(graph(container(".listeners", HUB, 400)), [site(HUB, 432)], [], 432)
    assert [(fault.kind, fault.bytes) for fault in faults] == [("container", 432)]


def test_two_containers_are_two_faults_the_larger_first() -> None:
    found = graph(container(".listeners", HUB, 100), container(".lines", LOG, 300))
    faults = assemble(found, [site(HUB, 100), site(LOG, 300)], [], 400)
    assert [fault.path[-1][0] for fault in faults] == [".lines", ".listeners"]


def test_a_second_container_of_the_same_objects_is_named_with_the_first() -> None:
    second = container(".by_name", HUB, 60, shared_with="app.listeners")
    faults = assemble(graph(container(".listeners", HUB, 400), second), [], [], 460)
    assert len(faults) == 1
    assert faults[0].also == [[("app", "module"), (".by_name", "list"), ("[*]", "app.Listener")]]


def test_what_a_second_container_alone_holds_is_counted_with_the_first() -> None:
    record: Trace = (("/src/app/hub.py", 43), ("/src/app/main.py", 7))
    second = container(".calls", record, 900, shared_with="app.listeners")
    (fault,) = assemble(graph(container(".listeners", HUB, 400), second), [site(HUB, 400), site(record, 900)], [], 1300)
    assert (fault.kind, fault.bytes) == ("container", 1300)


def test_a_set_of_weak_references_is_no_cause_where_there_is_another() -> None:
    weak = container(".all", HUB, 100, elements={"weakref.ReferenceType": 1.0}, types={})
    faults = assemble(graph(weak, container(".listeners", HUB, 90)), [], [], 190)
    assert [fault.path[-1][0] for fault in faults] == [".listeners"]


def test_an_allocation_that_nothing_holds_is_a_fault_of_its_own() -> None:
    native = (NativeFrame("make_key", "src/key.c", 12),)
    faults = assemble(graph(container(".listeners", HUB, 100)), [site(HUB, 100), site(LOG, 300, 1, native)], [], 400)
    assert [fault.kind for fault in faults] == ["allocation", "container"]


def test_a_small_remainder_is_left_to_the_residual() -> None:
    faults = assemble(graph(container(".listeners", HUB, 1000)), [site(HUB, 1000), site(LOG, 5)], [], 1000)
    assert len(faults) == 1


def test_a_stack_that_was_cut_short_goes_by_its_inner_part() -> None:
    faults = assemble(graph(container(".listeners", HUB, 400)), [site(HUB[:1], 432)], [], 432)
    assert len(faults) == 1


def test_a_native_allocation_without_a_python_line_goes_by_its_native_frames() -> None:
    native = (NativeFrame("Reader_new", "reader.c", 5),)
    sites = [site(HUB, 400, 1, native), site((), 50, 1, native)]
    assert len(assemble(graph(container(".listeners", HUB, 400)), sites, [], 450)) == 1


def test_a_resource_explains_the_memory_of_its_line() -> None:
    thread = Fault(kind="resource", count=1.0, bytes=0.0, meter="threads", lines=set(HUB))
    faults = assemble(graph(container(".threads", HUB, 400)), [], [thread], 400)
    assert [(fault.kind, fault.bytes) for fault in faults] == [("resource", 400)]
    assert faults[0].path[-1][0] == ".threads"


def test_without_memray_the_graphs_own_births_stand_in() -> None:
    found = graph(sites=[[list(map(list, LOG)), 2.0, 100.0]])
    faults = assemble(found, None, [], 116)
    assert [(fault.kind, fault.bytes) for fault in faults] == [("allocation", 116)]


def test_without_the_graph_the_sites_are_all_there_is() -> None:
    assert [fault.kind for fault in assemble(None, [site(HUB, 100)], [], 100)] == ["allocation"]


def test_the_faults_never_explain_more_than_there_is() -> None:
    found = graph(container(".listeners", HUB, 300), container(".lines", LOG, 300))
    faults = assemble(found, [site(HUB, 400), site(LOG, 400)], [], 400)
    assert sum(fault.bytes for fault in faults) == pytest.approx(400)


def test_what_is_frozen_is_put_down_to_the_line_that_freezes() -> None:
    found = graph(frozen=1.0, freezing=[[[["/src/app/main.py", 8, "step"]], 1.0]])
    faults = assemble(found, [site(LOG, 112)], [], 115)
    assert [(fault.kind, fault.adders[0][0][0][1]) for fault in faults] == [("frozen", 8)]


VIEWS: Trace = (("/src/app/hub.py", 42), ("/src/app/main.py", 7))


def test_memory_that_comes_with_elements_of_a_foreign_type_is_held_by_them() -> None:
    views = container(".heads", HUB, 150, opaque=True, elements={"numpy.ndarray": 1.0})
    memory = site(VIEWS, 16000, 1, (NativeFrame("default_calloc", "", 0),))
    (fault,) = assemble(graph(views), [site(HUB, 150), memory], [], 16150)
    assert (fault.kind, fault.path[-1][0], fault.bytes) == ("container", ".heads", 16150)
    of_seven_parts = site(VIEWS, 16000, 7, (NativeFrame("lzma_code", "", 0),))
    (fault,) = assemble(graph(views), [site(HUB, 150), of_seven_parts], [], 16150)
    assert (fault.kind, fault.bytes) == ("container", 16150)
    twice_in_seven = site(VIEWS, 16000, 2 / 7, (NativeFrame("default_calloc", "", 0),))
    faults = assemble(graph(views), [site(HUB, 150), twice_in_seven], [], 16150)
    assert [fault.kind for fault in faults] == ["allocation", "container"], "what does not come as often is another's"


def test_memory_that_comes_with_elements_that_tell_all_they_hold_is_a_fault_of_its_own() -> None:
    memory = site(VIEWS, 16000, 1, (NativeFrame("make_key", "key.c", 3),))
    faults = assemble(graph(container(".listeners", HUB, 150)), [site(HUB, 150), memory], [], 16150)
    assert [fault.kind for fault in faults] == ["allocation", "container"]


def test_weak_references_to_the_elements_of_a_container_are_no_fault() -> None:
    references = {"type": "weakref.ReferenceType", "count": 1.8, "bytes": 90.0, "examples": [], "types": {}}
    references |= {"sites": [[list(map(list, VIEWS)), 1.8, 90.0]], "heads": []}
    (fault,) = assemble(graph(container(".classes", HUB, 900), pinned=[references]), [], [], 990)
    assert (fault.path[-1][0], fault.bytes) == (".classes", 990)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(kind="allocation", count=1e-4, bytes=9.8, rare=True), "too rarely for what holds it to be seen"),
        (Fault(kind="allocation", count=1.0, bytes=64.0), "nothing that Python knows of holds it"),
        (Fault(kind="allocation", count=0.0, bytes=4.0, untracked=True), "it comes too rarely, or from an allocator"),
        (Fault(kind="allocation", count=0.0, bytes=400.0, untracked=True), "the allocator is one that no tracker sees"),
    ],
)
def test_what_was_too_rare_to_be_seen_is_not_said_to_be_held_by_nobody(fault: Fault, words: str) -> None:
    title = finding_of(fault, 1000.0, "survivors").title
    assert words in title
    assert ("nothing that Python" in title) == (words == "nothing that Python knows of holds it")


def test_a_line_on_the_heaps_own_ledger_is_added_where_nothing_else_explains_it() -> None:
    known = assemble(graph(container(".listeners", HUB, 100)), [], [], 300)
    stacks = [{"stack": [["/src/app/native.py", 3, "call"]], "count": 200.0}]
    faults = with_ledger(known, stacks, 200)
    assert [(fault.untracked, fault.bytes) for fault in faults] == [(True, 200), (False, 100)]


def test_what_the_heaps_own_ledger_leaves_over_is_no_fault_of_its_own() -> None:
    stacks = [
        {"stack": [["/src/app/native.py", 3, "call"]], "count": 203.2},
        {"stack": [["/src/app/native.py", 1, "call"]], "count": 18.0},  # what the watching gets wrong
    ]
    known = assemble(graph(container(".listeners", HUB, 202)), [], [], 405)
    assert [fault.bytes for fault in with_ledger(known, stacks, 203.6)] == [203.2, 202]


RUNNER: Trace = (("/venv/lib/python3.11/site-packages/runner/main.py", 5),)


def test_a_stack_ends_where_the_users_code_was_called_from_outside() -> None:
    assert origin.inside((*HUB, *RUNNER)) == HUB
    assert origin.inside((*RUNNER, *HUB, *RUNNER)) == (*RUNNER, *HUB)
    assert origin.inside(RUNNER) == RUNNER


def test_the_pytest_plugin_is_nobodys_own_code_where_it_is_installed_in_place() -> None:
    plugin = (("/home/me/elkyn-leakcheck/leakcheck/pytest_plugin/__init__.py", 95),)
    assert origin.inside((*HUB, *RUNNER, *plugin, *RUNNER)) == HUB
    assert origin.rank("/home/me/app/tests/leakcheck/test_plugin.py") == 0


def test_of_lines_that_add_as_much_the_users_is_named() -> None:
    adders = [[[[*RUNNER[0], "run"]], 1.0], [[[*HUB[0], "Hub.on"]], 1.0]]
    (fault,) = assemble(graph(container(".listeners", HUB, 300, adders=adders)), [], [], 300)
    assert fault.adders[0][0][0][2] == "Hub.on"


def test_a_fault_to_which_no_line_of_the_users_leads_comes_after_those_that_have_one() -> None:
    faults = assemble(graph(container(".cache", RUNNER, 200), container(".listeners", HUB, 100)), [], [], 300)
    assert [fault.path[-1][0] for fault in faults] == [".listeners", ".cache"]
    faults = assemble(graph(container(".cache", RUNNER, 900), container(".listeners", HUB, 100)), [], [], 1000)
    assert [fault.path[-1][0] for fault in faults] == [".cache", ".listeners"], "not before what is much larger"


def test_blocks_that_the_user_got_from_a_free_list_are_counted_once() -> None:
    found = graph(container(".listeners", HUB, 89))
    (fault,) = assemble(found, [site(HUB, 32), site(RUNNER, 63, 0.98)], [], 104)
    assert (fault.path[-1][0], fault.bytes) == (".listeners", 104)
    assert len(assemble(found, [site(HUB, 32), site(RUNNER, 63, 0.98)], [], 152)) == 2, "there is room for both"
    assert len(assemble(found, [site(HUB, 32), site(RUNNER, 63, 0.4)], [], 104)) == 2, "not as often"


def test_the_heaps_ledger_believes_the_users_lines_first() -> None:
    stacks = [
        {"stack": [[*RUNNER[0], "run"]], "count": 5000.0},  # what another line of the runner gives back
        {"stack": [["/src/app/native.py", 3, "call"]], "count": 320.0},
    ]
    faults = with_ledger([], stacks, 320)
    assert [(fault.bytes, fault.adders[0][0][0][2]) for fault in faults] == [(320, "call")]


def test_a_stray_block_is_not_told_beside_what_the_heaps_ledger_found() -> None:
    stacks = [{"stack": [["/src/app/native.py", 3, "call"]], "count": 319.0}]
    (stray,) = assemble(None, [site(RUNNER, 0.76, 0.0095)], [], 320)
    assert [fault.untracked for fault in with_ledger([stray], stacks, 319)] == [True]


def test_a_loss_goes_to_the_fault_with_the_same_native_function() -> None:
    native = (NativeFrame("make_key", "src/key.c", 12),)
    known = assemble(None, [site(LOG, 300, 1, native)], [], 300)
    loss = Loss((NativeFrame("make_key", "/src/key.c", 12),), ("/lib/key.so",), "definitely lost", 1.0, 292.0)
    faults = with_losses(known, [loss], 300)
    assert len(faults) == 1
    assert faults[0].losses == [loss]


def test_a_loss_that_nothing_else_explains_is_a_fault_of_its_own() -> None:
    loss = Loss((NativeFrame("make_key", "/src/key.c", 12),), ("/lib/key.so",), "definitely lost", 1.0, 292.0)
    faults = with_losses([], [loss], 300)
    assert [(fault.kind, fault.bytes) for fault in faults] == [("native", 300)]


def test_a_container_with_a_limit_is_no_cause_where_others_explain_the_growth() -> None:
    found = graph(container(".cache", HUB, 400, limit=1000), container(".log", LOG, 60))
    assert [fault.path[-1][0] for fault in assemble(found, [], [], 100)] == [".log"]
    assert [fault.path[-1][0] for fault in assemble(found, [], [], 460)] == [".log", ".cache"], "it comes last"
    (only,) = assemble(graph(container(".cache", HUB, 400, limit=1000)), [], [], 400)
    assert "may have 1,000 elements and is not full yet" in finding_of(only, 400.0, "graph").title


def test_what_atexit_was_given_is_held_by_it() -> None:
    method = {"type": "method Scratch.clean", "count": 1.02, "bytes": 376.0, "examples": [], "types": {}}
    method |= {"sites": [[list(map(list, HUB)), 1.02, 376.0]], "heads": []}
    line = [[[*HUB[0], "Scratch.__init__"]], 1.0]
    (fault,) = assemble(graph(pinned=[method], at_exit={"count": 1.0, "adders": [line]}), [], [], 376)
    title = finding_of(fault, 376.0, "graph").title
    assert title.endswith("registered at hub.py:41 in Scratch.__init__, held by atexit until the process ends")
    (fault,) = assemble(graph(pinned=[method], at_exit={"count": 0.2, "adders": [line]}), [], [], 376)
    assert not fault.at_exit, "it comes more often than anything was registered"


def test_a_holder_of_the_users_is_named_before_the_librarys_own_list() -> None:
    threads = Fault(kind="resource", count=1.0, bytes=0.0, meter="threads", lines={HUB[0]})
    of_library, of_user = container(".x", HUB, 5000), container(".executors", HUB, 300)
    of_library["path"] = [["threading._active", "dict"]]
    faults = assemble(graph(of_library, of_user), [], [threads], 5300)
    assert "".join(label for label, _ in faults[0].path).endswith(".executors")


def test_all_that_is_allocated_where_the_elements_are_made_is_theirs() -> None:
    found = graph(container(".listeners", LOG, 423, adders=[[[[*HUB[0], "Hub.on"]], 1.0]]))
    assert len(assemble(found, [site(HUB, 273, 2.0)], [], 650)) == 1
    assert len(assemble(found, [site(HUB, 273, 2.5)], [], 650)) == 2, "not as many for each"
    native = (NativeFrame("make_key", "src/key.c", 12),)
    assert len(assemble(found, [site(HUB, 273, 2.0, native)], [], 650)) == 2, "native code may lose it"


def test_where_all_is_explained_there_is_no_room_for_more() -> None:
    other = (("/src/app/other.py", 3),)
    assert len(assemble(graph(container(".listeners", HUB, 367)), [site(other, 64)], [], 370)) == 1
    assert len(assemble(graph(container(".listeners", HUB, 300)), [site(other, 64)], [], 370)) == 2


def test_what_is_mapped_is_not_counted_with_the_heap() -> None:
    mapping = Fault(kind="resource", count=0.0, bytes=64.0, meter="mapped.bytes", lines={HUB[0]})
    faults = assemble(graph(container(".callbacks", HUB, 761)), [], [mapping], 761)
    assert [(fault.meter, fault.bytes) for fault in faults] == [("heap.bytes", 761), ("mapped.bytes", 64)]
    assert faults[1].path == faults[0].path, "the same holds both"
    mapping = Fault(kind="resource", count=0.0, bytes=8192.0, meter="mapped.bytes", lines={HUB[0]})
    faults = assemble(graph(container(".callbacks", HUB, 761)), [], [mapping], 761)
    assert [fault.meter for fault in faults] == ["mapped.bytes", "heap.bytes"]


def test_what_native_code_holds_and_gets_heavier_is_no_part_of_itself() -> None:
    text = container(".", HUB, 96, shape="heavier") | {"path": [["<bytearray held by native code>", "bytearray"]]}
    (fault,) = assemble(graph(text), [], [], 96)
    assert (fault.kind, fault.bytes) == ("container", 96)
    inner = container(".", HUB, 32) | {"path": [["<list held by native code>", "list"]]}
    (fault,) = assemble(graph(inner, text), [], [], 128)
    assert (fault.shape, fault.bytes) == ("heavier", 128)
