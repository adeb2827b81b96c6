"""Options are declared once: every place takes the names and values that the declaration says."""

from __future__ import annotations

import inspect

import pytest

import leakcheck
from leakcheck import validation
from leakcheck.checking import CallOptions, JudgementOptions, WholeTestOptions
from leakcheck.cli import options
from leakcheck.errors import UsageError
from leakcheck.execution.job import ScenarioInfo, asked

FITTING = {
    "expect": "leak", "budget": {"heap.bytes": 64}, "tools": "growth,memray", "time_budget": 2.5, "max_iterations": 100,
    "max_growth": "64MiB", "gc": "off", "allocator": "pymalloc", "arenas": "default",
    "raises": (ValueError, KeyError), "values": True,
    "timeouts": "import=600, call=2.5", "errors": (ValueError, OSError),
}  # fmt: skip
WRONG = {
    "expect": "maybe", "budget": 5, "tools": "gdb", "time_budget": 0, "max_iterations": 1.5,
    "max_growth": "64 apples", "gc": "never", "allocator": "jemalloc", "arenas": "two",
    "raises": "ValueError", "values": "yes",
    "timeouts": "lunch=600", "errors": (ValueError, "OSError"),
}  # fmt: skip


def parameters(function) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_each_place_has_the_names_of_the_declaration():
    assert set(validation.names("check")) <= parameters(leakcheck.check)
    assert set(validation.names("scenario")) <= parameters(leakcheck.scenario)
    assert (
        set(validation.names("test"))
        == WholeTestOptions.__annotations__.keys() | JudgementOptions.__annotations__.keys()
    )
    assert set(validation.names("call")) == CallOptions.__annotations__.keys() | JudgementOptions.__annotations__.keys()
    assert set(validation.names("command")) <= options.known()


def test_each_option_that_is_accepted_in_code_is_a_field_of_a_scenario_or_of_the_measured_process():
    fields = set(ScenarioInfo.__struct_fields__) | {"raises", "errors"}  # `errors` are the field `legal`
    assert set(validation.names("scenario")) <= fields


@pytest.mark.parametrize("option", validation.OPTIONS, ids=lambda option: option.name)
def test_a_value_that_fits_passes_and_another_is_one_sentence(option):
    validation.examine("check(f)", {option.name: FITTING[option.name]}, [option.name])
    with pytest.raises(UsageError, match=rf"^check\(f\): {option.name} is .*, not ") as caught:
        validation.examine("check(f)", {option.name: WRONG[option.name]}, [option.name])
    assert "\n" not in str(caught.value)


def test_a_mistyped_name_is_guessed():
    with pytest.raises(UsageError, match=r"not max_itrations \(did you mean max_iterations\?\)"):
        validation.examine("check(f)", {"max_itrations": 5}, validation.names("check"))


def test_sizes_and_tools_are_read_in_one_way():
    assert asked({"max_growth": "64MiB", "tools": "memray, growth", "raises": ValueError, "time_budget": None}) == {
        "max_growth": 64 << 20,
        "tools": ["growth", "memray"],
    }


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 512 << 20), ("1GB", 10**9), ("1000", 1000), (" 2 KiB", 2048), (4096, 4096)]
)
def test_a_size_is_bytes_with_or_without_a_unit(text, size):
    assert validation.size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "1 apple", "-1", "0", "inf", None, "1e400"])
def test_what_is_no_size_has_none(text):
    assert validation.size(text) is None


@pytest.mark.parametrize(
    "written", ["import=600,call=2.5", " import = 600 , call = 2.5 ", {"import": 600, "call": 2.5}], ids=str
)
def test_timeouts_are_seconds_by_name(written):
    assert validation.timeouts(written) == {"import": 600, "call": 2.5}


@pytest.mark.parametrize(
    "written", ["lunch=1", "call", "call=", "call=0", "call=-1", "call=nan", {"call": "1"}, 5, None]
)
def test_what_is_no_list_of_timeouts_is_none(written):
    assert validation.timeouts(written) is None
