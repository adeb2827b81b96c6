"""Which of the points by which a step comes are made to fail, and how each is called.

Not those that clean up. Where a failure has left something to be put right, and the call that puts it right fails too,
even correct code loses something: so no point counts in a `finally`, in an `except` that raises again, in what leaves a
`with`, in a `close`, and in whatever these call.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from leakcheck.agent.faults.messages import Point
from leakcheck.agent.protocol import CANCELLATIONS, Fault, Place

_CLEANERS = frozenset({"__exit__", "__aexit__", "__del__", "close", "aclose"})
"""Names by which the language and its library call what gives back."""
_NEVER_FAIL = frozenset({
    "callable", "getattr", "hasattr", "id", "isinstance", "issubclass", "len", "super", "type",
    "time.monotonic", "time.perf_counter", "time.time",
})  # fmt: skip
"""Calls that nobody need expect to fail."""
SHORTAGE = "MemoryError"
"""What is raised where an allocation fails."""
CANCELLED = "asyncio:CancelledError"
_OF_THE_SYSTEM = ("OSError", "TimeoutError")
_NAME = 40
"""Characters of a call that are told."""


_DOES = {"await": "cancelled ", "task": "cancelled task ", "allocation": "short of memory "}
"""What happens at a point, in its name, where nothing is raised in the place of a call."""


class Failing(NamedTuple):
    """A point, and what is raised there."""

    fault: Fault
    file: str
    line: int
    text: str
    """What is called, as the source has it: names of the code, and no values."""
    users: str = ""
    """The user's function, where that is not the one that fails."""

    @property
    def place(self) -> tuple[str, str, int, int, str]:
        """What points have in common that differ in the exception and in the turn only."""
        fault = self.fault
        return fault.file, fault.function, fault.first_line, fault.offset, fault.kind

    @property
    def name(self) -> str:
        """For ids: the same when lines have moved."""
        does = _DOES.get(self.fault.kind, "")
        return f"{does}{self.users or self.fault.function}:{self.text}"

    @property
    def where(self) -> str:
        """`pool.py:88 (self.open)`."""
        return f"{self.file.rpartition('/')[2]}:{self.line}" + (f" ({self.text})" if self.text else "")


def words(failing: Failing) -> str:
    """`OSError is raised at pool.py:88 (self.open)`, `cancelled at pool.py:91 (sleep)`."""
    if failing.fault.kind == "await":
        return f"cancelled at {failing.where}"
    if failing.fault.kind == "task":
        return f"a task of it is cancelled at {failing.where}"
    if failing.fault.kind == "allocation":
        return f"allocation {failing.fault.turn} fails at {failing.where}"
    return f"{failing.fault.exception.rpartition(':')[2].rpartition('.')[2]} is raised at {failing.where}"


def to_fail(points: Sequence[Point], legal: Sequence[str]) -> list[Failing]:
    """Each point with each exception that is legal there, at the first and at the last time that a step comes by."""
    found = []
    for point in points:
        text = _text(point)
        if text is None or any(_cleans_up(file, line, function) for file, line, function in point.stack):
            continue
        file, line, _ = point.stack[0]
        if point.kind in CANCELLATIONS:
            file, line = point.file, next((line for file, line, _ in point.stack if file == point.file), line)
        for exception in _exceptions(point, legal):
            for turn in dict.fromkeys((1, point.turns)):
                fault = Fault(point.kind, point.file, point.function, point.first_line, point.offset, turn, exception)
                found.append(Failing(fault, file, line, text))
    return found


def short_of_memory(points: Sequence[Point], giving_back: Collection[Place]) -> list[Failing]:
    """Each point where memory is allocated, with all its allocations.

    Not those of what cleans up, or is called by a call that gives something back: `giving_back` are the places of such.
    """
    found = []
    for point in points:
        users = point.stack[point.users]
        text = _unparsed(_source(users[0]).calls.get(point.span))
        if any(_cleans_up(*place) for place in point.stack) or any(place in giving_back for place in point.stack[1:]):
            continue
        if text.rpartition(".")[2] in _CLEANERS:
            continue
        at = point.file, point.function, point.first_line, point.offset
        fault = Fault("allocation", *at, turn=1, exception=SHORTAGE, turns=point.turns)
        said = " in ".join(filter(None, (text, point.called)))
        found.append(Failing(fault, users[0], users[1], said, users[2]))
    return found


def _exceptions(point: Point, legal: Sequence[str]) -> Sequence[str]:
    if point.kind in CANCELLATIONS:
        return (CANCELLED,)
    return [each for each in legal if point.kind != "operation" or each in _OF_THE_SYSTEM] or legal


def _text(point: Point) -> str | None:
    """What is called; None where it is no call that can fail by itself."""
    if point.kind in ("operation", "entry") or point.called.rpartition(".")[2] in _CLEANERS:
        return None if point.called.rpartition(".")[2] in _CLEANERS else point.called
    calls, awaits = _source(point.file)[:2]
    if point.kind in CANCELLATIONS:
        return " in ".join(dict.fromkeys(filter(None, (_unparsed(awaits.get(point.span)), point.called))))
    if not calls:  # no source is at hand
        return point.called
    call = calls.get(point.span)
    text = _unparsed(call)
    return None if call is None or text in _NEVER_FAIL else text


def _unparsed(call: ast.Call | None) -> str:
    """The names by which a call names what it calls: `self.pool.open` of `self.pool[key].open(1)`."""
    names: list[str] = []
    node: ast.AST | None = None if call is None else call.func
    while node is not None:
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            names += [node.id] if isinstance(node, ast.Name) else []
            break
    return ".".join(reversed(names))[-_NAME:]


Span = tuple[int, int, int, int]


class _Source(NamedTuple):
    """What is known of a file by its source."""

    calls: dict[Span, ast.Call]
    awaits: dict[Span, ast.Call]
    """Calls that are waited for, by the span of the `await`."""
    cleaning: list[tuple[int, int]]
    """First and last line of each stretch that cleans up."""


@lru_cache(maxsize=256)
def _source(file: str) -> _Source:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return _Source({}, {}, [])
    calls: dict[Span, ast.Call] = {}
    awaits: dict[Span, ast.Call] = {}
    cleaning: list[tuple[int, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            calls[_span(node)] = node
        elif isinstance(node, ast.Await) and isinstance(node.value, ast.Call):
            awaits[_span(node)] = node.value
        elif isinstance(node, ast.Try | ast.TryStar):
            cleaning += _lines(node.finalbody)
            for handler in node.handlers:
                if any(isinstance(inner, ast.Raise) for inner in _within(handler.body)):
                    cleaning += _lines(handler.body)
    return _Source(calls, awaits, cleaning)


def _span(node: ast.expr) -> Span:
    return node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0


def _lines(body: Sequence[ast.stmt]) -> list[tuple[int, int]]:
    return [(body[0].lineno, body[-1].end_lineno or body[-1].lineno)] if body else []


def _within(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes of a body, but not of functions that are defined in it."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _within(ast.iter_child_nodes(node))


def _cleans_up(file: str, line: int, function: str) -> bool:
    if function.rpartition(".")[2] in _CLEANERS:
        return True
    return any(first <= line <= last for first, last in _source(file).cleaning)
