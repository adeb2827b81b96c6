"""Runs the step under valgrind's memcheck with N and with 2N iterations and keeps the loss records that scale.

No list of known losses is needed: what an interpreter loses at its end is lost once, whatever the number of iterations.
Memory that Python still refers to at its end is no loss; other means see that.
"""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from leakcheck.diagnosis.frames import EVALUATION, UNKNOWN, NativeFrame, is_interpreter
from leakcheck.diagnosis.plan import ToolMissing
from leakcheck.execution.worker import Worker

INSTALL_HINT = "valgrind is not installed: apt install valgrind, dnf install valgrind, or see https://valgrind.org"
LossKind = Literal["definitely lost", "indirectly lost", "possibly lost"]
_KINDS: dict[str, LossKind] = {
    "Leak_DefinitelyLost": "definitely lost",
    "Leak_IndirectlyLost": "indirectly lost",
    "Leak_PossiblyLost": "possibly lost",
}


class Loss(NamedTuple):
    """A stack whose lost blocks grow with the iterations."""

    frames: tuple[NativeFrame, ...]
    """The innermost first, up to where Python code is evaluated, without the interpreter's own."""
    objects: tuple[str, ...]
    """The shared object of each frame."""
    kind: LossKind
    blocks: float
    bytes: float


_Losses = dict[tuple[tuple[NativeFrame, ...], tuple[str, ...], LossKind], tuple[int, int]]
"""Blocks and bytes by frames, shared objects and kind."""


class Report(NamedTuple):
    """What one run under valgrind lost, by stack without addresses, and how many records were suppressed."""

    losses: _Losses
    suppressed: int


def run_valgrind(
    counts: tuple[int, int],
    suppressions: Sequence[Path],
    directory: Path,
    start_worker: Callable[..., Worker],
) -> tuple[list[Loss], int]:
    """The losses that scale, and how many records were suppressed. Raises `ToolMissing` and `WorkerFailed`."""
    program = shutil.which("valgrind")
    if program is None:
        raise ToolMissing(INSTALL_HINT)

    def one(count: int) -> Report:
        report = directory / f"valgrind-{count}.xml"
        command = [program, *_options(report, suppressions)]
        with start_worker(wrapper=command) as worker:
            worker.open()
            worker.run(count)
            worker.close()
            worker.wait()
        return read_report(report)

    with ThreadPoolExecutor(2, thread_name_prefix="valgrind") as pool:
        short, long = pool.map(one, counts)
    return scaling(short, long, counts), long.suppressed


def _options(report: Path, suppressions: Sequence[Path]) -> list[str]:
    return [
        "--tool=memcheck", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible",
        "--errors-for-leak-kinds=definite,indirect,possible", "--undef-value-errors=no", "--num-callers=50",
        "--keep-debuginfo=yes", "--child-silent-after-fork=yes", "--error-limit=no",
        "--xml=yes", f"--xml-file={report}",
        *(f"--suppressions={path}" for path in suppressions),
    ]  # fmt: skip


def read_report(path: Path) -> Report:
    """Read valgrind's XML. A file that was cut off (the child was killed) counts as far as it goes."""
    losses: _Losses = {}
    suppressed = 0
    try:
        for _, element in ET.iterparse(path):  # noqa: S314 - written by valgrind a moment ago, into our own folder
            if element.tag == "error":
                _add(element, losses)
                element.clear()
            elif element.tag == "suppcounts":
                suppressed = sum(int(pair.findtext("count", "0")) for pair in element.iter("pair"))
    except (ET.ParseError, FileNotFoundError):
        pass
    return Report(losses, suppressed)


def _add(error: ET.Element, losses: _Losses) -> None:
    kind = _KINDS.get(error.findtext("kind", ""))
    stack = error.find("stack")
    if kind is None or stack is None:
        return
    frames, objects = _frames(stack)
    size = int(error.findtext("xwhat/leakedbytes", "0"))
    blocks = int(error.findtext("xwhat/leakedblocks", "0"))
    count_before, size_before = losses.get((frames, objects, kind), (0, 0))
    losses[frames, objects, kind] = (count_before + blocks, size_before + size)


def _frames(stack: ET.Element) -> tuple[tuple[NativeFrame, ...], tuple[str, ...]]:
    frames: list[NativeFrame] = []
    objects: list[str] = []
    for frame in stack.iter("frame"):
        function = frame.findtext("fn", UNKNOWN)
        if function.startswith(EVALUATION):
            break
        folder, name = frame.findtext("dir", ""), frame.findtext("file", "")
        native = NativeFrame(
            function, f"{folder}/{name}" if folder and name else name, int(frame.findtext("line", "0"))
        )
        shared_object = frame.findtext("obj", "")
        if "/vgpreload_" in shared_object or (function != UNKNOWN and is_interpreter(native)):
            continue
        if function == UNKNOWN and "/lib" not in shared_object and ".so" not in shared_object:
            continue
        frames.append(native)
        objects.append(shared_object)
    return tuple(frames), tuple(objects)


def scaling(short: Report, long: Report, counts: tuple[int, int]) -> list[Loss]:
    """The losses of the longer run whose blocks per further iteration are about those per iteration."""
    found = []
    few, many = counts
    for (frames, objects, kind), (blocks, size) in long.losses.items():
        blocks_before, size_before = short.losses.get((frames, objects, kind), (0, 0))
        more, more_bytes = blocks - blocks_before, size - size_before
        rate = more / (many - few)
        if blocks_before < 1 or more < 2 or not 0.5 <= rate * few / blocks_before <= 2:
            continue
        found.append(Loss(frames, objects, kind, rate, more_bytes / (many - few)))
    return sorted(found, key=lambda loss: -loss.bytes)
