"""The walker on real objects: what paths are called, what runs meanwhile (nothing), and what stays (nothing)."""

from __future__ import annotations

import array
import collections
import functools
import gc
import io
import select
import sqlite3
import subprocess
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from leakcheck.agent.probes import walk as walking
from leakcheck.agent.probes.referents import reference_count, references
from leakcheck.agent.probes.sizes import is_foreign
from leakcheck.agent.probes.walk import Root, TooLargeError, Walk


def walk(value: Any, name: str = "app") -> dict[str, tuple[int, int]]:
    """`{path: (objects, references)}` of a walk from one object."""
    walked = Walk(lambda _file: False)
    walked.hide([sys.modules, types, collections])
    walked.run([Root(name, "module", value)])
    found = {}
    for node in walked.nodes.values():
        path = "".join(each.label for each in reversed(list(node.above())))
        objects, held = found.get(path, (0, 0))
        found[path] = (objects + node.objects, held + node.references)
    return found


class Hub:
    def __init__(self) -> None:
        self.listeners: list[Any] = []


class Slotted:
    __slots__ = ("history",)

    def __init__(self) -> None:
        self.history: list[Any] = [object(), object()]


class Pair(NamedTuple):
    left: Any
    right: Any


def test_attributes_keys_and_elements_have_names() -> None:
    hub = Hub()
    hub.listeners += [["a"], ["b"], ["c"]]
    paths = walk({"main": hub})
    assert paths["app['main']"][0] == 1
    assert paths["app['main'].listeners"] == (1, 3)
    assert paths["app['main'].listeners[*]"] == (3, 3)


def test_slots_and_fields_of_named_tuples_have_names() -> None:
    assert walk([Slotted()])["app[*].history"] == (1, 2)
    assert walk([Pair([1], [2, 3])])["app[*].right"] == (1, 2)


def test_variables_of_closures_and_default_arguments_have_names() -> None:
    seen: list[Any] = [[1], [2]]

    def remember(value: Any, cache: dict[Any, Any] = {1: 2}) -> None:  # noqa: B006 - the point of the test
        seen.append(value)

    paths = walk([remember])
    assert paths["app[*].<closure seen>"] == (1, 2)
    assert paths["app[*].__defaults__"] == (1, 1)


def test_the_table_of_an_lru_cache_has_a_name() -> None:
    @functools.cache
    def square(number: int) -> int:
        return number * number

    for number in range(5):
        square(number)
    assert walk([square])["app[*].<lru_cache>"] == (1, 5)


def test_what_a_thread_keeps_in_its_locals_is_reached_from_any_thread() -> None:
    local = threading.local()
    ready, done = threading.Event(), threading.Event()

    def work() -> None:
        local.seen = [[1], [2], [3]]
        ready.set()
        done.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(10)
        assert walk([local])["app[*].seen"] == (1, 3)
    finally:
        done.set()
        thread.join()


def test_variables_of_a_suspended_generator_have_names() -> None:
    def numbers() -> Iterator[int]:
        pending = [object(), object()]
        yield len(pending)

    generator = numbers()
    next(generator)
    assert walk([generator])["app[*].<local pending>"] == (1, 2)
    assert list(generator) == []  # the generator has not been harmed


def test_methods_that_are_written_in_c_lead_to_their_objects() -> None:
    generator = (each for each in [[1], [2]])
    paths = walk({"next": generator.__next__, "append": Hub().listeners.append})
    assert "app['next'].__self__.<local .0>" in paths
    assert paths["app['append'].__self__"] == (1, 0)
    assert walk([(each for each in [[1]]).__next__ for _ in range(50)])["app[*].*"][0] == 50


def test_a_chain_is_folded_into_one_node() -> None:
    class Link:
        def __init__(self, following: Link | None) -> None:
            self.following = following

    head: Link | None = None
    for _ in range(500):
        head = Link(head)
    walked = Walk(lambda _file: False)
    walked.run([Root("app", "module", [head])])
    folded = [node for node in walked.nodes.values() if node.fold]
    assert [(node.label, node.objects) for node in folded] == [(".following", 499)]


def test_a_tree_of_nested_dictionaries_is_folded_by_its_period() -> None:
    tree: dict[str, Any] = {}
    for _ in range(50):
        tree = {"children": [tree]}
    assert len(walk(tree)) < 10


def test_weak_references_keep_nothing() -> None:
    hub = Hub()
    paths = walk([weakref.ref(hub), weakref.WeakValueDictionary({1: hub})])
    assert not any("listeners" in path for path in paths)


