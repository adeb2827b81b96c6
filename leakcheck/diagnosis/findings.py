"""A fault in words and records: the sentence first, then the stack, the path and the numbers."""

from __future__ import annotations

from collections.abc import Iterable

from leakcheck.agent import origin
from leakcheck.diagnosis import fingerprint
from leakcheck.diagnosis.faults import LEDGER_NOISE, Fault, Place, native_callers, native_frames
from leakcheck.diagnosis.frames import native_frame, python_frame
from leakcheck.diagnosis.memray import Trace
from leakcheck.diagnosis.native_names import hands_on, short_name
from leakcheck.diagnosis.resources import WORDS, Words
from leakcheck.diagnosis.suspects import judge_path
from leakcheck.diagnosis.valgrind import Loss
from leakcheck.records import Finding, FindingKind, Frame, PathNode

_MOST_FRAMES = 24
_UNWATCHED = "native code, another thread or a callback of the event loop"
_KINDS: dict[str, FindingKind] = {
    "container": "container",
    "pinned": "allocation",
    "frozen": "allocation",
    "native": "native",
    "allocation": "allocation",
    "resource": "resource",
}


def finding_of(fault: Fault, heap_growth: float, source: str) -> Finding:
    """The record of one fault."""
    path = judge_path(fault.path, fault.type, fault.shape, fault.many) if fault.path else []
    frames = _frames(fault)
    stack = [*_native(fault, frames), *_with_callers(fault, frames)]
    share = fault.share
    if share is None and fault.kind != "resource" and heap_growth > 0:
        share = min(1.0, fault.bytes / heap_growth)
    if fault.kind == "resource":
        title = _resource_title(fault, frames, path)
        mark = fingerprint.of_frames(fault.meter, stack, [] if stack else fault.examples[:1])
    elif fault.kind == "container":
        title, mark = _container_title(fault, frames, path), fingerprint.of_path(path)
    elif fault.kind == "frozen":
        title, mark = _frozen_title(fault, frames), fingerprint.of_frames("frozen", stack)
    elif fault.kind == "native":
        title, mark = _native_title(fault, frames, stack), fingerprint.of_frames("native", stack)
    elif fault.kind == "pinned":
        title = _pinned_title(fault, frames, stack)
        mark = fingerprint.of_frames("pinned", stack, [fault.type])
    else:
        title, mark = _allocation_title(fault, frames, stack), fingerprint.of_frames("allocation", stack)
    return Finding(
        kind=_KINDS[fault.kind],
        fingerprint=mark,
        title=title,
        bytes_per_iteration=round(fault.bytes, 2) or None,
        count_per_iteration=round(fault.count, 4) or None,
        meter=fault.meter,
        share=None if share is None else round(share, 4),
        stack=stack[:_MOST_FRAMES],
        path=path,
        type=fault.type,
        examples=[*fault.examples, *_threads(fault), *(f"valgrind: {_loss_text(loss)}" for loss in fault.losses[:3])],
        hint=_hint(fault, stack),
        source=source,
    )


def quantity(count: float, what: str, size: float) -> str:
    """`1.00 Listener (432 B)`."""
    number = f"{count:.2f}" if count >= 0.095 else f"{count:.2g}"
    return f"{number} {what} ({plain_bytes(size)})"


def plain_bytes(size: float) -> str:
    """Bytes as a person reads them."""
    for limit, unit in ((1 << 20, "MiB"), (1 << 13, "KiB")):
        if size >= limit:
            return f"{size / (1 << 20 if unit == 'MiB' else 1 << 10):.1f} {unit}"
    return f"{size:.0f} B" if size >= 10 else f"{size:.2g} B"


def at(frame: Frame | None) -> str:
    """`hub.py:41 in Hub.on`."""
    if frame is None:
        return "an unknown place"
    where = frame.file.rpartition("/")[2] + (f":{frame.line}" if frame.line else "")
    return f"{where} in {frame.function}"


def first_user_frame(frames: Iterable[Frame]) -> Frame | None:
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


