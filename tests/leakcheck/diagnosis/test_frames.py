"""From file and line, or from a native symbol, to a named frame."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leakcheck.agent.inquiry import Birth
from leakcheck.diagnosis.faults import Allocation, Fault, Pinned
from leakcheck.diagnosis.findings import finding_of
from leakcheck.diagnosis.frames import (
    NativeFrame,
    hands_on,
    is_interpreter,
    only_call,
    python_frame,
    readable,
    short_name,
)
from leakcheck.diagnosis.memray import Site

NODE = "std::__detail::_Hash_node<std::pair<std::string const, long>, true>"


@pytest.mark.parametrize(
    ("function", "short", "only_hands_on"),
    [
        ("make_key", "make_key", False),
        ("xstrdup", "xstrdup", True),
        ("Parser_new", "Parser_new", False),
        ("__pymethod___new____", "__pymethod___new____", False),
        ("Table::find(int) const", "Table::find", False),
        ("(anonymous namespace)::Table::add(int)", "(anonymous namespace)::Table::add", False),
        ("void Table<std::string>::add(std::string const&)", "Table::add", False),
        ("void std::vector<Point, std::allocator<Point> >::push_back(Point const&)", "std::vector::push_back", True),
        (f"std::allocator_traits<std::allocator<{NODE} > >::allocate(std::allocator<{NODE} >&, unsigned long)",
         "std::allocator_traits::allocate", True),
        ("operator new(unsigned long)", "operator new(unsigned long)", True),
        ("Table::operator<<(int)", "Table::operator<<(int)", False),
        ("alloc::raw_vec::RawVec<T,A>::grow_one", "alloc::raw_vec::RawVec::grow_one", True),
        ("<alloc::vec::Vec<T> as core::Clone>::clone", "<alloc::vec::Vec<T> as core::Clone>::clone", True),
        ("table::index::{{closure}}", "table::index::{{closure}}", False),
        ("an unknown function of libkey.so.1", "an unknown function of libkey.so.1", False),
    ],
)  # fmt: skip
def test_a_native_function_is_named_without_its_types(function: str, short: str, only_hands_on: bool) -> None:
    assert (short_name(function), hands_on(function, "")) == (short, only_hands_on)


def test_the_library_of_a_language_hands_on_whatever_its_function_is_called() -> None:
    assert hands_on("reserve", "/usr/include/c++/12/bits/stl_vector.h")
    assert not hands_on("reserve", "/src/c++/table.cpp")


def test_the_function_that_uses_a_standard_container_is_named_and_not_the_container() -> None:
    native = (
        NativeFrame(f"std::vector<{NODE}>::push_back({NODE} const&)", "/usr/include/c++/12/bits/stl_vector.h", 1281),
        NativeFrame("Table<long>::add(long)", "/src/table.cpp", 14),
        NativeFrame("lookup(_object*, _object*)", "/src/table.cpp", 40),
    )
    site = Site((), (), native, 1.0, 96.0)
    title = finding_of(Fault(detail=Allocation(), count=1.0, bytes=96.0, sites=(site,)), 96.0, "survivors").title
    assert title == (
        "leaks 1 block (96 B) per iteration: allocated by native Table::add (table.cpp:14), "
        "and nothing that Python knows of holds it"
    )


def test_native_code_that_called_the_function_where_an_object_is_born_stands_between_the_lines() -> None:
    inner, outer = ("/src/shapes.py", 8), ("/src/app.py", 3)
    area = (NativeFrame("area", "/src/_area.c", 4),)
    sites = (
        Site((inner, outer), ("size", "run"), (), 1.0, 96.0, between=area),
        Site((outer,), ("run",), (NativeFrame("area", "/src/_area.c", 12),), 2.0, 64.0),  # its elements
    )
    heads = (Birth((inner, outer), 1.0, 96.0),)
    fault = Fault(detail=Pinned(), count=1.0, bytes=160.0, type="list", heads=heads, sites=sites)
    finding = finding_of(fault, 160.0, "graph")
    assert [(frame.file.rpartition("/")[2], frame.line) for frame in finding.stack] == [
        ("shapes.py", 8),
        ("_area.c", 4),
        ("app.py", 3),
    ]
    assert "by native area (_area.c:4)" in finding.title


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        ("__pyx_pf_6pyproj_4_crs_4_CRS_10list_authority", "pyproj._crs._CRS.list_authority"),
        ("__pyx_f_7fastmod_4core_push", "fastmod.core.push"),
        ("serde::parse::h0123456789abcdef", "serde::parse"),
        ("plain_c_function", "plain_c_function"),
        ("_RNvMs_NtCsiTXBmTXH8yU_5table5innerNtB4_5Table4grow", "<table::inner::Table>::grow"),
        ("_ZN5table5inner5Table7reserve17h0123456789abcdefE.llvm.123", "table::inner::Table::reserve"),
        ("_ZNSt6vectorIiE9push_backEOi", "std::vector<int>::push_back(int&&)"),
        ("_Zap", "_Zap"),
        ("parse_header [clone .lto_priv.0]", "parse_header"),
        ("parse_header.part.0.isra.0", "parse_header"),
        ("parse_header.localalias", "parse_header"),
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
    assert not python_frame(os.__file__, 5).user
    assert not python_frame(pytest.__file__, 5).user


def test_a_line_that_is_one_call_is_named_by_it(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("parser.feed(chunk)\nf(g(1))\nmake()(2)\nx = 1\nBox(\n    1)\n")
    assert [only_call(str(file), line) for line in range(1, 6)] == ["parser.feed", "", "", "", "Box"]
    assert only_call("no such file.py", 1) == ""


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("/venv/lib/python3.11/site-packages/thing/core.so", "wheels have none"),
        ("/usr/lib/libthing.so.1", "install the library's -dbg"),
    ],
)
def test_how_to_see_file_and_line_depends_on_where_the_library_is_from(file: str, says: str) -> None:
    place = NativeFrame(f"{file.rpartition('/')[2]}+0x1a2b", file, 0)
    sites = (Site((("/src/app.py", 3),), (), (place,), 1.0, 80.0),)
    finding = finding_of(Fault(detail=Allocation(), count=1.0, bytes=80.0, sites=sites), 80.0, "graph")
    assert f"no debug information for {file.rpartition('/')[2]}" in finding.hint
    assert says in finding.hint
