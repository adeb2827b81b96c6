"""What is tried with a target once calls of it are known that succeed: an ordered list of makers of recipes.

Each step makes its objects anew, so that nothing grows that was meant to: what a step leaves behind can be reached
through something that belongs to the package itself, or through nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from leakcheck.agent.faults import shortage
from leakcheck.sweep.inside.inventory import Target
from leakcheck.sweep.inside.messages import Kind, Recipe
from leakcheck.sweep.inside.trials import ENOUGH_ITEMS, Call, as_call
from leakcheck.sweep.inside.values import AFTER, SHORT_OF_MEMORY, WRONG

_ENDING = frozenset(
    ["close", "finish", "flush", "release", "stop", "end", "detach", "reset", "clear", "done", "free", "destroy"]
)
"""Names of methods that end something, and are called twice by a careful program."""
_MOST_PAIRS = 120
"""Pairs of calls on one object of one type."""
_CUT = 3
"""Characters or octets that a document is too short by."""
_FIRST = 3
"""Calls of a target of which an argument is replaced, and those that give another one by its name."""
_USES = (0, 1, 2, 5)
"""Of what an object holds, before it raises."""
_MOST_ALLOCATIONS = 16
"""Allocations of a call that are made to fail, one after the other."""


class Known(NamedTuple):
    """What a target's recipes are made from."""

    target: Target
    calls: list[Call]
    instances: list[str]
    """Of a type, or of the type of a method or attribute: how to make one."""
    methods: list[Call]
    """Of a type: calls of its methods that succeed, the receivers of which are not used."""
    iterates: bool = False
    """Whether the calls return an iterator: what it is for is done when it is run."""
    makers: Sequence[Call] = ()
    """Of the type of a method: calls of it that succeed."""

    @property
    def unlike(self) -> list[Call]:
        """The first of the calls, and those that give an argument by a name that none before them has given."""
        first, named = self.calls[:_FIRST], set[str]()
        chosen = []
        for call in self.calls:
            names = {each.partition("=")[0] for each in call.arguments if re.match(r"\w+=[^=]", each)}
            if call in first or names - named:
                chosen.append(call)
            named |= names
        return chosen

    @property
    def used(self) -> list[str]:
        """The one of the instances on which most methods have been called, if there is one."""
        return sorted((each for each in self.instances if AFTER in each), key=lambda each: -each.count(AFTER))[:1]

    def done(self, call: Call) -> str:
        """The call with what it is for."""
        return f"for _ in zip(range({ENOUGH_ITEMS}), {call.source}):\n    pass" if self.iterates else call.source


def recipes(known: Known, *, errors_only: bool = False) -> Iterator[Recipe]:
    """All recipes, the likeliest to be met first."""
    for make in (_wrong, _held_raises) if errors_only else _MAKERS:
        for kind, step, *setup in make(known):
            yield Recipe(kind, known.target.name, "".join(setup), step)


_Made = Iterator[tuple[Kind, str] | tuple[Kind, str, str]]


def _plain(known: Known) -> _Made:
    """A valid call."""
    for call in known.calls:
        yield "call", known.done(call)


def _attributes(known: Known) -> _Made:
    """An attribute that is read, set to itself, to what is wrong, and deleted."""
    if known.target.kind != "attribute":
        return
    name = known.target.name.rpartition(".")[2]
    for instance in known.instances[:2]:
        made = f"subject = {instance}\n"
        yield "call", f"{made}subject.{name}"
        yield "call", f"{made}subject.{name} = subject.{name}"
        yield "call", f"{made}subject.{name} = subject.{name}\nsubject.{name} = subject.{name}"
        for wrong in WRONG:
            yield _kind_of(wrong), f"{made}subject.{name} = {wrong}"
        yield "error", f"{made}del subject.{name}"
        for leading_back in ("subject", "[subject]", "(lambda *args: subject)"):
            yield "cycle", f"{made}subject.{name} = {leading_back}"


