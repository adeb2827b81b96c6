"""Objects to rows in native code: the same rows as Python makes, or none, whatever a finalizer does meanwhile."""

import gc
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elkyn
from elkyn._native import flatten as flatten_plain
from elkyn.values import _flatten_object, check, encode, flatten

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


@settings(max_examples=400, deadline=None)
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
