"""`elkyn-leakcheck doctor`: what works here, said in a way that helps."""

from __future__ import annotations

import sys

from click.testing import CliRunner

from leakcheck.cli import main
from leakcheck.cli.doctor import command
from leakcheck.run import doctor
from leakcheck.run.doctor import examine


def test_on_this_machine_verdicts_can_be_trusted(tmp_path):
    checks = {check.name: check for check in examine(sys.executable, "malloc", tmp_path)}
    assert [check for check in checks.values() if check.state == "failed"] == []
    assert checks["control"].state == "ok"
    assert checks["allocator"].found.startswith("malloc, exact ledger heap.bytes")
    assert {
        "interpreter",
        "exact meters",
        "page meters",
        "memray",
        "valgrind",
        "debug symbols",
        "ptrace",
        "pictures",
    } <= checks.keys()


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
