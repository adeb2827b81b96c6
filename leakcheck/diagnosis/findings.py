"""A fault in words and records: the sentence first, then the stack, the path and the numbers."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from leakcheck import meters, units
from leakcheck.agent.inquiry import Taker, Trace
from leakcheck.agent.origin import HERE, Origin
from leakcheck.diagnosis import fingerprint
from leakcheck.diagnosis.cycles import HiddenCycle
from leakcheck.diagnosis.faults import (
    Allocation,
    Container,
    Drifting,
    Fault,
    Frozen,
    Garbage,
    Native,
    Pinned,
    Resource,
    RetainingPath,
    Unclearable,
    Untracked,
)
from leakcheck.diagnosis.frames import UNKNOWN, hands_on, native_frame, only_call, python_frame, short_name
from leakcheck.diagnosis.labels import literal_in, named_in_code
from leakcheck.diagnosis.registrations import REGISTRATIONS
from leakcheck.diagnosis.rules.losses import LEDGER_NOISE_BYTES
from leakcheck.diagnosis.suspects import judge_path
from leakcheck.diagnosis.valgrind import Loss
from leakcheck.execution import elf
from leakcheck.meters import Words
from leakcheck.records import Finding, FindingKind, Frame, PathNode

_SOURCES = {Resource: "resources", Drifting: "references", Garbage: "garbage"}
"""The look that finds a fault which neither the object graph nor an allocator knows."""
_MOST_FRAMES = 24
"""Frames of a stack in a finding."""
_UNWATCHED = "native code, another thread or a callback of the event loop"


class _Facts(NamedTuple):
    """What the words for a fault are made of."""

    fault: Fault
    frames: list[Frame]
    """The Python stack."""
    stack: list[Frame]
    """The Python stack with the native frames."""
    path: list[PathNode]
    """As it is shown."""
    shown: Callable[[str], str]
    """How the label of a step is shown."""
    origin: Origin
    """Whose code is whose."""
    unseen: frozenset[str]
    """Names of the means that came to nothing: what they would show is not known, and is not said to be absent."""

    @property
    def places(self) -> str:
        """The lines to name."""
        return places_named(self.frames, self.origin)


def findings_of(
    faults: Sequence[Fault],
    heap_growth: float,
    source: str,
    origin: Origin = HERE,
    *,
    values: bool = False,
    unseen: frozenset[str] = frozenset(),
) -> list[Finding]:
    """The records of the faults of one scenario, each with a fingerprint of its own.

    `source` names the means that saw the memory, `unseen` those that came to nothing. With `values`, what the program's
    data name stays in the paths.
    """
    found = [
        finding_of(
            fault,
            heap_growth,
            "resources" if isinstance(fault.detail, Resource) else source,
            origin,
            values=values,
            unseen=unseen,
        )
        for fault in faults
    ]
    names = [f"{path_text(_path(fault))} {each.type}" for fault, each in zip(faults, found, strict=True)]
    return fingerprint.told_apart(found, names)


def finding_of(
    fault: Fault,
    heap_growth: float,
    source: str,
    origin: Origin = HERE,
    *,
    values: bool = False,
    unseen: frozenset[str] = frozenset(),
) -> Finding:
    """The record of one fault."""
    frames = _frames(fault, origin)
    stack = [*_native(fault, frames), *_with_callers(fault, frames)]
    path, shown = _path(fault), str if values else partial(named_in_code, is_code=literal_in(_sources(stack)))
    in_words = [msgspec.structs.replace(node, name=shown(node.name)) for node in path]
    facts = _Facts(fault, frames, stack, in_words, shown, origin, unseen)
    kind: FindingKind = "allocation"
    of_frames = partial(fingerprint.of_frames, origin=origin)
    match fault.detail:
        case Resource() as detail:
            kind, title = "resource", _resource_title(facts, detail)
            mark = of_frames(detail.meter, stack, [] if stack else [fault.type])
        case Container() as detail:
            kind, title = "container", _container_title(facts, detail)
            mark = fingerprint.of_path(path, fault.type, _adder(fault, frames, origin), origin)
        case Drifting() as detail:
            kind, title = "native", _drifting_title(facts, detail)
            mark = of_frames("references", stack, [detail.what])
        case Garbage() as detail:
            title, mark = _garbage_title(facts, detail), of_frames("garbage", stack, [fault.type])
        case Frozen():
            title, mark = _frozen_title(facts), of_frames("frozen", stack)
        case Native():
            kind, title, mark = "native", _native_title(facts), of_frames("native", stack)
        case Pinned() as detail:
            title, mark = (
                _pinned_title(facts, detail),
                of_frames("pinned", stack, [fault.type]),
            )
        case Unclearable():
            title, mark = _unclearable_title(facts), of_frames("unclearable", stack, [fault.type])
        case Untracked():
            title, mark = _untracked_title(facts), of_frames("allocation", stack)
        case Allocation() as detail:
            title, mark = _allocation_title(facts, detail), of_frames("allocation", stack)
    share = fault.share(heap_growth)
    return Finding(
        kind=kind,
        fingerprint=mark,
        title=title,
        bytes_per_iteration=round(fault.bytes, 2) or None,
        count_per_iteration=round(fault.count, 4) or None,
        meter=fault.meter,
        share=None if share is None else round(share, 4),
        stack=stack[:_MOST_FRAMES],
        path=facts.path,
        type=fault.type,
        examples=[
            *fault.examples,
            *_threads(fault, values),
            *(f"valgrind: {_loss_text(loss)}" for loss in fault.losses[:3]),
        ],
        hint=_hint(fault, stack),
        source=_SOURCES.get(type(fault.detail), source),
    )


def _amount(count: float, what: str, size: float) -> str:
    """`1 Listener (432 B) per iteration`; of what is rare `1 Listener (432 B) in 250 iterations`."""
    times, often = units.recurrence(count)
    name = "bytes object" if what == "bytes" else what
    return f"{units.plain(times * count)} {name} ({units.size(times * size)}) {often}"


def at(frame: Frame | None) -> str:
    """`hub.py:41 in Hub.on`."""
    if frame is None:
        return "an unknown place"
    where = frame.file.rpartition("/")[2] + (f":{frame.line}" if frame.line else "")
    return f"{where} in {frame.function}"


def first_user_frame(frames: Iterable[Frame], origin: Origin = HERE) -> Frame | None:
    """The line to name: the innermost of the user's own code, else of a package, else any Python line."""
    python = [frame for frame in frames if not frame.native]
    for most in (0, 1, 2):
        for frame in python:
            if origin.rank(frame.file) <= most:
                return frame
    return None


