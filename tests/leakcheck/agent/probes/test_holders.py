"""Whether something holds what grows: what could be a cache gets its time, what nothing holds is told at once."""

from __future__ import annotations

import gc
import textwrap
from types import ModuleType

import pytest

from leakcheck import meters
from leakcheck.agent.probes.by_type import ByType
from leakcheck.agent.probes.holders import _held_now, keyed
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.execution.worker import Worker
from leakcheck.verdict.caches import CacheSuspicion
from leakcheck.verdict.measure import Measurement, measure
from leakcheck.verdict.patience import LOST

SOON = LOST.pairs[0][0]
"""Calls after which a line is believed that nothing holds."""
FULL = 40_000
"""Entries of what fills: more than that, and not so many that a line would be believed that something holds."""

FILLS = {
    "dict": "kept = {}\ndef keep(n): kept[n] = [n]",
    "dict of numbers, which the collector does not know": "kept = {}\ndef keep(n): kept[n] = n * 1.5",
    "dict in a closure": """
        def make():
            kept = {}
            def keep(n): kept[n] = n * 1.5
            return keep
        keep = make()
    """,
    "list": "kept = []\ndef keep(n): kept.append([n])",
    "list of bytes": "kept = []\ndef keep(n): kept.append(bytes(60))",
    "set": "kept = set()\ndef keep(n): kept.add((n,))",
    "deque": "from collections import deque\nkept = deque()\ndef keep(n): kept.append(object())",
    "OrderedDict": "from collections import OrderedDict\nkept = OrderedDict()\ndef keep(n): kept[n] = str(n)",
    "defaultdict": "from collections import defaultdict\nkept = defaultdict(list)\ndef keep(n): kept[n].append(n)",
    "a class of its own": """
        class Kept(dict):
            def __len__(self): raise AssertionError("no code of the user's runs")
        kept = Kept()
        def keep(n): kept[n] = [n]
    """,
    "a metaclass without a hash": """
        class Odd(type):
            def __eq__(self, other): raise AssertionError("no code of the user's runs")
        class Entry(metaclass=Odd): pass
        kept = []
        def keep(n): kept.append(Entry())
    """,
    "64 shards": "kept = [{} for _ in range(64)]\ndef keep(n): kept[n % 64][n] = [n]",
    "attributes": """
        class Kept: pass
        kept = Kept()
        def keep(n): setattr(kept, f"a{n}", n)
    """,
    "a list that has its size already": f"kept = [None] * {FULL}\ndef keep(n): kept[n] = n * 1.5",
    "a dict that has its keys already": f"kept = dict.fromkeys(range({FULL}))\ndef keep(n): kept[n] = bytes(60)",
    "objects that are there already": f"""
        class Node:
            pass
        nodes = [Node() for _ in range({FULL})]
        def keep(n): nodes[n].computed = n * 1.5
    """,
    "objects that are there already, and get objects": f"""
        class Node:
            pass
        nodes = [Node() for _ in range({FULL})]
        def keep(n): nodes[n].computed = [n]
    """,
    "one shared element": "kept = []\ndef keep(n): kept.extend([None] * 16)",
    "a cache without a limit": "import functools\nkeep = functools.lru_cache(maxsize=None)(float)",
    "a queue in C": "import queue\nkept = queue.SimpleQueue()\ndef keep(n): kept.put([n])",
    "a linked list with an index": """
        class Node:
            __slots__ = ("before", "value")
        last, index = None, {}
        def keep(n):
            global last
            node = Node()
            node.before, node.value, last = last, n, node
            index[n] = node
    """,
    "bytearray": "kept = bytearray()\ndef keep(n): kept.extend(bytes(64))",
    "array": "from array import array\nkept = array('d')\ndef keep(n): kept.extend((0.5,) * 8)",
    "BytesIO": "import io\nkept = io.BytesIO()\ndef keep(n): kept.write(bytes(64))",
    "StringIO": "import io\nkept = io.StringIO()\ndef keep(n): kept.write('x' * 64)",
    "objects in cycles, cleared when full": """
        kept = []
        def keep(n):
            node = [n]
            node.append(node)
            kept.append(node)
    """,
}

