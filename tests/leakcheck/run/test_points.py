"""Which points of a step are made to fail: what cleans up is left out, and a call is named by its source."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from leakcheck.agent.faults.finding import _Found
from leakcheck.agent.faults.watching import watcher
from leakcheck.agent.loading import import_file
from leakcheck.run.points import to_fail, words

HEAD = """
from contextlib import closing, contextmanager
class Thing:
    def use(self, *_): return self.inner()
    def inner(self): return None
    def close(self): return self.inner()
    def __enter__(self): return self
    def __exit__(self, *_): self.inner()
thing = Thing()
things = {1: [thing]}
"""


def failing(folder: Path, body: str, legal: tuple[str, ...] = ("OSError",)):
    """What is made to fail in one call of `step`."""
    file = folder / f"of_{folder.name.replace('-', '_')}.py"
    file.write_text(HEAD + "def step():\n" + textwrap.indent(textwrap.dedent(body), "    "))
    try:
        module = import_file(str(file))
    finally:
        sys.path.remove(str(folder))
    found = _Found()
    watch = watcher(lambda code: code.co_filename == str(file), found.call)
    watch.begin()
    try:
        module.step()
    finally:
        watch.end()
        watch.close()
    return to_fail(found.points(), legal)


def names(folder: Path, body: str) -> list[str]:
    return [each.name for each in failing(folder, body)]


def test_a_call_and_what_it_calls_are_points(tmp_path):
    assert names(tmp_path, "thing.use(1)") == ["step:thing.use", "Thing.use:self.inner"]


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    pass\nfinally:\n    thing.use()",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    thing.use()\n    if not things:\n        raise",
        "with thing:\n    pass",
        "thing.close()",
    ],
    ids=["finally", "handler_that_raises", "exit", "close"],
)
def test_what_cleans_up_is_no_point(tmp_path, body):
    assert [each for each in names(tmp_path, body) if each != "step:thing.close"] == []


def test_a_handler_that_goes_on_is_no_clean_up(tmp_path):
    body = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    thing.inner()"
    assert names(tmp_path, body) == ["step:thing.inner"]


def test_calls_that_nobody_expects_to_fail_are_no_points(tmp_path):
    assert names(tmp_path, "return len([isinstance(1, int)])") == []


def test_a_name_has_no_values_of_the_program(tmp_path):
    assert names(tmp_path, "things[1][0].inner()\n(lambda secret: None)('password')") == [
        "step:things.inner",
        "step:",
    ]


def test_in_a_loop_the_first_and_the_last_turn_fail(tmp_path):
    turns = [each.fault.turn for each in failing(tmp_path, "for n in range(5):\n    thing.inner()")]
    assert turns == [1, 1, 5]  # `range`, then the call


def test_every_legal_exception_is_raised(tmp_path):
    found = failing(tmp_path, "thing.inner()", ("OSError", "app:Lost.Connection"))
    assert [words(each).partition(" is")[0] for each in found] == ["OSError", "Connection"]
