"""Runs the step under valgrind's memcheck and keeps the loss records that grow by as much with each stretch of calls.

The process is asked while it lives, through valgrind's debugging server: what is lost once, while modules are imported
or an interpreter ends, is in no answer. Memory that Python still refers to is no loss; other means see that.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from leakcheck.diagnosis.frames import EVALUATION, UNKNOWN, NativeFrame, is_interpreter
from leakcheck.diagnosis.plan import ToolMissing
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.worker import Worker
from leakcheck.records import Failure

INSTALL_HINT = "valgrind is not installed: apt install valgrind, dnf install valgrind, or see https://valgrind.org"
_SEARCH_S = 60
"""Seconds that a search for lost blocks may take: one takes about a second in each half gigabyte."""
_CALLS_THE_STEP = "leakcheck_run"
"""Of leakcheck.h: what a native program has above the step is none of that."""
_KINDS = ("definitely lost", "indirectly lost", "possibly lost")
_NUMBER = r"([\d,]+)(?: \(\+([\d,]+)\))?"
_RECORD = re.compile(
    rf"{_NUMBER}(?: \({_NUMBER} direct, {_NUMBER} indirect\))? bytes in {_NUMBER} blocks are (\w+ lost) in loss record"
)
"""`1,540 (+770) bytes in 20 (+10) blocks are definitely lost in loss record 3 of 9`; of these, some may be indirect."""
_FRAME = re.compile(r"(?:at|by) 0x([0-9A-F]+): (.+) \((?:in (.+)|(.+):(\d+))\)")
_SUPPRESSED = re.compile(rf"suppressed: {_NUMBER} bytes in {_NUMBER} blocks")
_PREFIX = re.compile(r"^==\d+== ?")


class Loss(NamedTuple):
    """A stack whose lost blocks grow with the iterations."""

    frames: tuple[NativeFrame, ...]
    """The innermost first, up to where Python code is evaluated, without the interpreter's own."""
    objects: tuple[str, ...]
    """The shared object of each frame."""
    kind: str
    """`definitely lost`, `indirectly lost` or `possibly lost`."""
    blocks: float
    bytes: float


_Losses = Mapping[tuple[tuple[NativeFrame, ...], tuple[str, ...], str], tuple[int, int]]
"""Blocks and bytes by frames, shared objects and kind."""


class Report(NamedTuple):
    """What one stretch lost, by stack without addresses, and how many blocks were suppressed."""

    losses: _Losses
    suppressed: int


def run_valgrind(
    count: int,
    suppressions: Sequence[Path],
    directory: Path,
    start_worker: Callable[..., Worker],
) -> tuple[list[Loss], int]:
    """What two stretches of `count` iterations lose alike, and how many blocks of the second were suppressed.

    Raises `ToolMissing` and `WorkerFailed`.
    """
    program, server = shutil.which("valgrind"), shutil.which("vgdb")
    if program is None or server is None:
        raise ToolMissing(INSTALL_HINT)
    prefix = f"--vgdb-prefix={directory}/vgdb"
    with start_worker(wrapper=[program, prefix, *_options(suppressions)]) as worker:
        ask = [server, prefix, f"--pid={worker.pid}", "leak_check"]
        try:
            worker.open()
        except WorkerFailed as failed:
            raise _not_begun(failed) from None
        _search([*ask, "summary", "any"])
        told = []
        for _ in range(2):
            worker.run(count)
            told.append(_search([*ask, "full", "possibleleak", "increased", "unlimited"]))
        where = Mappings(Path(f"/proc/{worker.pid}/maps").read_text())
        worker.close()
        worker.wait()
    first, second = (read_report(text, where) for text in told)
    return scaling(first, second, count), second.suppressed


def _options(suppressions: Sequence[Path]) -> list[str]:
    return [
        "--tool=memcheck", "--leak-check=no", "--undef-value-errors=no", "--num-callers=50", "--keep-debuginfo=yes",
        "--child-silent-after-fork=yes", "--error-limit=no", "--fullpath-after=", "--quiet",
        *(f"--suppressions={path}" for path in suppressions),
    ]  # fmt: skip


