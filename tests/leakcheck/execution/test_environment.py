"""The user's environment reaches the measured process, but for what would move a reading; that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.execution.environment import left_out, worker_environment

SCENARIO = """
import os, warnings
from leakcheck import scenario

@scenario
def tells():
    assert "glibc.malloc.hugetlb=0" in os.environ["GLIBC_TUNABLES"]
    assert os.environ.get("LD_PRELOAD", "").endswith(PRELOADED)
    try:
        warnings.warn("the user's own")
    except UserWarning:
        return
    raise RuntimeError("the user's options were not honoured")
"""


def of(**base: str) -> dict[str, str]:
    return worker_environment("malloc", "/tmp", base)


def test_tunables_are_merged_and_ours_have_the_last_word():
    merged = of(GLIBC_TUNABLES="glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=7")["GLIBC_TUNABLES"].split(":")
    assert merged[0] == "glibc.malloc.hugetlb=1"
    assert merged.count("glibc.malloc.tcache_count=0") == 1
    assert not any(each.endswith("tcache_count=7") for each in merged)


def test_a_tunable_that_is_not_honoured_is_named_with_the_reason():
    (said,) = left_out({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=7"})
    assert said.startswith("GLIBC_TUNABLES: glibc.malloc.tcache_count is 0 in the measured process")
    assert "\n" not in said


def test_malloc_has_one_arena_or_those_of_the_users_program():
    given = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4", "MALLOC_ARENA_MAX": "4"}
    one, default = worker_environment("malloc", "/tmp", given), worker_environment("malloc", "/tmp", given, "default")
    assert ("glibc.malloc.arena_max=1" in one["GLIBC_TUNABLES"], one["MALLOC_ARENA_MAX"]) == (True, "1")
    assert default["GLIBC_TUNABLES"].startswith("glibc.malloc.arena_max=4:")
    assert default["MALLOC_ARENA_MAX"] == "4"
    assert "arena_max" not in worker_environment("malloc", "/tmp", {}, "default")["GLIBC_TUNABLES"]
    assert len([*left_out(given)]) == 2
    assert [*left_out(given, "default")] == []


@pytest.mark.parametrize("library", ["libjemalloc.so.2", "/usr/lib/libmimalloc.so", "/opt/libtcmalloc_minimal.so.4"])
def test_a_preloaded_allocator_is_left_out_and_named(library):
    base = {"LD_PRELOAD": f"/usr/lib/libfaketime.so {library}"}
    assert of(**base)["LD_PRELOAD"] == "/usr/lib/libfaketime.so"
    (said,) = left_out(base)
    assert any(f"({name}) is left out" in said for name in ("jemalloc", "mimalloc", "tcmalloc"))


def test_an_allocator_of_another_name_is_known_by_what_it_defines():
    libc = next(row.split()[-1] for row in Path("/proc/self/maps").read_text().splitlines() if "libc.so" in row)
    assert "(an allocator) is left out" in next(left_out({"LD_PRELOAD": libc}))
    assert "LD_PRELOAD" not in of(LD_PRELOAD=libc)


def test_warnings_are_the_users():
    assert of(PYTHONWARNINGS="error")["PYTHONWARNINGS"] == "error"
    assert list(left_out({"PYTHONWARNINGS": "error", "PATH": "/bin"})) == []


def test_what_the_user_has_set_is_there_in_the_measured_process(tmp_path):
    library = next(row.split()[-1] for row in Path("/proc/self/maps").read_text().splitlines() if "libm.so" in row)
    (tmp_path / "tells.py").write_text(SCENARIO.replace("PRELOADED", repr(library)))
    done = subprocess.run(
        [sys.executable, "-m", "leakcheck", "run", "tells.py"], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, env={**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0:glibc.malloc.tcache_count=3",
                          "LD_PRELOAD": library, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "glibc.malloc.tcache_count is 0 in the measured process" in done.stdout


@pytest.mark.parametrize("name", ["jemalloc", "mimalloc", "tcmalloc"])
def test_a_run_under_another_allocator_is_measured_without_it_and_says_so(tmp_path, name):
    library = next(Path("/usr/lib").glob(f"**/lib{name}*.so*"), None)
    if library is None:
        pytest.skip(f"{name} is not installed: apt-get install libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4")
    (tmp_path / "keeps.py").write_text("kept = []\n\ndef main():\n    kept.append(bytearray(100))\n")
    done = subprocess.run(
        [sys.executable, "-m", "leakcheck", "run", "keeps.py", "--tools", "growth"], cwd=tmp_path, text=True,
        capture_output=True, timeout=120, env={**os.environ, "LD_PRELOAD": str(library)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"({name}) is left out of the measured process" in done.stdout
    assert "heap.bytes grows by" in done.stdout


def test_an_allocator_that_takes_malloc_by_another_way_is_named(tmp_path):
    """Blocks that glibc's ledger does not count are another's: one of a library that was there before it, say."""
    (tmp_path / "own.c").write_text(
        "#include <stddef.h>\nstatic char pool[1 << 24]; static size_t used;\n"
        "void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~15ul; return p; }\nvoid free(void *p) {}\n"
    )
    library = tmp_path / "libtakes.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-fno-builtin", "-o", library, tmp_path / "own.c"], check=True)
    code = (
        "import ctypes; from leakcheck.agent.meters import heap; real = ctypes.CDLL\n"
        f"class Both:\n def __init__(self): self.mallinfo2 = real(None).mallinfo2; own = real({str(library)!r}); "
        "self.malloc, self.free = own.malloc, own.free\n"
        "ctypes.CDLL = lambda _: Both()\n"
        "try: heap.malloc_ledger()\nexcept heap.Unavailable as why: print(why)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "memory comes from libtakes.so, whose ledger cannot be read\n"


def test_an_interpreter_with_an_entry_of_its_own_for_malloc_has_the_ledger(tmp_path):
    """As a program has that is not position independent: the address of `malloc` there is one of the program's."""
    (tmp_path / "own.c").write_text("#include <stdlib.h>\nvoid *through(size_t n) { return malloc(n); }\n")
    library = tmp_path / "libentry.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "own.c"], check=True)
    code = (
        "import ctypes; from leakcheck.agent.meters import heap; real = ctypes.CDLL\n"
        f"class Both:\n def __init__(self): self.mallinfo2, self.free = real(None).mallinfo2, real(None).free; "
        f"self.malloc = real({str(library)!r}).through\n"
        "ctypes.CDLL = lambda _: Both()\nprint(heap.malloc_ledger()[0]() > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
