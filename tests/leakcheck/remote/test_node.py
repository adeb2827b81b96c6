"""What a node does, called as an engine calls it: sources unpacked once, the same examination, paths by the bundle."""

from __future__ import annotations

import textwrap
import threading

import msgspec
import pytest

from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.records import Control, ScenarioResult
from leakcheck.remote import bundle, likeness, node
from leakcheck.remote.requests import Admit, Admitted, Examine, Progress, Prove, Work, decode, encode

SOURCE = """
from leakcheck import scenario
kept = []

@scenario
def keeps():
    kept.append(bytearray(100))

@scenario
def parses():
    int("7")

@scenario
def raises():
    raise ValueError("a " + "value")

@scenario
def waits():
    import time
    time.sleep(0.05)
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Returns a function that makes a request of a run with its own sources, and gives the answer."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    file = tmp_path / "scenarios.py"
    file.write_text(textwrap.dedent(SOURCE))
    sources = bundle.make(tmp_path, [str(file)])
    said = []

    def send(kind, answer, name="", tell=said.append, errors=False, **more):
        info = ScenarioInfo(id=f"scenarios.py::{name}", target=str(file), name=name)
        job = Job(scenario=info, python="", cwd=tmp_path)
        work = msgspec.Raw(sources.outgoing(encode(Work(job=job, tools=["auto"], errors=errors))))
        request = kind(run=tmp_path.name, digest=sources.digest, python="", work=work, **more)
        return decode(sources.incoming(node.answer(encode(request), tell)), answer)

    send.sources, send.said, send.run, send.file = sources, said, tmp_path.name, str(file)
    return send


def test_a_scenario_is_examined_with_the_sources_that_were_sent(ask):
    like = likeness.here()
    assert ask(Admit, Admitted, like=like).lacks_bundle
    admitted = ask(Admit, Admitted, like=like, archive=ask.sources.archive)
    assert (admitted.lacks_bundle, admitted.refused) == (False, "")
    assert admitted.environment["implementation"] == "CPython"
    assert not ask(Admit, Admitted, like=like).lacks_bundle, "it is kept for the next run"
    (result,) = ask(Examine, list[ScenarioResult], "keeps")
    assert result.verdict == "leak"
    assert result.findings[0].stack[0].file == ask.file
    assert "bundle" not in encode(result).decode()
    told = [decode(each, Progress) for each in ask.said]
    assert {each.what for each in told} >= {"start", "progress", "diagnosing"}


def test_what_an_exception_says_stays_on_the_node(ask):
    ask(Admit, Admitted, like=likeness.here(), archive=ask.sources.archive)
    (result,) = ask(Examine, list[ScenarioResult], "raises")
    assert (result.verdict, result.failure.type) == ("error", "ValueError")
    assert "a value" not in encode(result).decode()
    assert ask.said
    assert not any(b"a value" in each for each in ask.said)


def test_points_of_failure_come_with_the_result_of_their_scenario(ask):
    ask(Admit, Admitted, like=likeness.here(), archive=ask.sources.archive)
    results = ask(Examine, list[ScenarioResult], "parses", errors=True)
    assert [each.id for each in results] == ["scenarios.py::parses", "scenarios.py::parses!errors"]
    assert [each.verdict for each in results] == ["clean", "screened"]


def test_the_control_is_run_where_the_scenarios_are(ask):
    ask(Admit, Admitted, like=likeness.here(), archive=ask.sources.archive)
    assert ask(Prove, Control).status == "ok"


def test_another_environment_is_refused_before_sources_are_looked_for(ask):
    like = msgspec.structs.replace(likeness.here(), packages={"numpy": "1.0"})
    assert ask(Admit, Admitted, like=like).refused.startswith("has other packages: ")


def test_a_run_that_is_called_off_ends_what_is_examined_and_what_comes_later(ask):
    ask(Admit, Admitted, like=likeness.here(), archive=ask.sources.archive)
    begun = threading.Event()
    threading.Thread(target=lambda: (begun.wait(), node.interrupt(ask.run))).start()
    (result,) = ask(Examine, list[ScenarioResult], "waits", tell=lambda _: begun.set())
    assert result.interrupted
    (late,) = ask(Examine, list[ScenarioResult], "waits")
    assert (late.verdict, late.reason) == ("inconclusive", "interrupted before it was decided")
