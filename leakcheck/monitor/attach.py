"""Attach memray to a running Python process for some seconds: what was allocated meanwhile, and stayed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leakcheck.diagnosis.fingerprint import of_frames
from leakcheck.diagnosis.frames import python_frame
from leakcheck.monitor.outside import may_trace
from leakcheck.records import Finding

_MOST = 10


def survivors(pid: int, seconds: float) -> tuple[list[Finding], str]:
    """Findings of a tracking window in another process, and why there are none; one of both is empty.

    Uses `memray attach`, which needs a debugger (gdb or lldb) and the right to trace the process, or a Python that
    takes remote code (3.14 and newer).
    """
    reason = may_trace(pid)
    if reason:
        return [], f"cannot attach to process {pid}: {reason}"
    with tempfile.TemporaryDirectory(prefix="leakcheck-attach-") as folder:
        capture = Path(folder, "capture.bin")
        command = [sys.executable, "-m", "memray", "attach", "--native", "--duration", str(max(1, round(seconds)))]
        try:
            done = subprocess.run(
                [*command, "-o", str(capture), str(pid)], capture_output=True, text=True, check=False, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], f"memray could not attach to process {pid}: {error}"
        if done.returncode:
            told = (done.stderr or done.stdout).strip().splitlines()
            return [], f"memray could not attach to process {pid}: {told[-1] if told else 'it did not say why'}"
        time.sleep(seconds + 1)
        return read(capture, seconds)


def read(capture: Path, seconds: float) -> tuple[list[Finding], str]:
    """The places of a capture whose allocations were not freed, those with most bytes first."""
    import memray

    sites: dict[tuple[tuple[str, int, str], ...], list[int]] = {}
    try:
        with memray.FileReader(capture) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                stack = tuple((file, line, name) for name, file, line in record.stack_trace())
                if stack:
                    site = sites.setdefault(stack, [0, 0])
                    site[0] += record.n_allocations
                    site[1] += record.size
    except (OSError, ValueError) as error:
        return [], f"memray's capture cannot be read: {error}"
    largest = sorted(sites.items(), key=lambda item: -item[1][1])[:_MOST]
    findings = []
    for stack, (count, size) in largest:
        frames = [python_frame(file, line, name) for file, line, name in stack]
        place = next((frame for frame in frames if frame.user), frames[0])
        findings.append(
            Finding(
                kind="allocation",
                fingerprint=of_frames("allocation", frames),
                title=(
                    f"{size:,} bytes in {count:,} allocations of {seconds:.0f} s were not freed in that time: "
                    f"{place.function} at {place.file}:{place.line}"
                ),
                bytes_per_iteration=size / seconds,
                count_per_iteration=count / seconds,
                meter="rss",
                stack=frames,
                source="memray",
            )
        )
    return findings, "" if findings else f"nothing that was allocated in {seconds:.0f} s stayed"
