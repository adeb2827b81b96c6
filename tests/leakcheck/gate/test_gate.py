"""The gate: red when it got worse, green when it did not, never green by accident."""

from __future__ import annotations

import json
from datetime import date

import pytest
import sample_run
from click.testing import CliRunner
from lxml import etree

from leakcheck import results
from leakcheck.cli.baseline import command as baseline_command
from leakcheck.cli.gate import command as gate_command
from leakcheck.errors import UsageError
from leakcheck.gate import baseline, budgets, gate
from leakcheck.gate.baseline import Baseline
from leakcheck.records import Control
from leakcheck.report.folder import write_run

TODAY = date(2026, 11, 23)
NAME = "scenarios/requests.py::handle"


def leaky(*findings, name=NAME, **more):
    return sample_run.run([sample_run.leaking(name, findings or (sample_run.BUFFER,), **more)])


def clean(name=NAME, **more):
    return sample_run.run([sample_run.scenario(name, **more)])


def accepting(run=None, expires="", **more):
    run = run or leaky()
    known = baseline.learn(Baseline(), run.scenarios)
    for scenario in run.scenarios:
        for finding in scenario.findings:
            known = baseline.accept(known, run, finding.fingerprint, "waits for libfoo 2.1", TODAY, expires)
    return known


def judge(run, known=None, rules=(), today=TODAY, strict=False):
    return gate.judge(run, known or Baseline(), rules, today, strict=strict)


def kinds(judged):
    return [line.kind for line in judged.lines]


def test_a_clean_run_is_green_and_silent():
    judged = judge(clean())
    assert (judged.lines, judged.exit_code) == ([], 0)


def test_a_new_leak_is_red_with_its_line():
    judged = judge(leaky())
    assert kinds(judged) == ["new leak"]
    assert (judged.lines[0].file, judged.lines[0].line) == ("app/parse.py", 17)
    assert judged.exit_code == 1


def test_an_accepted_leak_is_green_and_names_the_reason():
    judged = judge(leaky(), accepting())
    assert kinds(judged) == ["known leak"]
    assert "waits for libfoo 2.1" in judged.lines[0].message
    assert judged.exit_code == 0


def test_an_accepted_leak_stays_known_when_its_code_moves_100_lines():
    stack = [sample_run.replace(frame, line=frame.line + 100) for frame in sample_run.BUFFER.stack]
    assert judge(leaky(sample_run.replace(sample_run.BUFFER, stack=stack)), accepting()).exit_code == 0


def test_a_second_leak_in_the_same_scenario_is_new():
    judged = judge(leaky(sample_run.BUFFER, sample_run.HEADER), accepting())
    assert sorted(kinds(judged)) == ["known leak", "new leak"]
    assert judged.exit_code == 1


def test_a_fixed_leak_is_green_and_asks_to_be_removed():
    judged = judge(clean(), accepting())
    assert kinds(judged) == ["fixed leak"]
    assert "fixed, remove it from the baseline" in judged.lines[0].message
    assert judged.exit_code == 0


@pytest.mark.parametrize("verdict", ["inconclusive", "skipped", "error"])
def test_a_leak_is_not_fixed_by_not_looking(verdict):
    judged = judge(clean(verdict=verdict), accepting())
    assert "fixed leak" not in kinds(judged)
    assert judged.exit_code != 0


def test_a_leak_that_got_worse_beyond_its_interval_is_red():
    worse = sample_run.replace(sample_run.BUFFER, bytes_per_iteration=1100.0)
    judged = judge(leaky(worse), accepting())
    assert kinds(judged) == ["worse leak"]
    assert "1.1 KiB per iteration, it was 1.0 KiB" in judged.lines[0].message
    assert judged.exit_code == 1


@pytest.mark.parametrize("rate", [600.0, 1024.0, 1025.0])
def test_a_leak_within_its_interval_or_smaller_stays_known(rate):
    now = sample_run.replace(sample_run.BUFFER, bytes_per_iteration=rate)
    assert judge(leaky(now), accepting()).exit_code == 0


