"""Reading what valgrind reports: what scales stays, what does not is dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakcheck.diagnosis.frames import NativeFrame
from leakcheck.diagnosis.valgrind import Report, read_report, scaling

ERROR = """
<error><kind>Leak_DefinitelyLost</kind>
<xwhat><text>lost</text><leakedbytes>{size}</leakedbytes><leakedblocks>{blocks}</leakedblocks></xwhat>
<stack>
<frame><ip>0x{ip}</ip><obj>/usr/lib/vgpreload_memcheck.so</obj><fn>malloc</fn></frame>
<frame><ip>0x{ip}</ip><obj>/lib/extension.so</obj><fn>make_key</fn><dir>/src</dir><file>key.c</file><line>12</line></frame>
<frame><ip>0x{ip}</ip><obj>/usr/bin/python3</obj><fn>_PyEval_EvalFrameDefault</fn></frame>
<frame><ip>0x{ip}</ip><obj>/usr/bin/python3</obj><fn>main</fn></frame>
</stack></error>
"""


def report(path: Path, *errors: tuple[int, int, str], suppressed: int = 0, end: str = "</valgrindoutput>") -> Path:
    text = "".join(ERROR.format(blocks=blocks, size=size, ip=ip) for blocks, size, ip in errors)
    counts = f"<suppcounts><pair><count>{suppressed}</count><name>mine</name></pair></suppcounts>"
    path.write_text(f"<?xml version='1.0'?><valgrindoutput>{text}{counts}{end}")
    return path


def test_a_record_is_read_without_addresses_and_without_the_interpreters_frames(tmp_path: Path) -> None:
    read = read_report(report(tmp_path / "a.xml", (3, 300, "AB"), (4, 400, "CD"), suppressed=7))
    assert read.suppressed == 7
    [((frames, objects, kind), amount)] = read.losses.items()
    assert frames == (NativeFrame("make_key", "/src/key.c", 12),)
    assert objects == ("/lib/extension.so",)
    assert kind == "definitely lost"
    assert amount == (7, 700)


def test_a_report_that_was_cut_off_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    assert len(read_report(report(tmp_path / "a.xml", (3, 300, "AB"), end="<error>")).losses) == 1
    assert read_report(tmp_path / "missing.xml") == Report({}, 0)


@pytest.mark.parametrize(
    ("few", "many", "expected"),
    [
        ((31, 3100), (62, 6200), [1.0]),
        ((10, 1000), (10, 1000), []),  # lost once, whatever the number of iterations
        ((0, 0), (31, 3100), []),  # came late
        ((1, 100), (31, 3100), []),
    ],
)
def test_only_what_grows_with_the_iterations_is_a_loss(
    few: tuple[int, int], many: tuple[int, int], expected: list[float]
) -> None:
    key = ((NativeFrame("make_key", "/src/key.c", 12),), ("/lib/extension.so",), "definitely lost")
    found = scaling(Report({key: few} if few[0] else {}, 0), Report({key: many}, 0), (31, 62))
    assert [loss.blocks for loss in found] == expected
