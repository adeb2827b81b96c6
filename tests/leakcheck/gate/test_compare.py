"""Comparing two sides: worse, better, the same, or not known; and git revisions built and run in turn."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import sample_run
from click.testing import CliRunner

from leakcheck.cli.compare import command
from leakcheck.errors import UsageError
from leakcheck.gate import compare
from leakcheck.records import Control
from leakcheck.report.folder import write_run

NAME = "scenarios/requests.py::handle"


def clean(**more):
    return sample_run.run([sample_run.scenario(NAME, **more)])


def leaky(*findings, **more):
    return sample_run.run([sample_run.leaking(NAME, findings or [sample_run.BUFFER], **more)])


def growing(rate):
    return leaky(sample_run.replace(sample_run.BUFFER, bytes_per_iteration=rate))


def noticing(rate):
    return clean(detectable={"heap.bytes": rate})


def only(bases, heads):
    (change,) = compare.compare(bases, heads)
    return change


@pytest.mark.parametrize(
    ("base", "head", "kind", "says"),
    [
        (clean(), clean(), "same", "clean"),
        (clean(), leaky(), "worse", "leaks now: leaks 1,024 B"),
        (leaky(), clean(), "better", "leaks no more"),
        (leaky(), leaky(), "same", "leaks as before"),
        (leaky(), leaky(sample_run.BUFFER, sample_run.HEADER), "worse", "leaks in another place too: leaks 310 B"),
        (leaky(sample_run.BUFFER, sample_run.HEADER), leaky(), "better", "leaks less: heap.bytes grows 1.0 KiB"),
        (leaky(), leaky(sample_run.HEADER, heap=leaky().scenarios[0].meters[0]), "worse", "leaks elsewhere now"),
        (growing(1000.0), growing(1200.0), "worse", "leaks faster: heap.bytes grows 1.2 KiB"),
        (growing(1200.0), growing(1000.0), "better", "leaks less"),
        (growing(1000.0), growing(1003.0), "same", "leaks as before"),
        (clean(), clean(verdict="inconclusive"), "undecided", "the head was inconclusive"),
        (clean(verdict="error"), leaky(), "undecided", "the base was error"),
        (clean(), clean(ok=False, reason="over its budget"), "worse", "over its budget"),
        (sample_run.run([]), leaky(), "worse", "is new in the head, and leak"),
        (sample_run.run([]), clean(), "new", "clean"),
        (clean(), sample_run.run([]), "gone", "is not in the head"),
        (clean(duration_s=2.0), clean(duration_s=7.0), "slower", "takes 7.0 s, it took 2.0 s"),
        (clean(duration_s=0.2), clean(duration_s=0.9), "same", "clean"),
        (noticing(2.0), noticing(90.0), "less sensitive", "heap.bytes 90, it was 2"),
        (noticing(2.0), noticing(30.0), "same", "clean"),
        (clean(detectable={"sems": 0.1}), clean(), "less sensitive", "sems: no longer read; it was in the base"),
        (leaky(duration_s=1.0), leaky(duration_s=9.0), "slower", "takes 9.0 s"),
    ],
)  # fmt: skip
def test_a_change_is_named(base, head, kind, says):
    change = only([base], [head])
    assert change.kind == kind
    assert says in change.message


def test_a_side_that_disagrees_with_itself_is_not_known():
    change = only([clean(), clean()], [clean(), leaky()])
    assert change.kind == "undecided"
    assert "not the same in its runs (clean, leak)" in change.message


def test_a_rate_is_worse_only_beyond_all_runs_of_the_base():
    assert only([growing(1000.0), growing(1300.0)], [growing(1200.0), growing(1250.0)]).kind == "same"
    assert only([growing(1000.0), growing(1100.0)], [growing(1200.0), growing(1250.0)]).kind == "worse"


def test_less_is_noticed_only_where_no_run_of_the_head_would_notice_it():
    sharp, blunt = noticing(2.0), noticing(900.0)
    assert only([sharp, sharp], [blunt, blunt]).kind == "less sensitive"
    assert only([sharp, sharp], [blunt, sharp]).kind == "same"
    assert only([sharp, blunt], [blunt, blunt]).kind == "same"


def test_it_is_slower_only_where_each_run_of_the_head_is():
    quick, slow = clean(duration_s=1.0), clean(duration_s=9.0)
    assert only([quick, quick], [slow, slow]).kind == "slower"
    assert only([quick, slow], [slow, slow]).kind == "same"
    assert only([quick, quick], [quick, slow]).kind == "same"


def test_one_exit_code_says_it_all():
    def code(base, head):
        return compare.exit_code(compare.compare([base], [head]), [base, head])

    assert code(clean(), clean()) == 0
    assert code(clean(), leaky()) == 1
    assert code(clean(), clean(verdict="skipped")) == 6
    assert code(sample_run.run([]), sample_run.run([])) == 5
    assert code(clean(), sample_run.run([], control=Control(status="failed", reason="x"))) == 3


def invoke(*arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def test_two_results_are_compared_by_path(tmp_path):
    write_run(clean(), tmp_path / "base", formats=["json"])
    write_run(leaky(), tmp_path / "head", formats=["json"])
    done = invoke(tmp_path / "base", tmp_path / "head" / "results.json")
    assert done.exit_code == 1
    assert f"✗ worse      {NAME}: leaks now" in done.output
    machine = json.loads(invoke(tmp_path / "base", tmp_path / "head", "--format", "json").output)
    assert machine["exit_code"] == 1
    assert machine["changes"][0]["kind"] == "worse"


def test_a_page_of_both_sides_is_written_beside_what_is_printed(tmp_path):
    write_run(clean(), tmp_path / "base", formats=["json"])
    write_run(leaky(), tmp_path / "head", formats=["json"])
    page = tmp_path / "new" / "changes.html"
    done = invoke(tmp_path / "base", tmp_path / "head", "--html", page)
    assert done.exit_code == 1
    assert f"✗ worse      {NAME}: leaks now" in done.output
    assert "1 of 1 scenario got worse." in page.read_text("utf-8")
    page.unlink()
    proven = invoke(tmp_path / "head", tmp_path / "base", "--prove-fix", "--html", page)
    assert proven.exit_code == 0
    assert "leaks no more" in page.read_text("utf-8")


def test_what_is_the_same_is_counted_and_not_listed(tmp_path):
    write_run(clean(), tmp_path / "base", formats=["json"])
    assert invoke(tmp_path / "base", tmp_path / "base").output == "1 scenario: 1 same\n"


def git(directory, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=directory, check=True, capture_output=True
    )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A project with a package and a scenario; its second revision leaks."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "parser.py").write_text("kept = []\ndef parse():\n    return [1]\n")
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "parsing.py").write_text(
        "from leakcheck import scenario\nimport parser_under_test\n".replace("parser_under_test", "parser")
        + "@scenario\ndef parsing():\n    parser.parse()\n"
    )
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    (tmp_path / "parser.py").write_text("kept = []\ndef parse():\n    kept.append(bytearray(500))\n")
    git(tmp_path, "commit", "--quiet", "-am", "two")
    return tmp_path


@pytest.mark.slow
def test_two_revisions_are_built_and_run_in_turn(repository):
    done = subprocess.run(
        [sys.executable, "-m", "leakcheck", "compare", "HEAD~1", "HEAD", "scenarios", "--time-budget", "3"],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    turns = [line for line in done.stderr.splitlines() if line.startswith("run ")]
    assert turns == ["run 1 of 2: HEAD~1", "run 1 of 2: HEAD", "run 2 of 2: HEAD~1", "run 2 of 2: HEAD"]
    assert "✗ worse      scenarios/parsing.py::parsing: leaks now" in done.stdout
    assert done.returncode == 1
    assert subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True).stdout == b""


def test_what_is_neither_a_file_nor_a_revision_is_a_usage_error(repository):
    said = invoke("HEAD", "no-such-branch", "scenarios").exception
    assert isinstance(said, UsageError)
    assert "'no-such-branch' is neither a file nor a revision" in str(said)
    assert "does not exist in HEAD" in str(invoke("HEAD~1", "HEAD", "nowhere").exception)
    assert "relative to the current directory" in str(invoke("HEAD~1", "HEAD", "../else").exception)