def short_type(name: str) -> str:
    """`Listener` of `app.hub.Listener`; functions keep their whole name."""
    return name if " " in name else name.rpartition(".")[2]


def path_text(path: Iterable[PathNode]) -> str:
    """`hub.Hub.listeners`."""
    return "".join(node.name for node in path)


def _resource_title(facts: _Facts, detail: Resource) -> str:
    fault = facts.fault
    words = meters.of(detail.meter, "").words or Words(detail.meter, "grown", "never taken back")
    name = {"example": next(iter(fault.examples), ""), "type": fault.type, "": ""}[words.shown]
    times, often = units.recurrence(fault.count)
    size = units.size(times * fault.bytes)
    amount = units.number(times * fault.count, words.one) if fault.count else f"{size} of {words.one}"
    size = size if fault.count and fault.bytes else ""
    if more := ", ".join(part for part in (name, size) if part):
        amount += f" ({more})"
    function = fault.adders[0].function if fault.adders else ""
    by = f"{words.came} by {function}" if function else words.came
    where = f"{by} at {facts.places}" if facts.frames else f"{words.came} by {_UNWATCHED}"
    held = f", held by {path_text(facts.path)}" if facts.path else ""
    return f"leaks {amount} {often}: {where}{held}, {words.never}"


def _container_title(facts: _Facts, detail: Container) -> str:
    fault, named, path = facts.fault, facts.places, path_text(facts.path)
    what = short_type(fault.type) or "reference"
    amount = _amount(fault.count, what, fault.bytes)
    if detail.shape == "deeper":
        return f"leaks {amount}: the chain or tree {path} grows, by {named}, never cut"
    if detail.shape == "heavier":
        size = units.size(fault.bytes)
        return f"leaks {size} of {what} per iteration: {path} gets ever larger, by {named}, never emptied"
    function = fault.adders[0].function if fault.adders else ""
    if registration := REGISTRATIONS.get(function):
        return f"leaks {amount}: registered at {named} with {registration.name}, {registration.end}"
    if function:
        return f"leaks {amount}: added at {named} by {function}, held by {path}, never removed"
    others = ["".join([*(facts.shown(node.label) for node in other.nodes), many]) for other, many in detail.also[:2]]
    also = "".join(f" and by {other}" for other in others)
    end = f"which may have {detail.limit:,} elements and is not full yet" if detail.limit else "never removed"
    came = "added" if fault.adders else "made"  # where no line was seen to add, the stack is that of its birth
    return f"leaks {amount}: {came} at {named}, held by {path}{also}, {end}"


