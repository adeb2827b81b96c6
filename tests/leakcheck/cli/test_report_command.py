"""`elkyn-leakcheck report`: any form, from one result or several."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import sample_run
from click.testing import CliRunner

from leakcheck.cli.report import command
from leakcheck.errors import UsageError
from leakcheck.report.folder import write_run


@pytest.fixture
def run_directory(tmp_path):
    write_run(sample_run.run(), tmp_path / "run", formats=["json"])
    return tmp_path / "run"


def invoke(*arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)


def test_without_a_form_it_prints_what_the_run_printed(run_directory):
    printed = invoke(run_directory).output
    assert "✗ leak         scenarios/subscriptions.py::subscribe_twice  +432 B/iteration  0.8 s\n" in printed
    assert "6 of 25 scenarios are not as expected" in printed


@pytest.mark.parametrize(
    ("form", "begin"),
    [
        ("json", '{\n "schema": "leakcheck/1"'),
        ("html", "<!doctype html>"),
        ("junit", "<?xml"),
        ("markdown", "## ❌"),
        ("sarif", '{\n "$schema"'),
        ("github", "::error file="),
        ("gitlab", "[\n {"),
    ],
)
def test_each_form_goes_to_standard_output(run_directory, form, begin):
    assert invoke(run_directory, "--format", form).output.lstrip().startswith(begin)


def test_an_output_directory_gets_all_files_of_a_run(run_directory, tmp_path):
    invoke(run_directory, "-o", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_several_results_become_one(run_directory, tmp_path):
    more = sample_run.run([sample_run.scenario("more.py::one")])
    write_run(more, tmp_path / "more", formats=["json"])
    merged = json.loads(invoke(run_directory, tmp_path / "more", "--format", "json").output)
    assert len(merged["scenarios"]) == 26


def test_one_file_is_written_where_it_is_asked_for(run_directory, tmp_path):
    invoke(run_directory, "--format", "markdown", "-o", tmp_path / "comment.md")
    assert (tmp_path / "comment.md").read_text().startswith("## ❌")


def test_a_disk_that_is_full_leaves_the_old_report_and_says_so(run_directory, tmp_path):
    (tmp_path / "report.html").write_text("the old one")
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); from leakcheck.cli.main import run; "
    )
    arguments = ["report", str(run_directory), "--format", "html", "-o", str(tmp_path / "report.html")]
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}import sys; sys.exit(run({arguments!r}))"], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "cannot write" in done.stderr
    assert "report.html" in done.stderr
    assert (tmp_path / "report.html").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_several_forms_need_a_directory(run_directory):
    with pytest.raises(UsageError, match="--output DIR"):
        invoke(run_directory, "--format", "junit", "--format", "sarif")
