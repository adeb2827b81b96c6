"""Whether a node is like this machine, and what a refusal says."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest
from scripted_cluster import LIKE

from leakcheck.errors import UsageError
from leakcheck.remote import likeness


def other(**changes):
    return LIKE.__class__(**{name: getattr(LIKE, name) for name in LIKE.__struct_fields__} | changes)


def test_a_machine_is_like_itself():
    here = likeness.here()
    assert here.packages["msgspec"] == version("msgspec")
    assert here.python.endswith(sys.version.split()[0])
    assert likeness.difference(likeness.here(sys.executable), here) == ""


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (other(tool="0.9"), "has elkyn-leakcheck 0.9, and this run is one of 1.0; install that version there"),
        (other(sources="t"), "has other sources of elkyn-leakcheck 1.0; install the same there"),
        (
            other(python="CPython 3.11.0"),
            "measures in CPython 3.11.0, and this run in CPython 3.12.1; start the worker with that",
        ),
        (
            other(packages={"lmdb": "1"}),
            "has other packages: lmdb 1 (here not at all), numpy not at all (here 2.0); install the same there",
        ),
        (
            other(packages={"numpy": "2.0", **dict.fromkeys("abcde", "1")}),
            "has other packages: a 1 (here not at all), b 1 (here not at all), c 1 (here not at all) and 2 packages "
            "more; install the same there",
        ),
    ],
)
def test_what_differs_is_named_and_what_to_do(there, said):
    assert likeness.difference(there, LIKE) == said


def test_an_interpreter_that_does_not_answer_is_one_sentence():
    with pytest.raises(UsageError, match="/nonexistent/python does not say what is installed in it"):
        likeness.here("/nonexistent/python")
