"""SARIF: valid, with the lines at fault and fingerprints that stay."""

from __future__ import annotations

import json

import jsonschema
import pytest
import sample_run
from foreign_schemas import schema_file

from leakcheck.records import Control
from leakcheck.report import sarif


def log(run):
    return json.loads(sarif.render(run))


def results(run):
    return log(run)["runs"][0]["results"]


@pytest.mark.parametrize(
    "run",
    [
        sample_run.run(),
        sample_run.run([]),
        sample_run.run(control=Control(status="failed", reason="the no-op grew"), interrupted=True),
    ],
    ids=["25 scenarios", "nothing run", "control failed"],
)
def test_it_is_valid_sarif(run):
    schema = json.loads(schema_file("sarif").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(log(run))


def test_a_leak_stands_at_its_line_with_its_fingerprint():
    leak = next(one for one in results(sample_run.run()) if one["ruleId"] == "leak-container")
    place = leak["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "app/hub.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"]["startLine"] == 41
    assert leak["partialFingerprints"] == {"leakcheck/v2": sample_run.LISTENER.fingerprint}
    assert leak["level"] == "error"


def test_a_planted_leak_that_was_found_is_no_result():
    scenarios = {one["properties"]["scenario"] for one in results(sample_run.run())}
    assert "scenarios/planted.py::forgotten_unsubscribe" not in scenarios
    assert "scenarios/planted.py::forgets_nothing" in scenarios


def test_rules_are_listed_once_and_found_by_their_index():
    run = log(sample_run.run())["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])


def test_odd_file_names_become_uris():
    frame = sample_run.frame("src/my file#1%.py", 3, "f", user=True)
    finding = sample_run.replace(sample_run.LISTENER, stack=[frame])
    found = results(sample_run.run([sample_run.leaking("a.py::one", [finding])]))
    assert found[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "src/my%20file%231%25.py"


def test_a_failed_control_is_an_unsuccessful_invocation():
    run = log(sample_run.run(control=Control(status="failed", reason="the no-op grew")))["runs"][0]
    assert run["invocations"][0]["executionSuccessful"] is False