def test_growth_that_the_known_leaks_do_not_explain_is_worse():
    more = sample_run.meter("heap.bytes", "B", 9000.0, 1_230_288, verdict="leak")
    judged = judge(leaky(sample_run.BUFFER, heap=more), accepting())
    assert "worse leak" in kinds(judged)
    assert judged.exit_code == 1


def test_another_resource_that_leaks_beside_a_known_leak_is_new():
    run = leaky()
    fds = sample_run.meter("fds", "fds", 1.0, 7, verdict="leak")
    scenario = sample_run.replace(run.scenarios[0], meters=[*run.scenarios[0].meters, fds])
    judged = judge(sample_run.run([scenario]), accepting())
    assert kinds(judged) == ["new leak", "known leak"]
    assert "fds grows 1 fd per iteration" in judged.lines[0].message


@pytest.mark.parametrize(
    ("today", "code"), [(date(2027, 1, 31), 0), (date(2027, 2, 1), 1)], ids=["last day", "day after"]
)
def test_an_accepted_leak_is_new_again_after_its_last_day(today, code):
    judged = judge(leaky(), accepting(expires="2027-01-31"), today=today)
    assert kinds(judged) == (["known leak"] if code == 0 else ["expired leak"])
    assert judged.exit_code == code


OTHER = "scenarios/requests.py::other"


def test_the_same_fault_in_another_scenario_is_new():
    run = sample_run.run([*leaky().scenarios, *leaky(name=OTHER).scenarios])
    judged = judge(run, accepting())
    assert kinds(judged) == ["new leak", "known leak"]
    assert (judged.lines[0].scenario, f"accepted in {NAME} alone" in judged.lines[0].message) == (OTHER, True)
    assert judged.exit_code == 1


def accepting_in(pattern, run=None):
    run = run or leaky()
    return baseline.accept(Baseline(), run, sample_run.BUFFER.fingerprint, "of libfoo", TODAY, pattern=pattern)


def test_a_fault_that_is_accepted_for_a_pattern_is_known_wherever_it_fits():
    run = sample_run.run([*leaky().scenarios, *leaky(name=OTHER).scenarios])
    known = accepting_in("scenarios/requests.py::*")
    judged = judge(run, known)
    assert kinds(judged) == ["known leak", "known leak"]
    assert "accepted in scenarios/requests.py::*" in judged.lines[1].message
    assert all(finding.known for one in gate.applied(run, judged, known).scenarios for finding in one.findings)
    assert kinds(judge(leaky(name="elsewhere.py::one"), known)) == ["new leak", "vanished scenario"]


def test_a_fault_that_is_accepted_for_a_pattern_is_worse_where_it_leaks_faster():
    faster = sample_run.replace(sample_run.BUFFER, bytes_per_iteration=2048.0)
    run = sample_run.run([*leaky().scenarios, *leaky(faster, name=OTHER).scenarios])
    judged = judge(run, accepting_in("scenarios/*"))
    assert [(line.kind, line.scenario) for line in judged.lines] == [("worse leak", OTHER), ("known leak", NAME)]


def test_a_fault_that_is_accepted_for_a_pattern_is_fixed_when_no_scenario_has_it_any_more():
    known = accepting_in("scenarios/*")
    one_left = sample_run.run([*clean().scenarios, *leaky(name=OTHER).scenarios])
    assert "fixed leak" not in kinds(judge(one_left, known))
    none_left = sample_run.run([*clean().scenarios, *clean(OTHER).scenarios])
    assert kinds(judge(none_left, known)) == ["fixed leak"]


def test_a_pattern_does_not_cover_the_rest_of_another_scenarios_growth():
    other = leaky(name=OTHER, explained=0.3)
    assert sorted(kinds(judge(other, accepting_in("scenarios/*")))) == ["known leak", "new leak"]


def test_two_entries_of_one_fault_are_removed_one_by_one():
    both = baseline.accept(accepting_in("other.py::*", leaky(name="other.py::a")), leaky(),
                           sample_run.BUFFER.fingerprint, "here too", TODAY)  # fmt: skip
    left = baseline.remove(both, sample_run.BUFFER.fingerprint, NAME)
    assert [leak.scenario for leak in left.leaks] == ["other.py::*"]