def _resource_title(fault: Fault, frames: list[Frame], path: list[PathNode]) -> str:
    words = WORDS.get(fault.meter, Words(fault.meter, "grown", "never taken back"))
    what = words.one
    if fault.meter in ("fds", "children", "disk.files") and fault.examples:
        what += f" {fault.examples[0]}"
    elif fault.meter in ("threads", "py.threads", "tasks") and fault.type:
        what += f" {fault.type}"
    if fault.count:
        amount = f"{fault.count:.2f} {what}" if fault.count >= 0.095 else f"{fault.count:.2g} {what}"
    else:
        amount = f"{plain_bytes(fault.bytes)} of {what}"
    amount += f" ({plain_bytes(fault.bytes)})" if fault.count and fault.bytes else ""
    where = f"{words.came} at {places_named(frames)}" if frames else f"{words.came} by {_UNWATCHED}"
    held = f", held by {path_text(path)}" if path else ""
    return f"leaks {amount} per iteration: {where}{held}, {words.never}"


def _container_title(fault: Fault, frames: list[Frame], path: list[PathNode]) -> str:
    named = places_named(frames)
    what = short_type(fault.type) or "reference"
    if fault.shape == "deeper":
        return (
            f"leaks {quantity(fault.count, what, fault.bytes)} per iteration: the chain or tree "
            f"{path_text(path)} grows, by {named}, never cut"
        )
    if fault.shape == "heavier":
        return (
            f"leaks {plain_bytes(fault.bytes)} of {what} per iteration: {path_text(path)} gets ever larger, "
            f"by {named}, never emptied"
        )
    also = "".join(f" and by {''.join(label for label, _ in other)}" for other in fault.also[:2])
    end = f"which may have {fault.limit:,} elements and is not full yet" if fault.limit else "never removed"
    return (
        f"leaks {quantity(fault.count, what, fault.bytes)} per iteration: added at {named}, "
        f"held by {path_text(path)}{also}, {end}"
    )


def places_named(frames: list[Frame]) -> str:
    """The line that does it, and the user's line that calls it where that is another."""
    inner = next((frame for frame in frames if origin.rank(frame.file) < 2), frames[0] if frames else None)
    user = first_user_frame(frames)
    if user is None or inner is None:
        return at(user or inner)
    # A library under test is the user's code as well: what calls it is the innermost line of the scenario's own file.
    entry = next((frame.file for frame in reversed(frames) if frame.user), user.file)
    caller = user if user is not inner else next(frame for frame in frames if frame.file == entry and not frame.native)
    return at(inner) if caller is inner else f"{at(inner)}, called from {at(caller)}"


def _native_title(fault: Fault, frames: list[Frame], stack: list[Frame]) -> str:
    loss = fault.losses[0]
    below = f", below {at(frames[0])}" if frames else ""
    what = "block" if 0.99 < fault.count < 1.01 else "blocks"
    return f"leaks {quantity(fault.count, what, fault.bytes)} per iteration: {loss.kind}, allocated{_by(stack)}{below}"


def _frozen_title(fault: Fault, frames: list[Frame]) -> str:
    born = [at(python_frame(*site.trace[0])) for site in fault.sites if site.trace][:2]
    return (
        f"leaks {plain_bytes(fault.bytes)} per iteration: frozen at {places_named(frames)}, so that the collector "
        f"never looks at it again; allocated at {' and '.join(dict.fromkeys(born))}"
    )


def _pinned_title(fault: Fault, frames: list[Frame], stack: list[Frame]) -> str:
    by = _by(stack)
    if fault.at_exit:
        return (
            f"leaks {quantity(fault.count, short_type(fault.type), fault.bytes)} per iteration: registered at "
            f"{places_named(frames)}, held by atexit until the process ends"
        )
    return (
        f"leaks {quantity(fault.count, short_type(fault.type), fault.bytes)} per iteration: born at "
        f"{places_named(frames)}{by}, held by native code (no Python object refers to it: a reference that is not "
        "given back, or a type that the collector cannot look into)"
    )


