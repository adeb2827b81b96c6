"""Objects to rows in native code and back: as Python does it, whatever a finalizer does meanwhile."""

import gc
import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elkyn
from elkyn._native import flatten as flatten_plain
from elkyn._native import unflatten as unflatten_rows
from elkyn.paths import prefix_of
from elkyn.values import BAD_BYTES, _flatten_object, check, decode, encode, flatten, unflatten

numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([n + d for k in (0, 5, 7, 8, 15, 16, 31, 32, 63) for n in (2**k, -(2**k)) for d in (-1, 0, 1)]),
).filter(lambda n: -(2**63) <= n < 2**63)
sizes = st.sampled_from([0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.floats(),
    st.text(),
    st.binary(),
    sizes.map(lambda size: "x" * size),
    sizes.map(bytes),
)
names = st.one_of(
    st.text(max_size=4), st.sampled_from(["a", "b", "\x80", "\x9f", "\xa0", "a/b", "*", "\x7f", "n" * 100])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=20,
)


def in_python(key: bytes, value: Any) -> Any:
    check(value)
    leaves: Any = []
    _flatten_object(key, value, leaves)
    return leaves


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, values, min_size=1, max_size=5), st.sampled_from([b"\0", b"\0a", b"\0a\0" + b"k" * 200]))
def test_the_rows_are_those_that_python_makes(value: dict[str, Any], key: bytes) -> None:
    assert flatten(key, value) == in_python(key, value)


@given(scalars)
def test_a_value_is_encoded_as_msgspec_does(value: Any) -> None:
    assert flatten_plain(b"\0", 0, {"n": value}) == [(b"\0n", encode(value))]


@pytest.mark.parametrize(
    "value",
    [
        {"a/b": 1},
        {"": 1},
        {"*": 1},
        {"a": {"b\n": 1}},
        {"a": [{}]},
        {"a": [{"b": 1}]},
        {"a": (1,)},
        {"a": 2**63},
        {1: 2},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": math},
        {"n" * 257: 1},
        {"a": True, "b": {1, 2}},
    ],
)
def test_what_is_not_plain_is_left_to_python(value: Any) -> None:
    assert flatten_plain(b"\0", 0, value) is None


def nested(depth: int, inner: Any, box: Any) -> Any:
    for _ in range(depth):
        inner = box(inner)
    return inner


def test_depth_is_bounded_as_in_python(store: elkyn.Store) -> None:
    for depth in (30, 31, 32, 33, 40, 62, 63, 64):
        for box in (lambda inner: {"k": inner}, lambda inner: [inner]):
            value = {"top": nested(depth, 1, box)}
            try:
                expected = in_python(b"\0n", value)
            except elkyn.InvalidValueError:
                with pytest.raises(elkyn.InvalidValueError):
                    store.set("/n", value)
                continue
            assert flatten(b"\0n", value) == expected
            store.set("/n", value)
            assert store.get("/n") == value
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(elkyn.InvalidValueError, match="contains itself"):
        store.set("/n", endless)


def test_its_arguments_are_checked() -> None:
    for arguments in ((), ("\0", 0, {}), (b"\0", "0", {}), (b"\0", 0, [])):
        with pytest.raises(TypeError):
            flatten_plain(*arguments)  # type: ignore[arg-type]
    for levels in (-1, 33, 2**70):
        with pytest.raises((ValueError, OverflowError)):
            flatten_plain(b"\0", levels, {"a": 1})


def test_a_finalizer_that_changes_the_object_meanwhile_changes_nothing() -> None:
    value: dict[str, Any] = {str(n): [n] for n in range(2000)}

    class Bomb:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            value.clear()
            value.update({str(n): n for n in range(5000)})

    expected = [(b"\0" + str(n).encode(), encode([n])) for n in range(2000)]
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        Bomb()
        rows = flatten_plain(b"\0", 0, value)
    finally:
        gc.set_threshold(*thresholds)
    assert rows in (expected, [(b"\0" + str(n).encode(), encode(n)) for n in range(5000)])


# --- and back


