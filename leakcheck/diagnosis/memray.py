"""Reads memray's captures of N and 2N iterations: the places whose surviving allocations grow with the iterations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from leakcheck.agent.inquiry import Birth, Capture, Trace
from leakcheck.agent.origin import Origin
from leakcheck.diagnosis.blocks import Blocks, Content, SiteKey, contents, surviving
from leakcheck.diagnosis.frames import EVALUATION, NativeFrame, is_interpreter, is_standard_module
from leakcheck.diagnosis.offsets import UNRESOLVED, Offsets

BLOCK_OVERHEAD_BYTES = 8
"""What malloc keeps beside each block."""
_SMALLEST_BLOCK_BYTES = 32.0
"""What malloc gives for the smallest request."""
_WORTH_NAMING = 0.05
"""Part of what survives in which frames have no name, from which on their offsets are looked up: some tenths of a
second."""


class Site(NamedTuple):
    """A place whose surviving allocations grow with the iterations."""

    trace: Trace
    functions: tuple[str, ...]
    """Names of the functions of `trace`."""
    native: tuple[NativeFrame, ...]
    """Native frames inside the innermost Python line, the innermost first, without the interpreter's own."""
    blocks: float
    """Surviving allocations per iteration."""
    bytes: float
    """Bytes per iteration, malloc's own overhead included."""
    thread: str = ""
    """Name of the thread where it has one of its own and was started while memray was watching."""
    between: tuple[NativeFrame, ...] = ()
    """Where `native` is empty: native frames that called the innermost Python functions, the innermost first."""
    unnamed: bool = False
    """Whether there are native frames without a name inside the innermost Python line, which `native` leaves out."""
    library: tuple[NativeFrame, ...] = ()
    """Frames of the standard library's C modules inside the innermost Python line; they call `native` where there is
    some."""
    content: Content = Content()
    """What the blocks are."""


class Survivors(NamedTuple):
    """What two captures of one process say together."""

    sites: dict[Site, tuple[SiteKey, ...]]
    """Those that scale between the two, each with the stacks that lead there."""
    blocks: Blocks
    """What these have alive at the end of the second."""

    def with_contents(self, pid: int) -> list[Site]:
        """The sites with what their blocks are, those with most bytes first.

        `pid` is the process that made the captures, which is still as it was at the end of the second.
        """
        told = contents(self.blocks, pid)
        sites = [site._replace(content=_common(told, stacks)) for site, stacks in self.sites.items()]
        return sorted(sites, key=lambda site: -site.bytes)


def read_survivors(captures: Sequence[Capture], origin: Origin) -> Survivors:
    """What scales between the captures. Raises `OSError` for one that cannot be read."""
    paths = [Path(capture.path) for capture in captures]
    found = _scaling(captures, [_survivors(path, origin) for path in paths])
    if sum(site.bytes for site in found if site.unnamed) >= _WORTH_NAMING * sum(site.bytes for site in found) > 0:
        found = _scaling(captures, [_survivors(path, origin, Offsets(path)) for path in paths])
    return Survivors(found, surviving(paths[-1], frozenset(chain.from_iterable(found.values()))))


def _scaling(captures: Sequence[Capture], survivors: Sequence[dict[_Key, _Alive]]) -> dict[Site, tuple[SiteKey, ...]]:
    short, long = survivors
    few, many = (capture.iterations for capture in captures)
    sites = {}
    for key, (count, size, functions, thread, between, unnamed, library, stacks) in long.items():
        count_before, size_before, *_ = short.get(key, (0, 0))
        if not (_scales(count_before / few, count / many, count) or _scales(size_before / few, size / many, count)):
            continue
        each = size / count + BLOCK_OVERHEAD_BYTES
        padded = max(_SMALLEST_BLOCK_BYTES, each + (-each) % 16 if each.is_integer() else each + 8)
        trace, native = key
        rate = count / many
        sites[Site(trace, functions, native, rate, padded * rate, thread, between, unnamed, library)] = stacks
    return sites


