"""Finds calls that succeed, by trying values in the order in which they are likely to fit."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Literal, NamedTuple

from leakcheck.agent.clock import own_clock
from leakcheck.sweep.inside.inventory import Package, Target
from leakcheck.sweep.inside.literals import Written
from leakcheck.sweep.inside.program import Programs
from leakcheck.sweep.inside.signatures import Parameter, parameters
from leakcheck.sweep.inside.values import AFTER, Value, pool, ranked

_ENOUGH = 5
"""Valid calls of one target: each is the ground of some hundred recipes."""
_MOST_TRIALS = 700
"""Calls that are tried for each number of arguments: all pairs of 26 values."""
_FIRST = 12
"""Candidates that are tried for an argument that can be left out."""
_MOST_ARGUMENTS = 3
"""Arguments of a callable that says nothing of them: with one more, more than 10,000 trials would be needed."""
_MOST_RECEIVERS = 3
"""Ways of making an object on which a method is called."""
_MOST_USED, _MOST_IN_A_ROW = 16, 2
"""Objects on which others of the methods have been called, on which a method is tried that fails on new ones; and the
calls in a row that each has had since."""
_LONGEST = 240
"""Characters of an expression that is used as a part of others."""
_MOST_MAKERS, _MOST_OF_ONE = 10, 2
"""Ways of making an object of one type that are kept, and those of one callable among them: a constructor that can be
called in many ways, and makes nothing that works, must leave room for others."""
_MOST_OWN = 24
"""Results of the package's own calls that are tried for each argument, one of each type."""
ENOUGH_ITEMS = 1000
"""Items after which an iterator that goes on is left."""
_CODED = (bytes, bytearray, str)
"""Of all builtin types, those whose values may have a meaning that only the package knows."""


class Call(NamedTuple):
    """A call as source: what is called, on what, and with what."""

    receiver: str
    """The expression of the object that a method is called on; empty for others."""
    name: str
    """What is called: an expression, or the name of a method."""
    arguments: tuple[str, ...]

    def on(self, receiver: str) -> str:
        """The call on an object that has a name."""
        return f"{receiver}.{self.name}({', '.join(self.arguments)})"

    def done_to(self, receiver: str) -> str:
        """The expression of an object once this method of it has been called."""
        return f"{AFTER}({', '.join([receiver, repr(self.name), *self.arguments])})"

    @property
    def source(self) -> str:
        """The whole call as one expression."""
        return self.on(self.receiver) if self.receiver else f"{self.name}({', '.join(self.arguments)})"

    def replaced(self, index: int, value: str) -> Call:
        """The call with another argument, which keeps its keyword."""
        old = self.arguments[index]
        keyword = _keyword(old)
        arguments = [*self.arguments]
        arguments[index] = f"{keyword}={value}" if keyword else value
        return self._replace(arguments=tuple(arguments))


def _keyword(argument: str) -> str:
    name, equals, rest = argument.partition("=")
    return name if equals and name.isidentifier() and not rest.startswith("=") else ""


