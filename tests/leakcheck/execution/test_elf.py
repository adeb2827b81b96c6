"""What an ELF file says of itself."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from leakcheck.execution.elf import build_id, defines, functions, sections


def elf(*names: str) -> bytes:
    """A 64-bit ELF file with nothing but named sections."""
    table = b"\0" + b"".join(name.encode() + b"\0" for name in names) + b".shstrtab\0"
    positions = [table.index(name.encode()) for name in (*names, ".shstrtab")]
    headers = b"".join(
        struct.pack("<IIQQQQQQII", position, 3, 0, 0, 64, len(table), 0, 0, 0, 0) for position in positions
    )
    head = b"\x7fELF\x02\x01".ljust(0x28, b"\0") + struct.pack("<Q", 64 + len(table))
    head = head.ljust(0x3A, b"\0") + struct.pack("<HHH", 64, len(positions), len(positions) - 1)
    return head + table + headers


def test_sections_of_a_program_are_read():
    assert {each.name for each in sections(elf(".text", ".debug_info"))} == {".text", ".debug_info", ".shstrtab"}


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", elf(".text")[:80], b"\x7fELF\x02\x01" + b"\xff" * 100])
def test_a_file_that_is_no_program_is_refused(content):
    with pytest.raises(ValueError, match="ELF"):
        sections(content)


def test_a_library_defines_what_others_find_in_it(tmp_path):
    loaded = Path("/proc/self/maps").read_text().splitlines()
    libc = Path(next(row.split()[-1] for row in loaded if "libc.so" in row)).read_bytes()
    libm = Path(next(row.split()[-1] for row in loaded if "libm.so" in row)).read_bytes()
    assert defines(libc, b"malloc")
    assert not defines(libc, b"mallo")
    assert not defines(libm, b"malloc"), "it may use it, but it is not its own"


def test_a_build_is_known_by_what_the_linker_noted(tmp_path):
    (tmp_path / "f.c").write_text("int f(void) { return 1; }")
    for mark in ("0x00ff", "none"):
        file = tmp_path / f"{mark}.so"
        subprocess.run(["gcc", "-shared", f"-Wl,--build-id={mark}", "f.c", "-o", file.name], cwd=tmp_path, check=True)
        assert build_id(file.read_bytes()) == ("00ff" if mark != "none" else "")
        assert any(start < end for start, end in functions(file.read_bytes()))