def earlier(known):
    """The same as an earlier version wrote it: other fingerprints, keys shown in sentences."""
    leaks = [sample_run.replace(leak, fingerprint="0" * 16) for leak in known.leaks]
    return Baseline(schema=baseline.EARLIER, leaks=leaks, scenarios=known.scenarios)


def test_a_baseline_of_an_earlier_version_is_read_with_a_clear_word():
    old = earlier(accepting())
    judged = judge(leaky(), old)
    assert kinds(judged) == ["old baseline", "known leak"]
    assert "baseline update RESULTS --renew" in judged.lines[0].message
    assert judged.exit_code == 0


def test_a_baseline_of_an_earlier_version_knows_no_other_fault():
    judged = judge(leaky(sample_run.HEADER), earlier(accepting()))
    assert "new leak" in kinds(judged)
    assert judged.exit_code == 1


def test_platforms_are_judged_apart():
    linux = sample_run.replace(clean().scenarios[0], origin="linux")
    mac = sample_run.replace(leaky().scenarios[0], origin="mac")
    run = sample_run.run([linux, mac])
    judged = judge(run)
    assert [(line.kind, line.origin) for line in judged.lines] == [("new leak", "mac")]
    assert [one.ok for one in gate.applied(run, judged, Baseline()).scenarios] == [True, False]


def test_a_leak_without_a_place_can_be_accepted_too():
    run = sample_run.run([sample_run.leaking(NAME, [], heap=sample_run.meter("heap.bytes", "B", 64.0, verdict="leak"))])
    red = judge(run)
    assert kinds(red) == ["new leak"]
    known = baseline.accept(Baseline(), run, red.lines[0].fingerprint, "known", TODAY)
    assert judge(run, known).exit_code == 0


def test_a_planted_leak_is_no_leak_of_the_product_but_missing_it_is_red():
    found = sample_run.leaking(NAME, [sample_run.NATIVE], expect="leak", ok=True)
    assert judge(sample_run.run([found])).lines == []
    missed = sample_run.scenario(NAME, expect="leak")
    assert kinds(judge(sample_run.run([missed]))) == ["missed leak"]


def test_a_vanished_scenario_is_red_unless_the_run_is_partial():
    run = clean("scenarios/other.py::one")
    judged = judge(run, accepting())
    assert kinds(judged) == ["vanished scenario"]
    assert judged.exit_code == 1
    assert judge(run, gate.only(accepting(), run)).exit_code == 0


def test_an_error_is_red():
    assert kinds(judge(clean(verdict="error"))) == ["error"]


@pytest.mark.parametrize("verdict", ["skipped", "inconclusive"])
def test_what_was_not_judged_is_not_green(verdict):
    judged = judge(clean(verdict=verdict))
    assert kinds(judged) == ["undecided"]
    assert judged.exit_code == 6
    assert judge(clean(verdict=verdict), strict=True).exit_code == 1


def test_lost_sensitivity_is_not_green():
    known = baseline.learn(Baseline(), clean().scenarios)
    blunt = clean(heap=sample_run.meter("heap.bytes", "B", detectable=500.0), detectable={})
    judged = judge(blunt, known)
    assert kinds(judged) == ["less sensitive"]
    assert judged.exit_code == 6
    assert judge(clean(), known).exit_code == 0


def test_sensitivity_that_goes_up_and_down_where_no_leak_is_missed_is_not_spoken_of():
    known = baseline.learn(Baseline(), clean().scenarios)
    settled_late = clean(heap=sample_run.meter("heap.bytes", "B", detectable=35.0), detectable={"fds": 0.09})
    assert judge(settled_late, known).lines == []


def test_a_leaking_meter_has_no_sensitivity_and_has_lost_none():
    known = baseline.learn(accepting(), clean().scenarios)
    heap = sample_run.meter("heap.bytes", "B", 1024.0, verdict="leak", detectable=None)
    judged = judge(leaky(heap=heap, detectable={"fds": 0.001}), known)
    assert kinds(judged) == ["known leak"]