class Trials:
    """Tries calls of one target; `running` is told each before it is made."""

    def __init__(
        self,
        package: Package,
        programs: Programs,
        makers: dict[str, list[str]],
        written: Written,
        running: Callable[[str], bool],
        known: Mapping[str, Sequence[Call]],
    ) -> None:
        """`known` has the calls that are known to succeed, by target."""
        self._package = package
        self._programs = programs
        self.makers = makers
        """Expressions by the name of a type, to which those of results are added."""
        self._written = written
        self._running = running
        self._known = known
        self.calls = 0
        self._clock = own_clock()
        self._until = 0.0

    def valid(self, target: Target, seconds: float) -> list[Call]:
        """Calls of the target that return, unlike in what they take; as many as are found in some seconds."""
        if target.kind == "attribute":
            return []
        self._until = self._clock() + seconds
        wanted = parameters(
            target.module, target.name, self._package.objects[target.name], bound=target.kind == "method"
        )
        recorded = self._recorded(target)
        found = self._on_each(self.receivers(target), target, wanted)
        for used in () if found else self._used(target):
            found = self._on_each([used], target, wanted)
            if found:
                self.makers.setdefault(name_of(self._package.types[target.owner]), []).append(used)
                break
        mixed = [call for pair in zip_longest(recorded, found) for call in pair if call is not None]
        return list({call.source: call for call in mixed}.values())

    def _on_each(self, receivers: Iterable[str], target: Target, wanted: Sequence[Parameter] | None) -> list[Call]:
        """Calls that succeed, on each of some objects."""
        found: list[Call] = []
        for receiver in receivers:
            name = target.name if not receiver else target.name.rpartition(".")[2]
            some = self._some(receiver, name, self._arguments(wanted))
            if not some and wanted:
                some = self._some(receiver, name, self._one_option(wanted))
            if not some and wanted is not None:
                some = self._some(receiver, name, self._arguments(None))  # what is written there is not so
            found += some
            if some:
                found += self._with_options(some[0], wanted or ())
        return found

    def _used(self, target: Target) -> Iterator[str]:
        """Objects on which others of the methods were called, first one of them and then two.

        Those come first that were given something, and an object that had been used already before one that is new:
        so a row of calls becomes longer from round to round.
        """
        if not target.bound:
            return
        others = [
            calls[0]
            for name, calls in self._known.items()
            if calls and calls[0].receiver and name != target.name and name.rpartition(".")[0] == target.owner
        ]
        others.sort(key=lambda call: not call.arguments)
        some = sorted(self.instances(target.owner), key=lambda each: -each.count(f"{AFTER}("))
        for _ in range(_MOST_IN_A_ROW):
            some = [way for each in some for call in others if len(way := call.done_to(each)) <= _LONGEST]
            some = some[:_MOST_USED]
            yield from some

    def _recorded(self, target: Target) -> list[Call]:
        """Calls that were seen, and succeed here too, the shortest first."""
        name = target.name.rpartition(".")[2] if target.bound else target.name
        seen = self._written.recorded.get(target.name, ())
        calls = [
            Call(each, name, arguments)
            for receiver, arguments in seen
            for each in ([receiver] if receiver or not target.bound else self.receivers(target)[:1])
        ]
        found: list[Call] = []
        for call in sorted(calls, key=lambda call: len(call.source)):
            if len(found) >= _ENOUGH or self._clock() > self._until:
                break
            if self._succeeds(call):
                found.append(call)
        return found

    def _some(self, receiver: str, name: str, arguments: Iterable[tuple[str, ...]]) -> list[Call]:
        found: list[Call] = []
        begun: list[Call] = []
        for each in chain(self._written.of(name), arguments):
            if self._clock() > self._until:
                break
            call = Call(receiver, name, each)
            outcome = self._outcome(call)
            if outcome == "begins" and len(begun) < _ENOUGH:
                begun.append(call)
            elif outcome == "succeeds":
                found.append(call)
                if len(found) >= _ENOUGH:
                    break
        return found or begun

    def receivers(self, target: Target) -> list[str]:
        """Expressions of objects to call a method on; one that is empty for what needs none."""
        if not target.bound:
            return [""]
        return self.instances(target.owner)[:_MOST_RECEIVERS]

    def instances(self, owner: str) -> list[str]:
        """How instances of a type, or of one below it, are made."""
        kind = self._package.types[owner]
        found = list(self.makers.get(name_of(kind), ()))
        for name, other in self._package.types.items():
            if other is not kind and kind in other.__mro__:
                found += self.makers.get(name_of(other), self.makers.get(name, ()))
        return found

    def _arguments(self, wanted: Sequence[Parameter] | None) -> Iterator[tuple[str, ...]]:
        values = pool()
        if wanted is not None:
            required = [each for each in wanted if each.required]
            yield from self._products([(each, self._candidates(each, values)) for each in required])
            return
        plain = [*self._own(), *(value.expression for value in values)]
        unknown = Parameter("", "", required=True, by_keyword=False)
        for count in range(_MOST_ARGUMENTS + 1):
            yield from self._products([(unknown, plain)] * count)

    def _one_option(self, wanted: Sequence[Parameter]) -> Iterator[tuple[str, ...]]:
        """Each argument that can be left out, by itself: of some one must be given."""
        values = pool()
        for parameter in wanted:
            if not parameter.required and parameter.name.isidentifier():
                for candidate in self._candidates(parameter, values)[:_FIRST]:
                    yield (f"{parameter.name}={candidate}",)

    def _candidates(self, parameter: Parameter, values: Sequence[Value]) -> list[str]:
        named = [
            expression
            for name, expressions in self.makers.items()
            if name.rpartition(".")[2] in parameter.hint
            for expression in expressions
        ]
        ordered = ranked(values, [parameter.name, parameter.hint])
        return list(dict.fromkeys([*named, *ordered[:8], *self._own(), *ordered[8:]]))

    def _own(self) -> list[str]:
        """One expression for each type that the package's own calls have returned."""
        return [expressions[0] for expressions in self.makers.values()][:_MOST_OWN]

    def _products(self, columns: list[tuple[Parameter, list[str]]]) -> Iterator[tuple[str, ...]]:
        """Combinations of candidates, those of a small sum of ranks first."""
        made = 0
        most = sum(len(candidates) - 1 for _, candidates in columns)
        for total in range(most + 1):
            for ranks in _with_sum(total, [len(candidates) for _, candidates in columns]):
                if made >= _MOST_TRIALS:
                    return
                made += 1
                yield tuple(
                    f"{parameter.name}={candidates[rank]}" if parameter.by_keyword else candidates[rank]
                    for (parameter, candidates), rank in zip(columns, ranks, strict=True)
                )

    def _with_options(self, call: Call, wanted: Sequence[Parameter]) -> list[Call]:
        """The call with one more argument each."""
        found: list[Call] = []
        values = pool()
        positional = len(call.arguments)
        for index, parameter in enumerate(wanted):
            if parameter.required or not parameter.name.isidentifier():
                continue
            for candidate in self._candidates(parameter, values)[:_FIRST]:
                longer = call._replace(arguments=(*call.arguments, f"{parameter.name}={candidate}"))
                next_one = call._replace(arguments=(*call.arguments, candidate))
                chosen = longer if self._succeeds(longer) else next_one if index == positional else None
                if chosen is longer or (chosen is not None and self._succeeds(chosen)):
                    found.append(chosen)
                    break
        return found

    def _succeeds(self, call: Call) -> bool:
        return self._outcome(call) == "succeeds"

    def _outcome(self, call: Call) -> Literal["fails", "begins", "succeeds"]:
        """What comes of a call; it begins only where it returns an iterator that fails when it is run."""
        source = call.source
        if len(source) > 3 * _LONGEST or not self._running(source):
            return "fails"
        self.calls += 1
        try:
            result = self._programs.value(source)
        except BaseException:  # noqa: BLE001 - SystemExit is an answer as any other
            return "fails"
        self._learn(call, source, result)
        if not hasattr(type(result), "__next__"):
            return "succeeds"
        try:
            for _ in zip(range(ENOUGH_ITEMS), result, strict=False):
                pass
        except BaseException:  # noqa: BLE001
            return "begins"
        return "succeeds"

    def _learn(self, call: Call, source: str, result: Any) -> None:
        if inspect.iscoroutine(result):
            result.close()
            return
        kind = type(result)
        if len(source) > _LONGEST or (kind.__module__ == "builtins" and not (kind in _CODED and result)):
            return
        # What one function has encoded, another of the package decodes.
        producer = f" of {call.name}" if kind in _CODED else ""
        ways = self.makers.setdefault(f"{name_of(kind)}{producer}", [])
        same = sum(_callee(way) == _callee(source) for way in ways)
        if len(ways) < _MOST_MAKERS and same < _MOST_OF_ONE and source not in ways:
            ways.insert(len(ways) if same else len({_callee(way) for way in ways}), source)


def as_call(source: str) -> Call | None:
    """An expression as the call that it is; None for what is none."""
    node = ast.parse(source, mode="eval").body
    if not isinstance(node, ast.Call) or any(each.arg is None for each in node.keywords):
        return None
    keywords = [f"{each.arg}={ast.unparse(each.value)}" for each in node.keywords]
    return Call("", ast.unparse(node.func), (*map(ast.unparse, node.args), *keywords))


def _callee(source: str) -> str:
    """What an expression calls last: `p.T().m` of `p.T().m(1)`."""
    depth = 0
    for index in range(len(source) - 1, -1, -1):
        depth += (source[index] == ")") - (source[index] == "(")
        if depth == 0 and source[index] == "(":
            return source[:index]
    return source


def name_of(kind: type) -> str:
    """`module.Type`, as the type says it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _with_sum(total: int, lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Tuples of numbers below `lengths` that add up to `total`."""
    if not lengths:
        if total == 0:
            yield ()
        return
    for first in range(min(total, lengths[0] - 1) + 1):
        for rest in _with_sum(total - first, lengths[1:]):
            yield (first, *rest)