LOST_THINGS = {
    "memory of native code": """
        import ctypes
        malloc = ctypes.CDLL(None).malloc
        def lose(n): malloc(64)
    """,
    "a number with a reference too many": """
        import ctypes
        increment = ctypes.pythonapi.Py_IncRef
        increment.argtypes = [ctypes.py_object]
        def lose(n): increment(n * 1.5)
    """,
    "a list with a reference too many": """
        import ctypes
        increment = ctypes.pythonapi.Py_IncRef
        increment.argtypes = [ctypes.py_object]
        last = None
        def lose(n):
            global last
            last = [n]  # the last one has a place, in the module's own dict
            increment(last)
    """,
    "an object that a table knows by a weak reference": """
        import ctypes, weakref
        increment = ctypes.pythonapi.Py_IncRef
        increment.argtypes = [ctypes.py_object]
        class Thing: pass
        known = {}
        def lose(n):
            thing = Thing()
            known[n] = weakref.ref(thing)
            increment(thing)
    """,
    "an object of a weak set": """
        import ctypes, weakref
        increment = ctypes.pythonapi.Py_IncRef
        increment.argtypes = [ctypes.py_object]
        class Thing: pass
        known = weakref.WeakSet()
        def lose(n):
            thing = Thing()
            known.add(thing)
            increment(thing)
    """,
    "a class, which its base lists": """
        import ctypes
        increment = ctypes.pythonapi.Py_IncRef
        increment.argtypes = [ctypes.py_object]
        class Base: pass
        def lose(n): increment(type("Generated", (Base,), {}))
    """,
}


@pytest.fixture
def measured(tmp_path):
    def run(source: str, step: str, gc: str = "collect") -> Measurement:
        file = tmp_path / "scenarios_under_test.py"
        head = "import itertools\nfrom leakcheck import scenario\nnumbers = itertools.count()\n"
        file.write_text(head + textwrap.dedent(source) + f"\n@scenario\ndef case():\n{textwrap.indent(step, '    ')}\n")
        info = ScenarioInfo(id="case", target=str(file), name="case")
        with Worker(Job(scenario=info, cwd=tmp_path, gc=gc)) as worker:
            specs = [meters.of(name, unit) for name, unit in worker.open().meters]
            result = measure(worker, specs, Budget(), CacheSuspicion(worker))
        assert result.raised is None
        return result

    return run


@pytest.mark.parametrize("kind", FILLS)
def test_what_fills_up_to_more_than_a_lost_thing_is_given_is_not_accused(measured, kind):
    clears = "cleared when full" in kind
    step = "n = next(numbers)\n" + (
        f"keep(n)\nif len(kept) == {FULL}:\n    kept.clear()" if clears else f"if n < {FULL}:\n    keep(n)"
    )
    result = measured(FILLS[kind], step)
    assert result.leaking == []
    assert result.iterations > SOON
    assert result.judgements["heap.bytes"].verdict in ("bounded", "clean")


@pytest.mark.parametrize("kind", LOST_THINGS)
def test_what_nothing_holds_is_told_at_once(measured, kind):
    result = measured(LOST_THINGS[kind], "lose(next(numbers))")
    assert {"heap.bytes", "py.objects"} & set(result.leaking)  # a table of weak references grows by leaps
    assert result.iterations == SOON


def test_where_the_program_puts_objects_aside_itself_all_get_their_time(measured):
    """What is frozen cannot be looked through, and to thaw it would change what is measured."""
    result = measured("import gc\ngc.freeze()\n" + textwrap.dedent(LOST_THINGS["memory of native code"]),
                      "lose(next(numbers))")  # fmt: skip
    assert "heap.bytes" in result.leaking
    assert result.iterations > SOON


@pytest.mark.parametrize("kind", ["list", "memory of native code"])
def test_looking_for_what_holds_leaves_no_trace_in_what_is_judged(measured, kind):
    """One object a call, or none, to the last digit: whatever was asked in between."""
    source = FILLS.get(kind) or LOST_THINGS[kind]
    result = measured(source, "keep(next(numbers))" if kind in FILLS else "lose(next(numbers))")
    rate = 1 if kind in FILLS else 0
    judged = [each for each in result.samples["py.objects"] if each.iterations * 8 > result.iterations]
    assert len(judged) > 8
    assert len({each.value - rate * each.iterations for each in judged}) == 1


def test_a_module_is_not_asked_what_it_refers_to():
    """`_asyncio` of Python 3.12 names the objects of its free list, and whoever lets them go frees them again."""

    class Package(ModuleType):
        pass

    package = Package("package")
    package.kept = kept = [1]
    assert ByType([package, kept, textwrap]).referents() == [1]


def test_all_that_is_alive_is_let_go_at_once():
    """A list of it contains the cell of its own variable, and would be garbage as large as all that is alive."""
    gc.collect()
    gc.disable()
    try:
        _held_now()
        keyed()
        assert not [each for each in gc.get_objects() if type(each) is ByType and len(each.objects) > 1000]
    finally:
        gc.enable()