def test_of_several_runs_the_bluntest_sensitivity_is_remembered():
    sharp, blunt = clean(detectable={"heap.bytes": 0.1}), clean(detectable={"heap.bytes": 7.0})
    for runs in ((sharp, blunt), (blunt, sharp)):
        known = baseline.learn(Baseline(), [one for run in runs for one in run.scenarios])
        assert known.scenarios[NAME].detectable["heap.bytes"] == 7.0


def test_a_meter_that_is_no_longer_read_is_lost_sensitivity():
    known = baseline.learn(Baseline(), clean().scenarios)
    assert "less sensitive" in kinds(judge(clean(meters=[], detectable={}), known))


@pytest.mark.parametrize(
    ("run", "kind", "code"),
    [
        (sample_run.run(control=Control(status="failed", reason="the no-op grew")), "failed control", 3),
        (clean(), "", 0),
        (sample_run.run([]), "nothing run", 5),
        (sample_run.run(clean().scenarios, interrupted=True), "interrupted", 1),
    ],
)
def test_a_run_that_proves_nothing_is_never_green(run, kind, code):
    judged = judge(run)
    assert judged.exit_code == code
    assert not kind or judged.lines[0].kind == kind


def test_budgets_limit_growth_and_the_highest_reading():
    rules = [
        budgets.Budget(scenarios="scenarios/*", growth={"heap.bytes": 64}),
        budgets.Budget(tags=["requests"], highest={"fds": 5, "heap.bytes": 64 << 20}),
    ]
    judged = judge(leaky(), accepting(), rules)
    assert kinds(judged) == ["broken budget", "broken budget", "known leak"]
    assert judged.lines[0].message == "heap.bytes grows 1.0 KiB per iteration, the budget is 64 B"
    assert judged.lines[1].message == "fds reached 7 fds, the budget is 5 fds"
    assert judged.exit_code == 1


def test_noise_around_zero_does_not_break_a_budget_of_zero():
    assert judge(clean(), rules=[budgets.Budget(growth={"heap.bytes": 0, "fds": 0})]).exit_code == 0


@pytest.mark.parametrize(
    "rule",
    [budgets.Budget(growth={"gpu.bytes": 0}), budgets.Budget(scenarios="scenarios/typo.py::*", growth={"fds": 0})],
    ids=["a meter that is not read", "a pattern that fits nothing"],
)
def test_a_budget_that_cannot_be_checked_is_not_green(rule):
    judged = judge(clean(), rules=[rule])
    assert kinds(judged) == ["unchecked budget"]
    assert judged.exit_code == 6


def test_parameters_in_ids_are_not_patterns():
    rule = budgets.Budget(scenarios="a.py::big[1024]", growth={"fds": 0})
    assert budgets.applies(rule, sample_run.scenario("a.py::big[1024]"))
    assert not budgets.applies(rule, sample_run.scenario("a.py::big1"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[budget]]\ngrowht = {fds = 0}", "unknown key 'growht'"),
        ("[budgets]\n", "unknown table 'budgets'"),
        ("[[budget]]\nscenarios = '*'", "it limits nothing"),
        ("[[budget]]\nhighest = {rss = 'much'}", "'much' is not a limit"),
        ("[[budget]]\nscenarios = 3\ngrowth = {fds = 0}", "budget 1"),
        ("budget = ", "is not TOML"),
    ],
)
def test_a_wrong_budget_file_is_named_with_its_fault(tmp_path, text, says):
    file = tmp_path / "budgets.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"budgets\.toml") as caught:
        budgets.read(file)
    assert says in str(caught.value)