def object_of(prefix: bytes, rows: Iterable[tuple[bytes, bytes]]) -> Any:
    """What `unflatten` says of rows that are as they should be, in a few lines."""
    top: dict[str, Any] = {}
    for key, raw in rows:
        if not key.startswith(prefix):
            break
        *above, name = key[len(prefix) :].split(b"\0")
        parent = top
        for segment in above:
            parent = parent.setdefault(segment.decode(), {})
        parent[name.decode()] = decode(raw)
    return top or None


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, values, min_size=1, max_size=5), st.sampled_from([b"\0", b"\0a", b"\0a\0b"]))
def test_what_was_flattened_comes_back(value: dict[str, Any], key: bytes) -> None:
    rows = sorted(flatten(key, value))
    if rows[0][0] == key:  # stored whole
        return
    behind = [(b"\xff", b"\x01"), rows[0]]
    # Equal bytes and not equal values: no number is equal to a NaN, and one is equal to True.
    assert (
        encode(unflatten(prefix_of(key), [*rows, *behind])) == encode(object_of(prefix_of(key), rows)) == encode(value)
    )


@given(scalars)
def test_a_value_is_decoded_as_msgspec_does(value: Any) -> None:
    found = unflatten(b"\0", [(b"\0n", encode(value))])
    assert found is not None
    assert (encode(found["n"]), type(found["n"])) == (encode(value), type(value))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=12), st.tuples(st.integers(0xA0, 0xDF), st.binary(max_size=9)).map(
    lambda parts: bytes([parts[0]]) + parts[1]
)))  # fmt: skip
def test_bytes_of_no_value_are_refused_as_msgspec_does(raw: bytes) -> None:
    try:
        expected: Any = encode(decode(raw))
    except BAD_BYTES as error:
        expected = type(error)
    try:
        found: Any = encode(unflatten(b"\0", [(b"\0n", raw)])["n"])  # type: ignore[index]
    except BAD_BYTES as error:
        found = type(error)
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.lists(st.sampled_from([b"", b"a", b"b", b"\xff"]), max_size=4).map(b"\0".join),
                          st.sampled_from([b"\x01", b"\xa1x", b"\xc1", b""])), max_size=12))  # fmt: skip
def test_rows_that_we_have_not_written_are_an_object_or_refused(rows: list[tuple[bytes, bytes]]) -> None:
    try:
        expected = object_of(b"", rows)
    except (*BAD_BYTES, TypeError, AttributeError):  # below a leaf
        with pytest.raises(BAD_BYTES):
            unflatten(b"", rows)
    else:
        assert unflatten(b"", rows) == expected


def test_a_key_below_a_leaf_is_damage() -> None:
    with pytest.raises(msgspec.DecodeError, match="a key lies below a leaf"):
        unflatten(b"\0", [(b"\0a", b"\x01"), (b"\0a\0b", b"\x02")])


def test_what_the_rows_or_the_decoder_raise_comes_out() -> None:
    class Stop(Exception):
        pass

    def rows(count: int) -> Iterator[tuple[bytes, bytes]]:
        yield from ((b"\0%05d" % n, b"\x90") for n in range(count))
        raise Stop

    def refuse(_: bytes) -> None:
        raise Stop

    for count in (0, 1, 1000):
        with pytest.raises(Stop):
            unflatten(b"\0", rows(count))
    with pytest.raises(Stop):
        unflatten_rows(b"\0", [(b"\0a", b"\x90")], refuse)
    for arguments in (
        (),
        ("\0", [], decode),
        (b"\0", 1, decode),
        (b"\0", [b"x"], decode),
        (b"\0", [(b"\0", 1)], decode),
    ):
        with pytest.raises(TypeError):
            unflatten_rows(*arguments)  # type: ignore[arg-type]


def test_an_object_on_its_way_out_may_be_seen_and_changed_by_a_collector() -> None:
    def meddle(raw: bytes) -> Any:
        for each in gc.get_objects():
            if type(each) is dict and "meddle" in each:
                each.clear()
        return decode(raw)

    rows = [(b"\0meddle", b"\x01"), *((b"\0%05d\0x" % n, b"\x90") for n in range(300)), (b"\0z", b"\x90")]
    gc.freeze()  # the objects of others: those that are made from here on are fewer to look through
    try:
        assert unflatten_rows(b"\0", rows, meddle)["z"] == []  # type: ignore[index]
    finally:
        gc.unfreeze()