def places_named(frames: list[Frame], origin: Origin = HERE) -> str:
    """The line that does it, and the user's line that calls it where that is another."""
    inner = next((frame for frame in frames if origin.rank(frame.file) < 2), frames[0] if frames else None)
    user = first_user_frame(frames, origin)
    if user is None or inner is None:
        return at(user or inner)
    # A library under test is the user's code as well: what calls it is the innermost line of the scenario's own file.
    entry = next((frame.file for frame in reversed(frames) if frame.user), user.file)
    caller = user if user is not inner else next(frame for frame in frames if frame.file == entry and not frame.native)
    return at(inner) if caller is inner else f"{at(inner)}, called from {at(caller)}"


def _native_title(facts: _Facts) -> str:
    below = f", below {at(facts.frames[0])}" if facts.frames else ""
    lost = facts.fault.losses[0].kind
    return f"leaks {_blocks(facts.fault)}: {lost}, allocated{_by(facts.stack)}{below}"


def _drifting_title(facts: _Facts, detail: Drifting) -> str:
    """`leaks 1 reference to type app.Kind per iteration: taken by ext.use at app.py:9 in call, never given back`."""
    adder = next(iter(facts.fault.adders), None)
    function = adder and (adder.function or only_call(*adder.stack[0][:2]))
    by = f"by {function} at {facts.places}" if function else f"at {facts.places}" if adder else f"by {_UNWATCHED}"
    amount = units.quantity(facts.fault.count, "references")
    if detail.too_few:
        return (
            f"gives back {amount} to {detail.what} too many per iteration: {by}; one reference too few, so that it "
            "will be freed while it is in use, and crash"
        )
    return f"leaks {amount} to {detail.what} per iteration: taken {by}, never given back"


def _garbage_title(facts: _Facts, detail: Garbage) -> str:
    """`makes 195.3 KiB of cyclic garbage per iteration: app.Node leads back to itself by .parent, closed at ...`."""
    kind = facts.fault.type
    way = f": {kind} leads back to itself by {detail.way or 'what it refers to'}" if kind else ""
    closed = f", closed at {facts.places}" if facts.frames else ""
    return f"makes {units.size(facts.fault.bytes)} of cyclic garbage per iteration{way}{closed}"


def _frozen_title(facts: _Facts) -> str:
    born = [at(python_frame(*site.trace[0], origin=facts.origin)) for site in facts.fault.sites if site.trace][:2]
    return (
        f"leaks {units.size(facts.fault.bytes)} per iteration: frozen at {facts.places}, so that the "
        f"collector never looks at it again; allocated at {' and '.join(dict.fromkeys(born))}"
    )


def _pinned_title(facts: _Facts, detail: Pinned) -> str:
    fault, named = facts.fault, facts.places
    amount = _amount(fault.count, short_type(fault.type), fault.bytes)
    if detail.at_exit:
        registration = REGISTRATIONS["atexit.register"]
        return f"leaks {amount}: registered at {named} with {registration.name}, {registration.end}"
    if detail.cycle is not None:
        return f"leaks {amount}: {_cycle_in_words(detail.cycle, fault.type)}; made at {named}"
    if detail.taker:
        return f"leaks {amount}: {_taken(facts, detail.taker)}"
    if detail.base:
        return (
            f"leaks {amount}: made at {named}, held by references of its instances that are never given "
            f"back; the dealloc of {detail.base}, its base in C, does not release the type (Py_DECREF(Py_TYPE(self)))"
        )
    return (
        f"leaks {amount}: born at {named}{_by(facts.stack)}, held by native code (no Python object "
        "refers to it: a reference that is not given back, or a type that the collector cannot look into)"
    )


def _taken(facts: _Facts, taker: Taker) -> str:
    """`hub.on takes a reference to it at app.py:9 in call, and native code keeps it; born at app.py:6 in call`."""
    if taker.made:
        return f"made by {taker.function} at {facts.places}, and a reference to it is never given back"
    born = next((at(python_frame(*each.trace[0], origin=facts.origin)) for each in facts.fault.heads if each.trace), "")
    who = taker.function or only_call(*taker.stack[0][:2]) or "native code"
    return f"{who} takes a reference to it at {facts.places}, and native code keeps it" + (
        f"; born at {born}" * bool(born)
    )


