"""Interpreters that are measured from another one: what they take their objects from."""

from __future__ import annotations

import stat
import sys

import pytest

from leakcheck.execution import interpreter
from leakcheck.execution.allocators import foreign
from leakcheck.execution.environment import worker_environment
from leakcheck.execution.interpreter import allocator_in


@pytest.fixture(autouse=True)
def _ask_anew():
    interpreter._is_free_threaded.cache_clear()
    yield
    interpreter._is_free_threaded.cache_clear()


@pytest.mark.parametrize(("flags", "expected"), [("", "malloc"), ("t", "mimalloc"), ("d", "malloc")])
def test_a_free_threaded_build_is_never_told_to_take_its_objects_from_malloc(tmp_path, flags, expected):
    """It would not start: "unknown allocator"."""
    named = tmp_path / "python"
    named.write_text(f"#!{sys.executable} -IS\nimport sys\nsys.abiflags = {flags!r}\nexec(sys.argv[-1])\n")
    named.chmod(named.stat().st_mode | stat.S_IXUSR)
    allocator = allocator_in(str(named), "malloc")
    assert allocator == expected
    assert worker_environment(allocator, "/tmp", {})["PYTHONMALLOC"] == expected


def test_this_interpreter_is_not_asked(monkeypatch):
    monkeypatch.setattr(sys, "abiflags", "t")
    assert allocator_in(sys.executable, "malloc") == "mimalloc"


def test_an_interpreter_that_does_not_start_is_left_to_say_so_where_it_is_started(tmp_path):
    assert allocator_in(str(tmp_path / "none"), "pymalloc") == "pymalloc"


def test_the_allocator_inside_of_the_interpreters_own_library_is_no_foreign_one(tmp_path):
    for name in ("libpython3.13.so.1.0", "libarrow.so"):
        (tmp_path / name).write_bytes(b"...mimalloc: error...")
    assert foreign([str(tmp_path / "libpython3.13.so.1.0")]) == []
    assert foreign([str(tmp_path / "libarrow.so")]) == ["mimalloc in libarrow.so"]
