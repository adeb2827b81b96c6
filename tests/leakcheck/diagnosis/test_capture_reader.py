"""Captures are read in a process of their own: what memray learns of symbols is not kept in ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.agent.inquiry import Capture
from leakcheck.agent.origin import HERE
from leakcheck.diagnosis.capture_reader import CaptureReader

CAPTURED = """
import sys, memray
kept = []
for count, path in zip((50, 100), sys.argv[1:]):
    with memray.Tracker(path, native_traces=True):
        kept += [bytearray(1000) for _ in range(count)]
"""


def captured(folder: Path) -> list[Capture]:
    """Two captures that a process of its own makes, as one of them is for each diagnosis."""
    paths = [str(folder / name) for name in ("short.bin", "long.bin")]
    subprocess.run([sys.executable, "-c", CAPTURED, *paths], check=True, timeout=60)
    return [Capture(path, count, 1.0) for path, count in zip(paths, (50, 100), strict=True)]


def resident_kib() -> int:
    return next(int(row.split()[1]) for row in Path("/proc/self/status").open() if row.startswith("VmRSS"))


def test_what_scales_is_told_and_nothing_of_it_stays(tmp_path: Path) -> None:
    before = resident_kib()
    with CaptureReader() as reader:
        found = reader.read(captured(tmp_path), HERE.roots)
    assert resident_kib() - before < 10 << 10
    largest = max(found.sites, key=lambda site: site.bytes)
    assert 1000 <= largest.bytes < 1100
    assert len([size for key, size in found.blocks.values() if key in found.sites[largest]]) == 100


def test_a_capture_that_is_none_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "none.bin").write_bytes(b"nothing of memray's")
    with CaptureReader() as reader, pytest.raises(OSError, match="does not look like"):
        reader.read([Capture(str(tmp_path / "none.bin"), 1, 1.0)] * 2, HERE.roots)


def test_a_reader_that_dies_is_told(tmp_path: Path) -> None:
    with CaptureReader() as reader:
        reader._process.kill()
        reader._process.wait(timeout=60)
        with pytest.raises(OSError, match="ended with exit code -9"):
            reader.read([Capture(str(tmp_path / "none.bin"), 1, 1.0)] * 2, HERE.roots)