_LACKS = {
    "support": "has no collector support (no Py_TPFLAGS_HAVE_GC)",
    "traverse": "does not tell the collector of all that it refers to (tp_traverse passes over a member)",
}


def _cycle_in_words(cycle: HiddenCycle, owner: str) -> str:
    """`Session.handle holds a planted.Handle, whose type ..., and that leads back: the cycle is never freed`."""
    whose = f"whose type {_LACKS[cycle.lack]}"
    if len(cycle.path) == 1:
        return f"it is a {cycle.type}, {whose}, and leads back to itself: a cycle that is never freed"
    # From the last object on the way that has a type of its own: dictionaries, methods and the like say nothing.
    own = [index for index, node in enumerate(cycle.path[:-1]) if "." in node.type and " " not in node.type]
    first = own[-1] if own else len(cycle.path) - 2
    labels = "".join(node.label for node in cycle.path[first + 1 :])
    holder = short_type(cycle.path[first].type or owner) + labels
    return f"{holder} is a {cycle.type}, {whose}, and leads back: a cycle that is never freed"


def _unclearable_title(facts: _Facts) -> str:
    fault = facts.fault
    amount = _amount(fault.count, short_type(fault.type), fault.bytes)
    return (
        f"leaks {amount}: made at {facts.places}, part of a cycle that the collector finds each time and "
        f"cannot free, as the type {fault.type} has no tp_clear"
    )


def _untracked_title(facts: _Facts) -> str:
    size, named = facts.fault.bytes, facts.places
    if "memray" in facts.unseen:
        why = "what allocated it was not looked at, as memray did not do it"
    elif "valgrind" in facts.unseen:
        why = "memray sees no allocation there, and valgrind has not looked"
    elif size <= LEDGER_NOISE_BYTES:
        why = "it comes too rarely, or from an allocator that no tracker sees, for more to be known"
    else:
        why = "the allocator is one that no tracker sees (malloc called through a pointer, or a static library's)"
    return f"leaks {units.size(size)} per iteration: after {named} the heap has grown; {why}"


def _allocation_title(facts: _Facts, detail: Allocation) -> str:
    by = _by(facts.stack)
    place = f" at {facts.places}" if facts.frames or not by else ""
    if facts.fault.adders:
        place, by = "", f"{by} in a thread of its own, while {facts.places} runs"
    if detail.cycle:
        holder = f"part of a cycle through a {detail.cycle}, whose type {_LACKS['support']}: it is never freed"
    elif "graph" in facts.unseen:
        holder = "what holds it was not looked at"
    elif detail.rare:
        holder = "too rarely for what holds it to be seen"
    elif detail.beside_foreign:
        holder = "what holds it is not known: instances of types made in C are kept beside it and may hold it"
    else:
        holder = "and nothing that Python knows of holds it"
    return f"leaks {_blocks(facts.fault)}: allocated{place}{by}, {holder}"


def _blocks(fault: Fault) -> str:
    if fault.type:
        return _amount(fault.count, short_type(fault.type), fault.bytes)
    one = units.plain(units.recurrence(fault.count)[0] * fault.count) == "1"
    return _amount(fault.count, "block" if one else "blocks", fault.bytes)


def _by(stack: list[Frame]) -> str:
    native = [frame for frame in stack if frame.native]
    if not native:
        return ""
    own = [frame for frame in native if not hands_on(frame.function, frame.file)]
    first = next((frame for frame in own if frame.line), (own or native)[0])
    where = f" ({first.file.rpartition('/')[2]}:{first.line})" if first.line else ""
    return f" by native {short_name(first.function)}{where}"


def _path(fault: Fault) -> list[PathNode]:
    match fault.detail:
        case Container(path, shape, many):
            return judge_path(path.nodes, fault.type, shape, many)
        case Resource(path=RetainingPath() as path):
            return judge_path(path.nodes, fault.type, "wider")
    return []


def _adder(fault: Fault, frames: Iterable[Frame], origin: Origin) -> Frame | None:
    """The function whose line adds, where that was seen; of the library's own, the one that calls it."""
    return next((frame for frame in frames if origin.rank(frame.file) < 2), None) if fault.adders else None


def _sources(stack: Iterable[Frame]) -> str:
    """The text of the user's files on a stack."""
    files = dict.fromkeys(frame.file for frame in stack if frame.user)
    return "".join(line for file in files for line in linecache.getlines(file))


