"""Reading what valgrind and memray report: what scales stays, what does not is dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakcheck.diagnosis.frames import python_frame, readable
from leakcheck.diagnosis.memray import NativeFrame, is_interpreter
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


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        ("__pyx_pf_6pyproj_4_crs_4_CRS_10list_authority", "pyproj._crs._CRS.list_authority"),
        ("__pyx_f_7fastmod_4core_push", "fastmod.core.push"),
        ("serde::parse::h0123456789abcdef", "serde::parse"),
        ("plain_c_function", "plain_c_function"),
    ],
)
def test_generated_names_are_shown_as_their_author_wrote_them(function: str, shown: str) -> None:
    assert readable(function) == shown


@pytest.mark.parametrize(
    ("frame", "interpreter"),
    [
        (NativeFrame("list_append", "Objects/listobject.c", 862), True),
        (NativeFrame("PyBytes_FromStringAndSize", "", 0), True),
        (NativeFrame("task_step_impl", "/build/Python-3.11.7/Modules/_asynciomodule.c", 9), True),
        (NativeFrame("cursor_get_multi", "lmdb/cpython.c", 2271), False),
        (NativeFrame("createStringObject", "src/reader.c", 97), False),
    ],
)
def test_the_interpreters_own_frames_say_nothing(frame: NativeFrame, interpreter: bool) -> None:
    assert is_interpreter(frame) is interpreter


def test_a_frame_has_the_qualified_name_and_the_source_around_it(tmp_path: Path) -> None:
    file = tmp_path / "hub.py"
    file.write_text("class Hub:\n    def on(self, listener):\n        self.listeners.append(listener)\n\n\nHub()\n")
    frame = python_frame(str(file), 3)
    assert frame.function == "Hub.on"
    assert frame.source == "self.listeners.append(listener)"
    assert frame.context[0] == "class Hub:"
    assert frame.user
    assert not python_frame("/usr/lib/python3.11/threading.py", 5).user
    assert not python_frame("/venv/lib/python3.11/site-packages/x/y.py", 5).user