def _wrong(known: Known) -> _Made:
    """One argument replaced or cut off, one too many, one that nobody knows, one too few."""
    for call in known.calls:
        for index, argument in enumerate(call.arguments):
            for shorter in _cut_off(argument):
                yield "error", known.done(call.replaced(index, shorter))
    for call in known.unlike:
        for index in range(len(call.arguments)):
            for wrong in WRONG:
                yield _kind_of(wrong), known.done(call.replaced(index, wrong))
        yield "error", call._replace(arguments=(*call.arguments, "unknown_keyword=Bare()")).source
        yield "error", call._replace(arguments=(*call.arguments, "**{'also unknown': Bare()}")).source
        for index in range(len(call.arguments)):
            fewer = call.arguments[:index] + call.arguments[index + 1 :]
            yield "error", call._replace(arguments=fewer).source
    if not known.calls:
        return
    call = known.calls[0]
    if len(call.arguments) < 2 and "=" not in "".join(call.arguments):
        for wrong in WRONG[:12]:
            yield "error", call._replace(arguments=(*call.arguments, wrong)).source


def _held_raises(known: Known) -> _Made:
    """What the object was made with raises while a method of it runs, at once or after some uses."""
    if known.target.kind != "method":
        return
    made_by = [call for each in dict.fromkeys(known.instances[:3]) if (call := as_call(each)) is not None]
    for maker in dict.fromkeys([*made_by, *known.makers]):
        for index in range(len(maker.arguments)):
            for times in _USES:
                subject = maker.replaced(index, f"RaisesLater({times}, None)").source
                for call in known.calls[:2]:
                    yield "callback raises", f"subject = {subject}\n{call.on('subject')}"


def _abandoned(known: Known) -> _Made:
    """What is begun and not finished."""
    for call in known.calls[:3]:
        yield "abandoned", f"iterator = iter({call.source})\nnext(iterator)"
        yield "abandoned", f"iterator = iter({call.source})\nnext(iterator)\nnext(iterator)"
        yield "abandoned", f"{call.source}.__enter__()"
        yield "abandoned", f"with {call.source}:\n    raise ValueError"
        yield "abandoned", f"iterator = {call.source}\niterator.send(None)\niterator.throw(ValueError)"


def _once_more(known: Known) -> _Made:
    """The other ways by which an object comes into being."""
    if known.target.kind != "type":
        return
    name = known.target.name
    for instance in dict.fromkeys([*known.instances[:3], *known.used]):
        made = f"subject = {instance}\n"
        yield "copied", f"copy.copy({instance})"
        yield "copied", f"copy.deepcopy({instance})"
        yield "copied", f"pickle.loads(pickle.dumps({instance}))"
        yield "copied", f"{made}subject.__setstate__(subject.__getstate__())"
        yield (
            "copied",
            f"{made}state = subject.__getstate__()\nsubject.__setstate__(state)\nsubject.__setstate__(state)",
        )
        yield "copied", f"{made}subject.__setstate__(subject.__reduce__()[2])"
        yield "error", f"{made}subject.__setstate__(Bare())"
        yield "error", f"{made}subject.__setstate__(())"
        yield "call", f"{made}subject == Bare()\nsubject != subject"
        yield "call", f"repr({instance})"
        yield "call", f"hash({instance})"
        yield "call", f"dir({instance})"
        yield "call", f"memoryview({instance})"
        yield "call", f"list({instance})"
        yield "error", f"{made}subject[Bare()]"
        yield "error", f"{made}subject + Bare()"
    for first in known.calls[:3]:
        for second in known.calls[:3]:
            yield "initialized twice", f"subject = {first.source}\nsubject.__init__({', '.join(second.arguments)})"
        for index in range(len(first.arguments)):
            for wrong in ("None", "Bare()", "Raises()"):
                again = first.replaced(index, wrong)
                yield "initialized twice", f"subject = {first.source}\nsubject.__init__({', '.join(again.arguments)})"
    yield "without initialization", f"{name}.__new__({name})"
    for call in known.calls[:2]:
        yield "without initialization", f"{name}.__new__({', '.join([name, *call.arguments])})"


def _subclasses(known: Known) -> _Made:
    if known.target.kind != "type":
        return
    name = known.target.name
    yield "subclass", f"class Fresh({name}):\n    pass"
    for call in known.calls[:2]:
        yield "subclass", f"class Fresh({name}):\n    pass\nFresh({', '.join(call.arguments)})"