def test_sizes_in_budgets_have_units(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[[tool.leakcheck.budget]]\nhighest = { rss = "1.5 GiB", "heap.bytes" = "200 MB", fds = 64 }')
    assert budgets.read(file)[0].highest == {"rss": 1.5 * 1024**3, "heap.bytes": 200e6, "fds": 64.0}
    assert budgets.find(tmp_path) == file


class Story:
    """A project with a result, a baseline and a gate, driven by its commands."""

    def __init__(self, directory):
        self.directory = directory
        self.baseline = directory / "ci" / "baseline.json"

    def run(self, run):
        write_run(run, self.directory / "out", formats=["json"])

    def gate(self, *options):
        arguments = [self.directory / "out", "--report", self.directory / "gate", *options]
        if self.baseline.exists():
            arguments += ["--baseline", self.baseline]
        return self._invoke(gate_command, arguments)

    def update(self, *options):
        return self._invoke(baseline_command, ["update", self.directory / "out", "--baseline", self.baseline, *options])

    def _invoke(self, command, arguments):
        return CliRunner().invoke(command, [str(one) for one in arguments])

    def written(self, name):
        return (self.directory / "gate" / name).read_text()


@pytest.fixture
def story(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Story(tmp_path)


def test_a_leak_turns_the_gate_red_in_every_form_and_accepting_it_turns_all_green(story):
    story.run(leaky())
    red = story.gate("--annotations", "github")
    assert red.exit_code == 1
    assert "::error file=app/parse.py,line=17,title=new leak" in red.output
    assert "app/parse.py:17" in story.written("gate.md")
    assert json.loads(story.written("gate.json"))["exit_code"] == 1
    assert etree.fromstring(story.written("junit.xml").encode()).find(".//failure") is not None
    result = json.loads(story.written("leaks.sarif"))["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 17

    fingerprint = sample_run.BUFFER.fingerprint
    story.update("--scenarios", "--accept", fingerprint[:8], "waits for libfoo 2.1")
    green = story.gate("--annotations", "github")
    assert green.exit_code == 0
    assert "::error" not in green.output
    assert "known leak" in green.output
    assert etree.fromstring(story.written("junit.xml").encode()).find(".//failure") is None
    assert json.loads(story.written("leaks.sarif"))["runs"][0]["results"] == []
    assert "Known, accepted by the team: waits for libfoo 2.1" in story.written("index.html")

    story.run(clean())
    fixed = story.gate()
    assert fixed.exit_code == 0
    assert "fixed, remove it from the baseline" in fixed.output
    story.update("--remove-fixed")
    assert json.loads(story.baseline.read_text())["leaks"] == []
    story.run(leaky())
    assert story.gate().exit_code == 1


def test_a_known_leak_is_not_repeated_in_annotations_of_a_new_one(story):
    story.run(leaky())
    story.update("--accept", sample_run.BUFFER.fingerprint, "known")
    story.run(leaky(sample_run.BUFFER, sample_run.HEADER))
    assert story.gate().exit_code == 1
    found = json.loads(story.written("leaks.sarif"))["runs"][0]["results"]
    assert [one["partialFingerprints"]["leakcheck/v2"] for one in found] == [sample_run.HEADER.fingerprint]


def test_an_update_that_asks_for_nothing_changes_nothing(story):
    story.run(leaky())
    said = story.update()
    assert "nothing was changed" in said.output
    assert not story.baseline.exists()


def test_a_dry_run_shows_the_difference_and_writes_nothing(story):
    story.run(leaky())
    said = story.update("--accept", sample_run.BUFFER.fingerprint, "why not", "--dry-run")
    assert f"+ leak {sample_run.BUFFER.fingerprint}" in said.output
    assert not story.baseline.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--accept", "ffffffff", "reason"], "no leak of this run has the fingerprint"),
        (["--accept", sample_run.BUFFER.fingerprint, " "], "needs a reason"),
        (["--accept", sample_run.BUFFER.fingerprint, "x", "--expires", "soon"], "is not a day"),
        (["--remove", "ffffffff"], "no accepted leak"),
        (["--forget", "a.py::none"], "does not know the scenario"),
    ],
)
def test_a_wrong_update_says_what_is_wrong(story, options, says):
    story.run(leaky())
    said = story.update(*options)
    assert isinstance(said.exception, UsageError)
    assert says in str(said.exception)
    assert not story.baseline.exists()


def test_one_command_brings_a_baseline_of_an_earlier_version_up_to_date(story):
    story.run(leaky())
    story.update("--scenarios", "--accept", sample_run.BUFFER.fingerprint, "waits for libfoo 2.1")
    new = story.baseline.read_text()
    story.baseline.write_text(
        new.replace(baseline.SCHEMA, baseline.EARLIER).replace(sample_run.BUFFER.fingerprint, "0" * 16)
    )
    refused = story.update("--accept", sample_run.BUFFER.fingerprint, "again")
    assert "--renew" in str(refused.exception)
    assert story.update("--renew").exit_code == 0
    assert story.baseline.read_text() == new


def test_a_baseline_is_not_renewed_by_results_that_lack_a_scenario_of_it(story):
    story.run(leaky())
    story.update("--accept", sample_run.BUFFER.fingerprint, "known")
    story.baseline.write_text(story.baseline.read_text().replace(baseline.SCHEMA, baseline.EARLIER))
    story.run(clean(OTHER))
    assert f"{NAME} is not in these" in str(story.update("--renew").exception)


def test_nothing_is_learned_from_a_run_whose_control_failed(story):
    story.run(sample_run.run(leaky().scenarios, control=Control(status="failed", reason="the no-op grew")))
    assert "control of this run failed" in str(story.update("--scenarios").exception)


def test_forgetting_a_scenario_ends_missing_it(story):
    story.run(leaky())
    story.update("--scenarios")
    story.run(clean("scenarios/other.py::one"))
    assert story.gate().exit_code == 1
    story.update("--forget", NAME)
    assert story.gate().exit_code == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist; make it with"),
        ("", "is damaged"),
        ('{"schema": "leakcheck-baseline/1", "leaks": [{"fing', "is damaged"),
        ('{"schema": "leakcheck-baseline/9"}', "has the schema"),
        ('{"schema": "leakcheck/1"}', "has the schema"),
    ],
)
def test_a_wrong_baseline_is_an_error_and_never_green(story, content, says):
    story.run(clean())
    file = story.directory / "b.json"
    if content is not None:
        file.write_text(content)
    said = story.gate("--baseline", file)
    assert isinstance(said.exception, UsageError)
    assert says in str(said.exception)