def test_many_objects_of_one_kind_are_one_node() -> None:
    hubs = [Hub() for _ in range(1000)]
    for hub in hubs:
        hub.listeners.append([1])
    walked = Walk(lambda _file: False)
    walked.run([Root("app", "module", hubs)])
    nodes = [(node.label, node.type, node.objects, node.references) for node in walked.nodes.values()]
    assert (".*", "list", 1000, 1000) in nodes


def weights(value: Any) -> dict[str, int]:
    """`{path: bytes}` of the objects that a walk weighs."""
    walked = Walk(lambda _file: False)
    walked.run([Root("app", "module", value)])
    return {
        "".join(each.label for each in reversed(list(node.above()))): node.bytes
        for node in walked.nodes.values()
        if node.bytes
    }


def test_large_texts_numbers_and_buffers_are_weighed_by_what_they_hold() -> None:
    log, text = io.BytesIO(), io.StringIO()
    log.write(b"x" * 700)
    text.write("y" * 800)
    hub = Hub()
    vars(hub).update(title="short", body="x" * 500, mask=1 << 8000, raw=bytearray(600), log=log, text=text)
    vars(hub)["numbers"] = array.array("d", [1.5] * 90)
    found = weights([hub])
    assert found["app[*].body"] == sys.getsizeof("x" * 500)
    assert found["app[*].mask"] == sys.getsizeof(1 << 8000)
    assert (found["app[*].raw"], found["app[*].log"], found["app[*].text"]) == (600, 700, 800)
    assert found["app[*].numbers"] == 720
    assert not any("title" in path for path in found)


def test_a_text_is_weighed_in_a_list_in_a_closure_and_behind_a_key() -> None:
    text = "x" * 1000

    def remember() -> str:
        return text

    assert list(weights([remember])) == ["app[*].<closure text>"]
    assert list(weights(["y" * 1000])) == ["app[*]"]
    assert list(weights([{"key": "z" * 1000}])) == ["app[*]['key']"]


class BoobyTrappedMeta(type):
    def __eq__(cls, other: object) -> bool:
        raise AssertionError("the walker compared a class")

    def __hash__(cls) -> int:
        raise AssertionError("the walker hashed a class")

    def __instancecheck__(cls, instance: object) -> bool:
        raise AssertionError("the walker asked isinstance()")

    def __subclasscheck__(cls, subclass: type) -> bool:
        raise AssertionError("the walker asked issubclass()")


class BoobyTrapped(metaclass=BoobyTrappedMeta):
    def __init__(self) -> None:
        object.__setattr__(self, "kept", [[1], [2]])

    def __eq__(self, other: object) -> bool:
        raise AssertionError("the walker compared an object")

    def __hash__(self) -> int:
        raise AssertionError("the walker hashed an object")

    def __repr__(self) -> str:
        raise AssertionError("the walker asked repr()")

    def __len__(self) -> int:
        raise AssertionError("the walker asked len()")

    def __bool__(self) -> bool:
        raise AssertionError("the walker asked bool()")

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("the walker iterated")

    def __sizeof__(self) -> int:
        raise AssertionError("the walker asked for the size")

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the walker asked for {name}")

    @property
    def value(self) -> int:
        raise AssertionError("the walker ran a property")


class BoobyTrappedDict(dict[Any, Any]):
    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("the walker looked up a key")

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("the walker iterated")

    def items(self) -> Any:
        raise AssertionError("the walker asked for items")

    def __len__(self) -> int:
        raise AssertionError("the walker asked len()")


@pytest.mark.parametrize("count", [1, 100])
def test_no_code_of_the_users_runs(count: int) -> None:
    from leakcheck.agent.probes.elements import described
    from leakcheck.agent.probes.sizes import size_of

    values = [BoobyTrapped() for _ in range(count)]
    table = BoobyTrappedDict()
    for value in values:
        dict.__setitem__(table, id(value), value)
    paths = walk([values, table])
    assert paths["app[*][*]"][0] == count
    assert described(values[0], values=True).endswith("BoobyTrapped")
    assert size_of(values[0]) > 0
    assert size_of(table) > 0


def test_a_walk_leaves_no_trace() -> None:
    hub = Hub()
    hub.listeners.append(Slotted())
    walk([hub])
    gone = weakref.ref(hub)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(5):
        walk([hub])
    gc.collect()
    assert len(gc.get_objects()) - before <= 2
    del hub
    assert gone() is None


def test_types_of_c_libraries_are_told_from_classes() -> None:
    class Named(collections.namedtuple("Named", "left right")):  # noqa: PYI024 - a class without annotations
        pass

    assert not any(map(is_foreign, (Hub, Slotted, Pair, Named, BoobyTrapped, list, collections.deque, weakref.ref)))
    assert all(map(is_foreign, (sqlite3.Connection, select.epoll, array.array)))