def _allocation_title(fault: Fault, frames: list[Frame], stack: list[Frame]) -> str:
    if fault.untracked:
        why = (
            "it comes too rarely, or from an allocator that no tracker sees, for more to be known"
            if fault.bytes <= LEDGER_NOISE
            else "the allocator is one that no tracker sees (malloc called through a pointer, or a static library's)"
        )
        return f"leaks {plain_bytes(fault.bytes)} per iteration: after {places_named(frames)} the heap has grown; {why}"
    what = "block" if 0.99 < fault.count < 1.01 else "blocks"
    place = f" at {places_named(frames)}" if frames or not _by(stack) else ""
    holder = "too rarely for what holds it to be seen" if fault.rare else "and nothing that Python knows of holds it"
    return f"leaks {quantity(fault.count, what, fault.bytes)} per iteration: allocated{place}{_by(stack)}, {holder}"


def _by(stack: list[Frame]) -> str:
    native = [frame for frame in stack if frame.native]
    if not native:
        return ""
    own = [frame for frame in native if not hands_on(frame.function, frame.file)]
    first = next((frame for frame in own if frame.line), (own or native)[0])
    where = f" ({first.file.rpartition('/')[2]}:{first.line})" if first.line else ""
    return f" by native {short_name(first.function)}{where}"


def _native(fault: Fault, frames: list[Frame]) -> list[Frame]:
    if fault.kind in ("container", "resource", "frozen"):
        return []
    # Of what native code holds, the objects' own: their elements may be made elsewhere.
    found = native_frames(fault, _trace_of(frames) if fault.kind == "pinned" else None)
    known = [native_frame(frame.file, frame.line, frame.function) for frame in found]
    for loss in fault.losses[:1]:
        if sum(frame.line > 0 for frame in loss.frames) > sum(frame.line > 0 for frame in known) or not known:
            return [
                native_frame(frame.file or library, frame.line, _native_name(frame.function, library))
                for frame, library in zip(loss.frames, loss.objects, strict=True)
            ]
    return known


def _with_callers(fault: Fault, frames: list[Frame]) -> list[Frame]:
    """The Python stack of what native code holds, with the native code that called its innermost function."""
    callers = native_callers(fault, _trace_of(frames)) if fault.kind == "pinned" else ()
    return [*frames[:1], *(native_frame(each.file, each.line, each.function) for each in callers), *frames[1:]]


def _trace_of(frames: list[Frame]) -> Trace:
    return tuple((frame.file, frame.line) for frame in frames)


def _native_name(function: str, library: str) -> str:
    return f"an unknown function of {library.rpartition('/')[2]}" if function == "???" else function


def _frames(fault: Fault) -> list[Frame]:
    """The Python stack: of the line that adds, else of the place where most of it is born."""
    if fault.adders:
        return [python_frame(*place) for place in _trimmed(fault.adders[0][0])]
    traces: list[tuple[Trace, tuple[str, ...], float]] = (
        [(trace, (), count) for trace, count, _ in fault.heads if trace]
        or [(trace, (), size) for trace, _, size in fault.births if trace]
        or [(site.trace, site.functions, site.bytes) for site in fault.sites if site.trace]
    )
    if not traces:
        return []
    trace, functions, _ = max(traces, key=lambda each: each[2])
    names = functions or ("",) * len(trace)
    return [python_frame(file, line, name) for (file, line), name in zip(trace, names, strict=False)]


def _trimmed(stack: tuple[Place, ...]) -> tuple[Place, ...]:
    return stack[:_MOST_FRAMES]


def _threads(fault: Fault) -> list[str]:
    names = dict.fromkeys(site.thread for site in fault.sites if site.thread)
    return [f"allocated in thread {name}" for name in list(names)[:2]]


def _loss_text(loss: Loss) -> str:
    names = [_native_name(frame.function, library) for frame, library in zip(loss.frames, loss.objects, strict=True)]
    by = f" by {names[0]}" if names else ""
    return f"{loss.kind}{by}, {loss.blocks:.2f} blocks and {plain_bytes(loss.bytes)} per iteration"


def _hint(fault: Fault, stack: list[Frame]) -> str:
    blind = [frame for frame in stack if frame.native and not frame.line]
    if fault.kind != "container" and blind and not any(frame.native and frame.line for frame in stack):
        what = blind[0].file.rpartition("/")[2] if ".so" in blind[0].file else blind[0].function
        return (
            f"no debug information for {what}: install the library's -dbg (or -dbgsym) package, or build it with -g, "
            "to see file and line"
        )
    return ""
