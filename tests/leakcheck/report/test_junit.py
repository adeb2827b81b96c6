"""JUnit XML: valid, complete, and never green by accident."""

from __future__ import annotations

import pytest
import sample_run
from foreign_schemas import schema_file
from lxml import etree

from leakcheck.records import Control
from leakcheck.report import junit


def parsed(run):
    return etree.fromstring(junit.render(run).encode())


def assert_valid(run, schema):
    etree.XMLSchema(file=str(schema_file(schema))).assertValid(parsed(run))


def test_a_whole_run_is_valid_for_jenkins():
    assert_valid(sample_run.run(), "junit-jenkins")


def test_a_run_without_skipped_scenarios_is_valid_for_ant():
    decided = [one for one in sample_run.suite() if one.verdict not in ("skipped", "inconclusive")]
    assert_valid(sample_run.run(decided), "junit-ant")


def test_each_scenario_is_a_case_and_what_is_not_expected_fails():
    root = parsed(sample_run.run())
    cases = root.findall(".//testcase")
    assert len(cases) == 25
    assert len([case for case in cases if case.find("failure") is not None]) == 5
    assert len([case for case in cases if case.find("error") is not None]) == 1
    assert len([case for case in cases if case.find("skipped") is not None]) == 2
    totals = {key: sum(int(suite.get(key, 0)) for suite in root) for key in ("tests", "failures", "errors", "skipped")}
    assert totals == {"tests": 25, "failures": 5, "errors": 1, "skipped": 2}


def test_a_failure_names_the_line_and_the_fingerprint():
    failure = parsed(sample_run.run()).find(".//testcase[@name='subscribe_twice']/failure")
    assert "app/hub.py:41" in failure.get("message")
    assert sample_run.LISTENER.fingerprint in failure.text
    assert "self.listeners.append" in failure.text


def test_scenarios_of_one_file_stand_in_one_suite_even_when_they_were_not_run_together():
    scenarios = [sample_run.scenario(name) for name in ("a.py::one", "b.py::two", "a.py::three")]
    assert [suite.get("name") for suite in parsed(sample_run.run(scenarios))] == ["a.py", "b.py"]


@pytest.mark.parametrize(
    "run",
    [
        sample_run.run([]),
        sample_run.run([sample_run.scenario("a.py::one")], interrupted=True),
        sample_run.run([sample_run.scenario("a.py::one")], control=Control(status="failed", reason="no-op grew")),
    ],
    ids=["nothing run", "interrupted", "control failed"],
)
def test_a_run_that_proves_nothing_is_an_error(run):
    assert parsed(run).find(".//testcase[@name='the run']/error") is not None
    assert_valid(run, "junit-jenkins")


def test_characters_that_xml_forbids_do_not_break_it():
    hostile = "a.py::\x00\x1b[31m\ud800]]>\uffff<b>&\"'\u202e"
    scenario = sample_run.scenario(hostile, "leak", ok=False, reason=hostile, advice=[hostile])
    assert parsed(sample_run.run([scenario])).find(".//failure") is not None