def _common(found: Mapping[SiteKey, Content], stacks: Iterable[SiteKey]) -> Content:
    """What all blocks of a site are, over the stacks that lead there."""
    each = [found[stack] for stack in stacks if stack in found]
    types, cycles = {content.type for content in each}, {content.cycle for content in each}
    return Content(types.pop() if len(types) == 1 else "", cycles.pop() if len(cycles) == 1 else "")


def sites_of_births(births: Iterable[Birth]) -> list[Site]:
    """Sites as the object graph knows them, where there are no captures: malloc's overhead is added."""
    return [Site(trace, (), (), count, size + BLOCK_OVERHEAD_BYTES * count) for trace, count, size in births]


def _scales(short: float, long: float, events: int) -> bool:
    """Whether survivors per iteration are about the same over N and 2N: a full cache halves, noise comes to nothing."""
    if short <= 0 or events < 2:
        return False
    slack = 0.25 + 1.5 / events**0.5
    return bool(1 - slack <= long / short <= 1 + 2 * slack)


_Key = tuple[Trace, tuple[NativeFrame, ...]]
_Alive = tuple[int, int, tuple[str, ...], str, tuple[NativeFrame, ...], bool, tuple[NativeFrame, ...],
               tuple[SiteKey, ...]]  # fmt: skip


def _survivors(capture: Path, origin: Origin, offsets: Offsets | None = None) -> dict[_Key, _Alive]:
    """What is alive at the end of a capture; of stacks that lead to one place, that with most bytes is told."""
    import memray

    found: dict[_Key, _Alive] = {}
    with memray.FileReader(capture) as reader:
        records = reader.get_leaked_allocation_records(merge_threads=False)
        for record in sorted(records, key=lambda record: -record.size):
            python = record.stack_trace()
            inside = _inside(python, origin)
            if inside is None:
                continue
            trace = origin.inside(tuple((file, line) for _, file, line in inside))
            frames = record.native_stack_trace()
            if offsets is not None:
                frames = offsets.named(frames, record.native_stack_id)
            native, between, unnamed, library = _native(frames)
            if not trace and not native:
                continue  # a thread that is being started or ended: nothing to name
            functions = tuple(function for function, _, _ in inside[: len(trace)])
            first = (0, 0, functions, record.thread_name or "", between, unnamed, library, ())
            count, size, *told, stacks = found.get((trace, native), first)
            stack = record.tid, record.stack_id, record.native_stack_id
            found[trace, native] = count + record.n_allocations, size + record.size, *told, (*stacks, stack)
    return found


def _inside(python: list[tuple[str, str, int]], origin: Origin) -> list[tuple[str, str, int]] | None:
    """The part of a stack inside the toolkit's call of the step; None where the toolkit itself allocated."""
    for index, (_function, file, _line) in enumerate(python):
        if origin.own(file):
            return python[:index] if index and origin.calls_the_step(file) else None
    return python


class _Native(NamedTuple):
    """As in `Site`."""

    inner: tuple[NativeFrame, ...]
    between: tuple[NativeFrame, ...]
    unnamed: bool
    library: tuple[NativeFrame, ...]


def _native(frames: Iterable[tuple[str, str, int]]) -> _Native:
    """What is said of native frames: a frame that evaluates Python code lies between two lines."""
    inner: list[NativeFrame] = []
    library: list[NativeFrame] = []
    found, unnamed = inner, False
    for frame in map(NativeFrame._make, frames):
        if frame.function.startswith(EVALUATION):
            if found:
                break
            found = []
        elif not is_interpreter(frame):
            found.append(frame)
        elif found is inner:
            unnamed = unnamed or frame.function == UNRESOLVED
            library += [frame] if is_standard_module(frame) else []
    between = () if found is inner else tuple(found)
    return _Native(tuple(inner), between, unnamed, tuple(library))
