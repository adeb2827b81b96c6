"""The brief report: one problem, at most two kilobytes, whatever is in the run."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import sample_run
from hypothesis import given
from hypothesis import strategies as st

from leakcheck.report import brief, render
from leakcheck.results.problems import problems


def test_the_published_schema_is_current():
    published = Path(brief.__file__).with_name("leakcheck-brief-1.schema.json").read_text("utf-8")
    assert json.loads(published) == brief.json_schema(), "write what `brief.json_schema()` returns into it"


@pytest.mark.parametrize("number", range(len(sample_run.suite())))
def test_each_outcome_is_valid_by_the_schema_and_small(number):
    text = render("brief", sample_run.run([sample_run.suite()[number]]))
    jsonschema.Draft202012Validator(brief.json_schema()).validate(json.loads(text))
    assert len(text.encode()) <= brief.MOST_BYTES


def test_it_names_the_place_the_source_what_holds_it_and_the_commands():
    told = json.loads(render("brief", sample_run.run()))
    assert told["sentence"] == sample_run.LISTENER.title
    assert told["place"] == "app/hub.py:41 in on"
    assert any(each.startswith("41: ") and "self.listeners.append" in each for each in told["source"])
    assert "".join(told["path"]) == "app.hub.hub.listeners[*]"
    assert told["growth"] == "+432 B/iteration"
    assert told["fingerprint"] in told["next"]
    assert told["reproduction"].startswith("elkyn-leakcheck run ")
    assert told["others"] == len(list(problems(sample_run.run()))) - 1


def test_a_run_without_a_problem_says_what_would_have_been_noticed():
    told = json.loads(
        render("brief", sample_run.run([sample_run.scenario("a.py::b", detectable={"heap.bytes": 48.0})]))
    )
    assert (told["verdict"], told["as_expected"], told["fingerprint"]) == ("clean", True, "")
    assert "heap.bytes 48 B" in told["sensitivity"]


def test_nothing_that_was_run_is_nothing_as_expected():
    assert json.loads(render("brief", sample_run.run([])))["as_expected"] is False


@given(st.text(min_size=1), st.integers(1, 3000))
def test_endless_names_do_not_make_it_larger(text, times):
    long = text * times
    finding = sample_run.replace(
        sample_run.LISTENER,
        title=long,
        stack=[sample_run.frame(long, 1, long, long, user=True)],
        path=[sample_run.replace(node, name=long) for node in sample_run.LISTENER.path] * 9,
    )
    scenario = sample_run.leaking(long, [finding], reason=long, command=long)
    written = render("brief", sample_run.run([scenario]))
    assert len(written.encode()) <= brief.MOST_BYTES
    assert json.loads(written)["verdict"] == "leak"