def test_an_object_with_a_hole_in_its_slots_is_no_obstacle() -> None:
    empty = Slotted.__new__(Slotted)
    assert references(empty) is not None


def test_a_compiled_object_is_not_read_by_the_slots_of_its_traits() -> None:
    code = """
from mypy.types import HasRecursiveType
from leakcheck.agent.probes.walk import Root, Walk
visitor = HasRecursiveType()
visitor.history = ["x"]
assert any("__dict__" in vars(base) for base in type(visitor).__mro__)
walked = Walk(lambda file: False).run([Root("app", "module", [visitor])])
assert any(node.label == ".history" for node in walked.nodes.values())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended


@pytest.mark.slow
def test_a_million_objects_are_walked_in_seconds() -> None:
    heap = [
        [{"k": index}, [index]] for index in range(250_000)
    ]  # 250,000 lists of a dictionary and a list, and a table
    table = {index: (index, [index]) for index in range(125_000)}
    walked = Walk(lambda _file: False)
    gc.disable()
    try:
        began = time.process_time()
        walked.run([Root("app", "module", [heap, table])])
        seconds = time.process_time() - began
    finally:
        gc.enable()
    assert len(walked.seen) >= 1_000_000
    assert seconds < 6  # twice what it takes on a slow machine


class Link:
    def __init__(self, following: Any) -> None:
        self.following = following


CHAINS = {
    "instances": lambda rest, _: Link(rest),
    "instances with a dictionary that was looked at": lambda rest, _: vars(link := Link(rest)) and link,
    "lists": lambda rest, _: [rest],
    "pairs in instances": lambda rest, number: Link((rest, number)),
    "instances with something to carry": lambda rest, number: _carrying(rest, [number]),
}


def _carrying(rest: Any, load: list[int]) -> Link:
    link = Link(rest)
    link.load = load  # type: ignore[attr-defined]
    return link


@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_of_any_length_is_one_node_with_all_its_links(kind: str) -> None:
    """Far longer than any stack of calls is deep, and followed at once: a level for each link would take its time."""
    length, chain = 50_000, None
    for number in range(length):
        chain = CHAINS[kind](chain, number)
    found = walk({"main": chain})
    del chain
    links = [objects for path, (objects, _) in found.items() if objects > length / 2]
    assert links
    assert max(links) >= length - 8  # but for the first ones, which show that the stretch is repeated


def test_what_a_deep_chain_carries_is_walked() -> None:
    chain = None
    for number in range(1000):
        chain = _carrying(chain, [number])
    found = walk({"main": chain})
    assert sum(objects for path, (objects, _) in found.items() if ".load" in path or ".*" in path) >= 1000


def test_what_is_too_much_to_be_walked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "_MOST_OBJECTS", 1000)
    with pytest.raises(TooLargeError, match="more than 1,000 objects"):
        walk([[] for _ in range(1001)])
    chain = None
    for _ in range(2000):
        chain = Link(chain)
    with pytest.raises(TooLargeError, match="more than 1,000 objects"):
        walk({"main": chain})


def test_what_takes_too_long_to_be_walked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "_MOST_S", -1.0)
    with pytest.raises(TooLargeError, match="than can be walked in"):
        walk({"main": [[]]})


def test_all_that_a_function_holds_by_itself_is_reached() -> None:
    """Its dictionary, which the walk makes where there was none, and since 3.14 what makes its annotations."""

    def annotated(number: types.SimpleNamespace) -> None: ...

    found = Walk(lambda _file: False).run([Root("app", "function", annotated)])
    own = [each for each in gc.get_referents(annotated) if type(each) is types.FunctionType]
    assert len(own) == (sys.version_info >= (3, 14))
    assert [each for each in [annotated.__dict__, *own] if id(each) not in found.seen] == []


def test_a_queue_refers_to_its_elements_and_not_to_its_type() -> None:
    queue = collections.deque([[], ()])
    assert references(queue) == [("[*]", [[], ()])]


def test_an_entry_of_a_mapping_of_an_own_type_is_one_reference() -> None:
    class Ordered(dict[int, object]): ...

    entries = Ordered({1000 + number: [] for number in range(100)})
    assert reference_count(entries) == 100


def test_what_a_c_type_keeps_under_no_name_is_told_so() -> None:
    elements: list[object] = [[]]
    assert references(iter(elements)) == [(".<unnamed>", [elements])]
