"""Runs the step under valgrind's memcheck with N and with 2N iterations and keeps the loss records that scale.

No list of known losses is needed: what an interpreter loses at its end is lost once, whatever the number of iterations.
Memory that Python still refers to at its end is no loss; other means see that.
"""

from __future__ import annotations

import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from leakcheck.diagnosis.memray import NativeFrame, is_interpreter
from leakcheck.execution.job import Job
from leakcheck.execution.worker import Worker
from leakcheck.records import ToolRun

INSTALL_HINT = "valgrind is not installed: apt install valgrind, dnf install valgrind, or see https://valgrind.org"
_KINDS = {
    "Leak_DefinitelyLost": "definitely lost",
    "Leak_IndirectlyLost": "indirectly lost",
    "Leak_PossiblyLost": "possibly lost",
}
_EVALUATION = ("_PyEval_", "PyEval_")


class Loss(NamedTuple):
    """A stack whose lost blocks grow with the iterations."""

    frames: tuple[NativeFrame, ...]
    """The innermost first, up to where Python code is evaluated, without the interpreter's own."""
    objects: tuple[str, ...]
    """The shared object of each frame."""
    kind: str
    blocks: float
    bytes: float


class Report(NamedTuple):
    """What one run under valgrind lost, by stack without addresses, and how many records were suppressed."""

    losses: dict[tuple[tuple[NativeFrame, ...], tuple[str, ...], str], tuple[int, int]]
    suppressed: int


def run_valgrind(
    job: Job,
    counts: tuple[int, int],
    suppressions: Sequence[Path],
    directory: Path,
    timeout: float,
    start_worker: Callable[..., Worker],
) -> tuple[list[Loss], int, ToolRun]:
    """The losses that scale, how many records were suppressed, and what to say of the run. Raises `WorkerFailed`."""
    program = shutil.which("valgrind")
    if program is None:
        return [], 0, ToolRun(name="valgrind", status="skipped", reason=INSTALL_HINT)
    began = time.monotonic()

    def one(count: int) -> Report:
        report = directory / f"valgrind-{count}.xml"
        command = [program, *_options(report, suppressions)]
        with start_worker(job, wrapper=command) as worker:
            worker.open(timeout)
            worker.run(count, timeout)
            worker.close(timeout)
            worker.wait(timeout)
        return read_report(report)

    with ThreadPoolExecutor(2, thread_name_prefix="valgrind") as pool:
        short, long = pool.map(one, counts)
    seconds = round(time.monotonic() - began, 3)
    return scaling(short, long, counts), long.suppressed, ToolRun(name="valgrind", status="ok", duration_s=seconds)


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
    losses: dict[tuple[tuple[NativeFrame, ...], tuple[str, ...], str], tuple[int, int]] = {}
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


def _add(
    error: ET.Element, losses: dict[tuple[tuple[NativeFrame, ...], tuple[str, ...], str], tuple[int, int]]
) -> None:
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
        function = frame.findtext("fn", "???")
        if function.startswith(_EVALUATION):
            break
        folder, name = frame.findtext("dir", ""), frame.findtext("file", "")
        native = NativeFrame(
            function, f"{folder}/{name}" if folder and name else name, int(frame.findtext("line", "0"))
        )
        shared_object = frame.findtext("obj", "")
        if "/vgpreload_" in shared_object or (function != "???" and is_interpreter(native)):
            continue
        if function == "???" and "/lib" not in shared_object and ".so" not in shared_object:
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