def _cycles(known: Known) -> _Made:
    """Something that the object holds leads back to it."""
    for call in known.unlike:
        for index, argument in enumerate(call.arguments):
            yield (
                "cycle",
                f"holder = Anything()\nsubject = {call.replaced(index, 'holder').source}\nholder.held = subject",
            )
            yield (
                "cycle",
                (
                    "def callback(*args, **kwargs):\n    return subject\n"
                    f"subject = {call.replaced(index, 'callback').source}"
                ),
            )
            value = argument.partition("=")[2] or argument
            own = (
                "Octets"
                if value.startswith(("b'", "fresh(b'"))
                else "Text"
                if value.startswith(("'", "fresh('"))
                else ""
            )
            if own:
                made = f"held = {own}({value})\nsubject = {call.replaced(index, 'held').source}\nheld.back = subject"
                yield "cycle", made
            if value.startswith("["):
                yield "cycle", f"held = {value}\nsubject = {call.replaced(index, 'held').source}\nheld.append(subject)"
            elif value.startswith("{"):
                yield (
                    "cycle",
                    f"held = {value}\nsubject = {call.replaced(index, 'held').source}\nheld['back'] = subject",
                )
            else:
                yield "cycle", f"held = []\nsubject = {call.replaced(index, 'held').source}\nheld.append(subject)"
    if known.target.kind == "type":
        for call in known.unlike:  # what holds itself and nothing else is freed by its own type or not at all
            for index in range(len(call.arguments)):
                own = ", ".join(call.replaced(index, "subject").arguments)
                yield "cycle", f"subject = {call.source}\nsubject.__init__({own})"
        for call in known.calls[:2]:
            arguments = ", ".join(call.arguments)
            yield (
                "cycle",
                f"subject = Sub({arguments})\nsubject.itself = subject",
                f"class Sub({known.target.name}):\n    pass\n",
            )
    if known.target.kind != "method":
        return
    for instance in known.instances[:2]:
        for call in known.calls[:3]:
            for index in range(len(call.arguments)):
                for leading_back in ("subject", "[subject]", "(lambda *args: subject)"):
                    yield "cycle", f"subject = {instance}\n{call.replaced(index, leading_back).on('subject')}"


def _two_calls(known: Known) -> _Made:
    """Two methods of one object, one after the other; the same one twice."""
    if known.target.kind != "type":
        return
    for instance in dict.fromkeys([*known.instances[:1], *known.used]):
        made = 0
        for first in known.methods:
            twice: Kind = "closed twice" if _ENDING.intersection(first.name.split("_")) else "two calls"
            yield twice, f"subject = {instance}\n{first.on('subject')}\n{first.on('subject')}"
        for first in known.methods:
            for second in known.methods:
                if first.name == second.name or made >= _MOST_PAIRS:
                    continue
                made += 1
                yield "two calls", f"subject = {instance}\n{first.on('subject')}\n{second.on('subject')}"


def _out_of_memory(known: Known) -> _Made:
    """One allocation of a valid call fails; what the call is given is made before.

    Of Python code too much is the interpreter's own, which loses frames and cells where it is short of memory.
    """
    if shortage.why_not() or not known.target.native:
        return
    for call in known.calls[:2]:
        subject = f"subject = {call.receiver}\n" if call.receiver else ""
        function = f"subject.{call.name}" if call.receiver else call.name
        for allocation in range(_MOST_ALLOCATIONS):
            arguments = ", ".join([str(allocation), function, *call.arguments])
            yield "out of memory", f"{subject}{SHORT_OF_MEMORY}({arguments})"


_MAKERS: tuple[Callable[[Known], _Made], ...] = (
    _plain, _attributes, _wrong, _held_raises, _abandoned, _once_more, _cycles, _subclasses, _two_calls, _out_of_memory,
)  # fmt: skip


def _cut_off(argument: str) -> list[str]:
    """A text, octets or a file with a document, without its end."""
    value = argument.partition("=")[2] if re.match(r"\w+=[^=]", argument) else argument
    if value.startswith("fresh("):
        return [f"{value}[:-{_CUT}]"]
    file = re.fullmatch(r"io\.(BytesIO|StringIO)\((.+)\)", value)
    return [f"io.{file[1]}({file[2]}[:-{_CUT}])"] if file else []


def _kind_of(wrong: str) -> Kind:
    return "callback raises" if wrong.startswith("Raises") else "error"