def _search(command: Sequence[str]) -> str:
    """Have the process search its memory for lost blocks; return what it says of them."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=_SEARCH_S)
    except subprocess.TimeoutExpired:
        raise _no_answer(f"no answer within {_SEARCH_S} s") from None
    if done.returncode:
        raise _no_answer(" ".join(done.stderr.split()[-20:]))
    return done.stdout


_SUPPRESSIONS = re.compile(r'FATAL: in suppressions file "(?P<file>.+)" near line (?P<line>\d+)')
"""Valgrind's last words where it cannot read one."""


def _not_begun(failed: WorkerFailed) -> WorkerFailed:
    """Why the process has not come so far as to be measured: a file of suppressions, or what it says itself."""
    if (found := _SUPPRESSIONS.search(failed.whole.output)) is None:
        return failed
    message = f"valgrind cannot read {found['file']}, near line {found['line']}"
    return WorkerFailed(Failure(type="suppressions", message=message))


def _no_answer(reason: str) -> WorkerFailed:
    return WorkerFailed(Failure(type="vgdb", message=f"the process under valgrind cannot be asked: {reason}"))


class Mappings:
    """Which file is mapped at an address, as `/proc/PID/maps` has it."""

    def __init__(self, maps: str) -> None:
        rows = [row.split(maxsplit=5) for row in maps.splitlines()]
        files = [(row[0].split("-"), row[5]) for row in rows if len(row) == 6 and row[5].startswith("/")]
        self._ranges = sorted((int(start, 16), int(end, 16), file) for (start, end), file in files)

    def file_at(self, address: int) -> str:
        """The file; empty where there is none."""
        at = bisect_right(self._ranges, address, key=lambda each: each[0]) - 1
        return self._ranges[at][2] if at >= 0 and address < self._ranges[at][1] else ""


def read_report(text: str, where: Mappings) -> Report:
    """Read what valgrind's debugging server says of a search. An answer that was cut off counts as far as it goes."""
    losses: dict[tuple[tuple[NativeFrame, ...], tuple[str, ...], str], tuple[int, int]] = {}
    suppressed = 0
    for paragraph in "\n".join(_PREFIX.sub("", row) for row in text.splitlines()).split("\n\n"):
        if record := _RECORD.search(paragraph):
            size, blocks, kind = _more(record, 3 if record[3] else 1), _more(record, 7), record[9]
            frames, objects = _frames(paragraph, where)
            if kind in _KINDS:
                blocks_before, size_before = losses.get((frames, objects, kind), (0, 0))
                losses[frames, objects, kind] = (blocks_before + blocks, size_before + size)
        elif told := _SUPPRESSED.search(paragraph):
            suppressed = _more(told, 3)
    return Report(losses, suppressed)


def _more(match: re.Match[str], group: int) -> int:
    """By how much a number has grown that may be followed by its growth."""
    return int((match[group + 1] or "0").replace(",", ""))


def _frames(record: str, where: Mappings) -> tuple[tuple[NativeFrame, ...], tuple[str, ...]]:
    frames: list[NativeFrame] = []
    objects: list[str] = []
    for address, function, file, source, line in _FRAME.findall(record):
        if function.startswith((*EVALUATION, _CALLS_THE_STEP)):
            break
        native = NativeFrame(function, source, int(line or 0))
        shared_object = file or where.file_at(int(address, 16))
        if "/vgpreload_" in shared_object or (function != UNKNOWN and is_interpreter(native)):
            continue
        if function == UNKNOWN and "/lib" not in shared_object and ".so" not in shared_object:
            continue
        frames.append(native)
        objects.append(shared_object)
    return tuple(frames), tuple(objects)


def scaling(first: Report, second: Report, count: int) -> list[Loss]:
    """The losses of which the second of two stretches of `count` iterations has about as many as the first."""
    found = []
    for (frames, objects, kind), (blocks, size) in second.losses.items():
        before, _ = first.losses.get((frames, objects, kind), (0, 0))
        if before < 1 or blocks < 2 or not 0.5 <= blocks / before <= 2:
            continue
        found.append(Loss(frames, objects, kind, blocks / count, size / count))
    return sorted(found, key=lambda loss: -loss.bytes)