def test_a_wrong_result_file_is_an_error_and_never_green(story):
    (story.directory / "out").mkdir()
    (story.directory / "out" / "results.json").write_text('{"schema": "leakcheck/1", "tool"')
    assert isinstance(story.gate().exception, results.ResultFileError)


def test_the_gate_does_not_write_over_the_run_it_judges(story):
    story.run(clean())
    said = story.gate("--report", story.directory / "out")
    assert "holds the files of the run itself" in str(said.exception)


def test_the_baseline_in_version_control_changes_in_few_lines(story):
    story.run(sample_run.run([*leaky().scenarios, *clean("scenarios/other.py::one").scenarios]))
    story.update("--scenarios")
    before = story.baseline.read_text().splitlines()
    story.update("--accept", sample_run.BUFFER.fingerprint, "known")
    after = story.baseline.read_text().splitlines()
    assert [one for one in before if one not in after] == [' "leaks": [],']


def test_tests_that_were_only_screened_are_told_and_fix_no_leak():
    flat = clean(verdict="screened", ok=True, reason="left nothing", meters=[], detectable={"heap.bytes": 32.0})
    judged = judge(flat, accepting())
    assert [(line.kind, line.level) for line in judged.lines] == [("screened", "info")]
    assert "1 test screened by a few calls, not judged: in each, 32 B of heap" in judged.lines[0].message
    assert judged.exit_code == 0


def test_a_point_of_failure_that_leaks_no_more_is_fixed_and_has_not_vanished():
    point = f"{NAME}!Pool.take:open"
    known = accepting(leaky(name=point))
    tried = sample_run.scenario(f"{NAME}!errors", verdict="screened", ok=True, failing="all points")
    assert kinds(judge(sample_run.run([tried]), known)) == ["screened", "fixed leak"]
    untried = sample_run.scenario(f"{NAME}!errors", verdict="inconclusive", failing="all points")
    assert "fixed leak" not in kinds(judge(sample_run.run([untried]), known))
    assert "vanished scenario" in kinds(judge(clean(), known))
