"""Calls that tests make are seen, and made again by a sweep."""

from __future__ import annotations

import builtins
import sys

import pytest

from leakcheck.sweep.inside import inventory, recording
from leakcheck.sweep.inside.messages import Asked, Suspect, Swept
from leakcheck.sweep.sweeper import sweep

GATE = """
_lost = []

class Gate:
    def __init__(self, word, codes=()):
        if word != "open sesame":
            raise ValueError(word)
        self.codes = codes

    def enter(self, code):
        if code not in self.codes:
            raise LookupError(code)
        _lost.append(bytearray(100))
        return [code]

    @classmethod
    def closed(cls, *, why):
        return why

def through(gate, times):
    return gate.codes * times
"""
TESTS = """
import functools

import pytest

from gates import Gate, through

WORD = " ".join(["open", "sesame"])

@pytest.fixture
def gate():
    return Gate(WORD, codes=[4711])

@pytest.mark.parametrize("times", [2, 3])
def test_through(gate, times, value=str(7)):
    assert through(gate, times) == [4711] * times

def test_enter(gate):
    assert gate.enter(4711) == [4711]
    with pytest.raises(LookupError):
        gate.enter(4712)
    with pytest.raises(ValueError):
        Gate("other")

def test_rest(gate):
    class Derived(Gate):
        def __init__(self):
            super().__init__(WORD)
    Derived()
    through(Gate(WORD, codes={"a": object()}.keys()), 1) if False else None
    assert Gate.closed(why={"key": (1.5, None, b"xy")})
    assert through(gate, times=len(locals()["gate"].codes))
"""


@pytest.fixture
def gates(tmp_path, monkeypatch):
    (tmp_path / "gates.py").write_text(GATE)
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_gates.py").write_text(TESTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gates", raising=False)
    return folder


def test_calls_are_seen_with_what_makes_their_values_anew(gates, monkeypatch):
    package = inventory.take(["gates"], [], [], isolated=True)
    seen = []
    recorder = recording.Recorder(package, lambda *call: seen.append(call))
    monkeypatch.setattr(builtins, "__leakcheck_call__", recorder.call, raising=False)
    copy = recording.instrumented(str(gates))
    monkeypatch.syspath_prepend(copy)
    import test_gates

    monkeypatch.delitem(sys.modules, "test_gates")
    gate = "gates.Gate(fresh('open sesame'), codes=[4711])"
    for test in (test_gates.test_enter, test_gates.test_rest):
        test(recorder.call(test_gates.Gate, test_gates.WORD, codes=[4711]))
    test_gates.test_through(recorder.call(test_gates.Gate, test_gates.WORD, codes=[4711]), 2)
    assert seen == [
        ("gates.Gate", "", ["fresh('open sesame')", "codes=[4711]"]),
        ("gates.Gate.enter", gate, ["4711"]),
        ("gates.Gate.closed", "", ["why={fresh('key'): (1.5, None, fresh(b'xy'))}"]),
        ("gates.through", "", [gate, "times=1"]),
        ("gates.through", "", [gate, "2"]),
    ]


def test_a_sweep_makes_the_calls_of_tests_that_it_has_run(gates):
    asked = Asked(["gates"], [], [], 2.0, 1, False, False, str(gates), str(gates.parent), [], {})
    said = list(sweep(asked, sys.executable))
    made = {each.target for each in said if isinstance(each, Swept) and each.made}
    assert made == {"gates.Gate", "gates.Gate.enter", "gates.Gate.closed", "gates.through"}
    assert ("gates.Gate.enter", "call") in {(each.target, each.kind) for each in said if isinstance(each, Suspect)}
