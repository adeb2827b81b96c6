"""Properties that hold for whatever is thrown at the store: values, patterns, and a whole life against a plain dict."""

import copy
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import elkyn
from elkyn._native import Event, Queue, Receiver
from elkyn.paths import is_segment
from elkyn.values import encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=50)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return bool(a == b)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_any_value_reads_back_equal_and_of_the_same_type(store: elkyn.Store, value: Any) -> None:
    for path in ("/a", "/b/c/d", "/"):
        store.set(path, value)
        assert same(store.get(path), value)


@settings(max_examples=200, deadline=None)
@given(
    actions=st.lists(
        st.tuples(
            st.text(max_size=300), st.none() | st.binary(max_size=3000), st.none() | st.binary(max_size=100),
            st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.integers(0, 3),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_the_bridge_gives_back_what_it_was_given_or_refuses_it(actions: list[Any]) -> None:
    queue = Queue(bytes)
    sent: list[Any] = []
    got: list[tuple[Event, Any]] = []
    for path, value, old, rev, timestamp, last, pops in actions:
        receivers = (receiver := Receiver(),)
        receiver.program = ((lambda event, receivers=receivers: got.append((event, receivers))),)
        try:
            acceptable = 1 <= len(path.encode()) <= 256
        except UnicodeEncodeError:
            acceptable = False
        if acceptable:
            assert queue.push(path, rev, timestamp, last, value, old, receivers) == queue.next_seq - 1
            queue.show()  # also where more events of its commit are to come
            assert queue.settled == queue.next_seq
            sent.append((path, value, old, rev, timestamp, last, receivers))
        else:
            with pytest.raises(ValueError, match=r"path|surrogates"):
                queue.push(path, rev, timestamp, last, value, old, receivers)
        got.clear()
        count, gap = queue.deliver(pops, pytest.fail)
        assert (count, gap) == (len(got), None)
        for event, its_receivers in got:
            path, value, old, rev, timestamp, last, receivers = sent.pop(0)
            assert (event.path, event.rev, event.last) == (path, rev, last)
            assert event.timestamp_ns == timestamp if timestamp else event.timestamp_ns > 0  # 0 asks for the time
            assert event.type == ("delete" if value is None else "change")
            assert event.value == value
            assert event.old == old
            assert event.size == len(value or b"")
            assert not event.value_omitted
            assert not event.old_omitted
            assert its_receivers is receivers
    queue.close()
    assert queue.discard() == len(sent)
    assert queue.discard() == 0
    for call in (
        lambda: queue.deliver(1, pytest.fail),
        lambda: queue.wait(0),
        lambda: queue.push("/n", 1, 1, True, b"", None, ()),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


def plain_matches(pattern: str, path: str) -> bool:
    """Match by the letter of the grammar, segment by segment."""
    wanted = [] if pattern == "/" else pattern[1:].split("/")
    segments = [] if path == "/" else path[1:].split("/")
    if wanted[-1:] == ["**"]:
        wanted = wanted[:-1]
        if len(segments) < len(wanted):
            return False
        segments = segments[: len(wanted)]
    return len(wanted) == len(segments) and all(w in ("*", s) for w, s in zip(wanted, segments, strict=True))


def random_pair(chance: random.Random) -> tuple[str, str]:
    names = ["a", "b", "ab", "*a"[1:], "ä", "日"]
    path = [chance.choice(names) for _ in range(chance.randrange(6))]
    pattern = [chance.choice([s, "*", chance.choice(names)]) for s in path]
    if chance.random() < 0.3:
        pattern = pattern[: chance.randrange(len(pattern) + 1)]
    if chance.random() < 0.2:
        pattern.append(chance.choice([*names, "*"]))
    if chance.random() < 0.4:
        pattern.append("**")
    return "/" + "/".join(pattern), "/" + "/".join(path)


@pytest.mark.parametrize("pairs", [10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_06_native_and_plain_matching_agree_on_random_pairs(pairs: int) -> None:
    chance = random.Random(6)
    hits = 0
    for _ in range(pairs):
        pattern, path = random_pair(chance)
        assert elkyn.matches(pattern, path) == plain_matches(pattern, path), (pattern, path)
        hits += elkyn.matches(pattern, path)
    assert pairs * 0.2 < hits < pairs * 0.9


def test_06_the_routes_of_a_write_agree_with_the_matcher(store: elkyn.Store) -> None:
    chance = random.Random(66)
    for _ in range(300):
        pattern, path = random_pair(chance)
        if path == "/":
            continue
        store.delete("/")
        events: list[Any] = []
        with store.watch(pattern).subscribe(events.append):
            store.set(path, chance.random())
            store.flush_events()
        assert [event.path for event in events] == ([path] if plain_matches(pattern, path) else [])
        assert all(event.matches(pattern) for event in events)


# --- a whole life against a plain dict that also predicts the events

NAMES = ["a", "b", "c", "x/y", ""]  # the last two can only be inside an object that is stored whole
segments = st.sampled_from("abc")
places = st.lists(segments, max_size=3).map(lambda names: "/" + "/".join(names))
small = st.recursive(
    st.sampled_from([None, True, 1, 1.0, "s", b"b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
PATTERNS = [
    ("/**", False), ("/a", False), ("/a", True), ("/a/*", False), ("/*/*", False), ("/*", True), ("/a/**", False),
    ("/*/b/**", False), ("/a/b/c", False), ("/", False), ("/", True),
]  # fmt: skip
MISSING = object()


def names_of(path: str) -> list[str]:
    return [] if path == "/" else path[1:].split("/")


def look(tree: Any, names: list[str]) -> Any:
    for name in names:
        if type(tree) is not dict or name not in tree:
            return MISSING
        tree = tree[name]
    return tree


def put(tree: Any, names: list[str], value: Any) -> Any:
    if not names:
        return copy.deepcopy(value)
    tree = dict(tree) if type(tree) is dict else {}
    tree[names[0]] = put(tree.get(names[0], MISSING), names[1:], value)
    return tree


def drop(tree: Any, names: list[str]) -> Any:
    if look(tree, names) is MISSING:
        return tree
    if not names:
        return MISSING
    rest = drop(tree[names[0]], names[1:])
    tree = {name: child for name, child in tree.items() if name != names[0]}
    if rest is not MISSING:
        tree[names[0]] = rest
    return tree or MISSING


def all_paths(tree: Any, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set() if tree is MISSING else {at}
    if type(tree) is dict:
        for name, child in tree.items():
            if is_segment(name):
                found |= all_paths(child, (*at, name))
    return found


def changed(before: Any, after: Any, node: tuple[str, ...]) -> bool:
    was, now = look(before, list(node)), look(after, list(node))
    return (was is MISSING) != (now is MISSING) or (was is not MISSING and encode(was) != encode(now))


def predicted(
    pattern: str, children: bool, before: Any, after: Any, written: list[str], merged: str | None
) -> dict[str, tuple[Any, Any]]:
    """Return the path, value and old value of every event that the contract promises."""
    writes = [tuple(names_of(path)) for path in written]
    nodes = all_paths(before) | all_paths(after)
    hits = set()
    if pattern.endswith("**"):
        base = pattern[:-3] or "/"
        depth = len(names_of(base))
        for write in writes:
            if elkyn.matches(pattern, "/" + "/".join(write)):
                hits.add(write)
        for node in nodes:
            above = any(len(write) < depth and node[: len(write)] == write for write in writes)
            if above and elkyn.matches(base, "/" + "/".join(node)):
                hits.add(node)
    else:
        for node in nodes:
            path = "/" + "/".join(node)
            at_or_above = any(node[: len(write)] == write for write in writes)
            below = children and any(write[: len(node)] == node for write in writes)
            if elkyn.matches(pattern, path) and (at_or_above or below or path == merged):
                hits.add(node)
    return {
        "/" + "/".join(node): (look(after, list(node)), look(before, list(node)))
        for node in hits
        if changed(before, after, node)
    }


class LifeOfAStore(RuleBasedStateMachine):
    """Writes of all kinds, each compared with the plain tree, and each subscription's events with the prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = elkyn.open(Path(self.directory.name), durability="none", map_size=1 << 20)
        self.tree: Any = MISSING
        self.events: dict[tuple[str, bool], list[Any]] = {pattern: [] for pattern in PATTERNS}
        self.subscribe()

    def subscribe(self) -> None:
        self.subscriptions = [
            self.store.watch(pattern, children=children, old=True).subscribe(self.events[pattern, children].append)
            for pattern, children in PATTERNS
        ]

    def wrote(self, after: Any, rev: int, written: list[str], merged: str | None = None) -> None:
        self.store.flush_events()
        for (pattern, children), events in self.events.items():
            want = predicted(pattern, children, self.tree, after, written, merged)
            got = {event.path: event for event in events}
            assert len(got) == len(events), f"{pattern}: two events of one node in {events}"
            assert got.keys() == want.keys(), f"{pattern} (children={children})"
            assert all(event.rev == rev for event in events)
            assert [event.last for event in events] == [False] * (len(events) - 1) + [True] * bool(events)
            for path, (value, old) in want.items():
                assert got[path].type == ("delete" if value is MISSING else "change")
                assert same(got[path].value, None if value is MISSING else value)
                assert same(got[path].old, None if old is MISSING else old)
            events.clear()
        self.tree = after

    @rule(path=places, value=small)
    def set(self, path: str, value: Any) -> None:
        rev = self.store.set(path, value)
        self.wrote(put(self.tree, names_of(path), value), rev, [path])

    @rule(path=places, children=st.dictionaries(segments, small, min_size=1, max_size=3))
    def update(self, path: str, children: dict[str, Any]) -> None:
        rev = self.store.update(path, children)
        after = self.tree
        written = []
        for name, value in children.items():
            after = put(after, [*names_of(path), name], value)
            written.append("/" + "/".join([*names_of(path), name]))
        self.wrote(after, rev, written, path)

    @rule(path=places)
    def delete(self, path: str) -> None:
        existed = look(self.tree, names_of(path)) is not MISSING
        before = self.store.rev
        rev = self.store.delete(path)
        assert rev == before + existed
        self.wrote(drop(self.tree, names_of(path)), rev, [path])

    @rule(writes=st.lists(st.tuples(places, small), min_size=1, max_size=4), undo=st.booleans())
    def transaction(self, writes: list[tuple[str, Any]], undo: bool) -> None:
        after = self.tree
        written = []
        try:
            with self.store.transaction() as tx:
                for path, value in writes:
                    # A delete of nothing is no write.
                    if value != "s" or look(after, names_of(path)) is not MISSING:
                        written.append(path)
                    if value == "s":
                        tx.delete(path)
                        after = drop(after, names_of(path))
                    else:
                        tx.set(path, value)
                        after = put(after, names_of(path), value)
                    assert same(tx.get(path, "gone"), "gone" if value == "s" else value)
                if undo:
                    raise LookupError
        except LookupError:
            after = self.tree
        self.wrote(after, self.store.rev, written)

    @rule(path=places, value=small)
    def set_async(self, path: str, value: Any) -> None:
        rev = self.store.set_async(path, value).result(10)
        self.wrote(put(self.tree, names_of(path), value), rev, [path])

    @rule()
    def reopen(self) -> None:
        rev = self.store.rev
        for subscription in self.subscriptions:
            subscription.unsubscribe()
        self.store.close()
        self.store = elkyn.open(Path(self.directory.name), durability="none", map_size=1 << 20)
        assert self.store.rev == rev
        self.subscribe()

    @invariant()
    def the_store_is_the_tree(self) -> None:
        whole = self.store.get("/", MISSING)
        assert (whole is MISSING) == (self.tree is MISSING)
        assert whole is MISSING or same(whole, self.tree)
        for node in all_paths(self.tree):
            path = "/" + "/".join(node)
            value = look(self.tree, list(node))
            assert same(self.store.get(path), value)
            assert self.store.exists(path)
            children = sorted(value, key=str.encode) if type(value) is dict else []
            assert self.store.keys(path) == children
            assert same(dict(self.store.items(path)), value if type(value) is dict else {})

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


LifeOfAStore.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_a_life_of_a_store_follows_a_plain_dict = LifeOfAStore.TestCase


@pytest.mark.slow
def test_a_long_life_of_a_store_follows_a_plain_dict() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(LifeOfAStore, settings=settings(max_examples=400, stateful_step_count=50, deadline=None))