def _native(fault: Fault, frames: list[Frame]) -> list[Frame]:
    """The native frames inside the innermost Python line: valgrind's, where it knows more lines than memray."""
    if isinstance(fault.detail, Container | Resource | Frozen | Drifting | Garbage):
        return []
    # Of what native code holds, the objects' own: their elements may be made elsewhere.
    trace = _trace_of(frames) if isinstance(fault.detail, Pinned) else None
    sites = sorted(fault.sites, key=lambda site: -site.bytes)
    known = next((site.native for site in sites if site.native and trace in (None, site.trace)), ())
    if isinstance(fault.detail, Allocation):
        known += next((site.library for site in sites if site.library and site.native == known), ())
    for loss in fault.losses[:1]:
        if not known or sum(frame.line > 0 for frame in loss.frames) > sum(frame.line > 0 for frame in known):
            return [
                native_frame(frame.file or library, frame.line, _native_name(frame.function, library))
                for frame, library in zip(loss.frames, loss.objects, strict=True)
            ]
    return [native_frame(frame.file, frame.line, frame.function) for frame in known]


def _with_callers(fault: Fault, frames: list[Frame]) -> list[Frame]:
    """The Python stack of what native code holds, with the native code that called its innermost function."""
    if not isinstance(fault.detail, Pinned):
        return frames
    trace = _trace_of(frames)
    callers = next(
        (site.between for site in fault.sites if site.trace == trace and not site.native and site.between), ()
    )
    return [*frames[:1], *(native_frame(each.file, each.line, each.function) for each in callers), *frames[1:]]


def _trace_of(frames: list[Frame]) -> Trace:
    return tuple((frame.file, frame.line) for frame in frames)


def _native_name(function: str, library: str) -> str:
    return f"an unknown function of {library.rpartition('/')[2]}" if function == UNKNOWN else function


def _frames(fault: Fault, origin: Origin) -> list[Frame]:
    """The Python stack: of the line that adds, else of the place where most of it is born."""
    if fault.adders:
        return [python_frame(*place, origin) for place in fault.adders[0].stack[:_MOST_FRAMES]]
    traces: list[tuple[Trace, tuple[str, ...], float]] = (
        [(head.trace, (), head.blocks) for head in fault.heads if head.trace]
        or [(birth.trace, (), birth.bytes) for birth in fault.births if birth.trace]
        or [(site.trace, site.functions, site.bytes) for site in fault.sites if site.trace]
    )
    trace, functions, _ = max(traces, key=lambda each: each[2], default=((), (), 0.0))
    names = functions or ("",) * len(trace)
    return [python_frame(file, line, name, origin) for (file, line), name in zip(trace, names, strict=False)]


def _threads(fault: Fault, values: bool) -> list[str]:
    names = dict.fromkeys(site.thread if values else "" for site in fault.sites if site.thread)
    return [f"allocated in thread {name}" if name else "allocated in another thread" for name in list(names)[:2]]


def _loss_text(loss: Loss) -> str:
    names = [_native_name(frame.function, library) for frame, library in zip(loss.frames, loss.objects, strict=True)]
    by = f" by {names[0]}" if names else ""
    return f"{loss.kind}{by}, {units.quantity(loss.blocks, 'blocks')} and {units.size(loss.bytes)} per iteration"


def _hint(fault: Fault, stack: list[Frame]) -> str:
    """How to see file and line of native code that shows neither."""
    unnamed = [frame for frame in stack if frame.native and not frame.line]
    if isinstance(fault.detail, Container) or not unnamed or any(frame.native and frame.line for frame in stack):
        return ""
    library = next((frame.file for frame in unnamed if ".so" in frame.file), "")
    what = library.rpartition("/")[2] if library else unnamed[0].function
    if "/site-packages/" in library or "/dist-packages/" in library:
        built = f" (build id {mark})" if (mark := _build_id(library)) else ""
        return (
            f"no debug information for {what}{built}: wheels have none; install the package from its sources with "
            "CFLAGS=-g CXXFLAGS=-g python -m pip install --no-binary to see file and line"
        )
    return (
        f"no debug information for {what}: install the library's -dbg (or -dbgsym) package, or build it with -g, "
        "to see file and line"
    )


def _build_id(library: str) -> str:
    try:
        return elf.build_id(Path(library).read_bytes())
    except (OSError, ValueError):
        return ""
