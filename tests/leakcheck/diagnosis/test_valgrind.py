"""Reading what valgrind reports: what scales stays, what does not is dropped."""

from __future__ import annotations

import pytest

from leakcheck.diagnosis.frames import NativeFrame
from leakcheck.diagnosis.valgrind import Mappings, Report, read_report, scaling

RECORD = """
==7== {size} bytes in {blocks} blocks are {kind} in loss record 5 of 9
==7==    at 0x48417B4: malloc (in /usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so)
==7==    by 0x5966F79: make(int, char*) (/src/key.c:12)
==7==    by 0x5966FFF: ??? (in /lib/extension.so)
==7==    by 0x49AA61C: _PyEval_EvalFrameDefault (Python/ceval.c:4769)
==7==    by 0x4E3D249: (below main) (csu/../sysdeps/nptl/libc_start_call_main.h:58)
==7==
"""
SUMMARY = """
==7== LEAK SUMMARY:
==7==    definitely lost: 5,800 (+0) bytes in 46 (+0) blocks
==7==         suppressed: 6,976 (+70) bytes in 58 (+7) blocks
==7==
"""
WHERE = Mappings("""
048e0000-04ae0000 r-xp 00000000 00:2d 11 /usr/bin/python3
05960000-05968000 r-xp 00000000 00:2d 12 /lib/extension.so
05970000-05978000 rw-p 00000000 00:00 0
""")
STACK = (NativeFrame("make(int, char*)", "/src/key.c", 12), NativeFrame("???", "", 0))
OBJECTS = ("/lib/extension.so", "/lib/extension.so")


def record(size: str, blocks: str, kind: str = "definitely lost") -> str:
    return RECORD.format(size=size, blocks=blocks, kind=kind)


def test_a_record_is_read_without_addresses_and_without_the_interpreters_frames() -> None:
    text = record("1,300 (+300)", "13 (+3)") + record("2,400 (+2,400)", "4 (+4)") + SUMMARY
    read = read_report(text, WHERE)
    assert read.suppressed == 7
    assert read.losses == {(STACK, OBJECTS, "definitely lost"): (7, 2700)}


def test_what_is_lost_with_a_block_is_counted_where_it_is_told_itself() -> None:
    both = record("1,016 (+508) (16 (+8) direct, 1,000 (+500) indirect)", "2 (+1)")
    read = read_report(both + record("1,000 (+500)", "2 (+1)", "indirectly lost"), WHERE)
    assert {kind: amount for (_, _, kind), amount in read.losses.items()} == {
        "definitely lost": (1, 8),
        "indirectly lost": (1, 500),
    }


def test_a_report_that_was_cut_off_counts_as_far_as_it_goes() -> None:
    assert len(read_report(record("30 (+30)", "3 (+3)") + "==7== 20 (+2", WHERE).losses) == 1
    assert read_report("", WHERE) == Report({}, 0)


def test_a_place_in_no_file_has_none() -> None:
    assert [WHERE.file_at(address) for address in (0x1000, 0x5966F79, 0x5968000, 0x5970010)] == [
        "", "/lib/extension.so", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((31, 3100), (31, 3100), [1.0]),
        ((10, 1000), (0, 0), []),  # lost once, whatever the number of iterations
        ((0, 0), (31, 3100), []),  # came late
        ((1, 100), (31, 3100), []),
    ],
)
def test_only_what_grows_with_the_iterations_is_a_loss(
    first: tuple[int, int], second: tuple[int, int], expected: list[float]
) -> None:
    key = (STACK, OBJECTS, "definitely lost")
    found = scaling(Report({key: first}, 0), Report({key: second}, 0), 31)
    assert [loss.blocks for loss in found] == expected
