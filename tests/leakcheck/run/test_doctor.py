"""`elkyn-leakcheck doctor`: what works here, said in a way that helps."""

from __future__ import annotations

import struct
import sys

import pytest
from click.testing import CliRunner

from leakcheck.cli import main
from leakcheck.cli.doctor import command
from leakcheck.run import doctor
from leakcheck.run.doctor import elf_sections, examine


def test_on_this_machine_verdicts_can_be_trusted(tmp_path):
    checks = {check.name: check for check in examine(sys.executable, "malloc", tmp_path)}
    assert [check for check in checks.values() if check.state == "failed"] == []
    assert checks["control"].state == "ok"
    assert checks["allocator"].found.startswith("malloc, exact ledger heap.bytes")
    assert {"interpreter", "meters", "memray", "valgrind", "debug symbols", "ptrace", "pictures"} <= checks.keys()


def test_an_interpreter_that_does_not_start_fails_with_the_way_out():
    told = CliRunner().invoke(command, ["--python", "/nonexistent/python"], standalone_mode=False)
    assert told.return_value == main.EXIT_INTERNAL
    assert "Verdicts cannot be trusted here: interpreter." in told.output
    assert "--python" in told.output


def test_what_is_missing_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(doctor.provenance, "valgrind_version", lambda: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    assert doctor._valgrind().state == "missing"
    assert "install the system package `valgrind`" in doctor._valgrind().advice
    assert "graphviz" in doctor._pictures().advice
    assert doctor._browser().state == "missing"


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
    assert elf_sections(elf(".text", ".debug_info")) == {".text", ".debug_info", ".shstrtab"}


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", elf(".text")[:80], b"\x7fELF\x02\x01" + b"\xff" * 100])
def test_a_file_that_is_no_program_is_refused(content):
    with pytest.raises(ValueError, match="ELF"):
        elf_sections(content)
