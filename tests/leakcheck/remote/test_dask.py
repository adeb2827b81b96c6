"""Whole runs on a scheduler and workers of Dask that are processes of this machine: the same as a run without them."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest
from dask_cluster import SCHEDULER, WORKER, Command, DaskCluster, children
from processes import eventually

from leakcheck import results
from leakcheck.errors import UsageError
from leakcheck.remote.running import connect

SOURCE = """
from leakcheck import scenario
import helper

@scenario
def parses():
    helper.parse()

@scenario
def keeps():
    helper.remember()

@scenario
def ends():
    raise SystemExit(3)
"""
HELPER = """
import json
kept = []

def parse():
    json.loads("[1, 2]")

class Thing:
    pass

def remember():
    kept.append(Thing())
"""
PATIENT = """
import time
from leakcheck import scenario

@scenario(params={"n": [1, 2, 3, 4]})
def waits(n):
    time.sleep(0.001)
"""


@pytest.fixture
def project(tmp_path):
    """A folder; returns a function that writes a file of scenarios."""

    def write(source, name="scenarios.py"):
        (tmp_path / name).write_text(textwrap.dedent(source))
        return tmp_path

    write.folder = tmp_path
    return write


@pytest.fixture
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


def told(run):
    """What must be the same wherever a run takes place."""
    return {
        each.id: (
            each.verdict,
            each.ok,
            each.file,
            each.command,
            each.failure and (each.failure.type, each.failure.message),
            [(finding.fingerprint, finding.title, finding.stack) for finding in each.findings],
        )
        for each in run.scenarios
    }


def verdicts(folder):
    return {each.id.partition("::")[2]: each.verdict for each in results.read(folder / "report").scenarios}


def test_a_run_on_two_nodes_is_as_one_on_this_machine(project, place):
    project(HELPER, "helper.py")
    folder = project(SOURCE)
    with DaskCluster(place, workers=2) as cluster:
        code = Command(folder, "scenarios.py", "--on", cluster.address).wait()
        there = results.read(folder / "report")
        page = (folder / "report" / "index.html").read_text()
    assert Command(folder, "scenarios.py").wait() == code == 1
    here = results.read(folder / "report")
    assert told(there) == told(here)
    assert list(told(there)) == list(told(here))
    assert {key: there.environment[key] for key in here.environment} == here.environment
    assert there.control.status == "ok"
    assert {each.node for each in there.scenarios} <= {"node-1", "node-2"}
    assert {node.name: node.status for node in there.nodes} == {"node-1": "ok", "node-2": "ok"}
    assert "node-1" in page
    assert "node-2" in page


def test_the_commands_of_the_page_are_those_that_are_tested():
    page = (Path(__file__).parents[3] / "docs" / "scale.md").read_text("utf-8")
    for words in (SCHEDULER, WORKER):
        pattern = re.escape(" ".join(["dask", *words]))
        for name in ("HOST", "PORT", "CORES"):
            pattern = pattern.replace(name, r"[\d.]+")
        assert re.search(pattern, page), words


def test_the_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "leakcheck.remote.dask_engine", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'elkyn-leakcheck\[dask\]'"):
        connect("dask://127.0.0.1:8786", "run")


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "dask://", "ray://127.0.0.1:8786"])
def test_an_address_without_a_known_engine_is_one_sentence(address):
    with pytest.raises(UsageError, match=r"give the address of a scheduler, as dask://127\.0\.0\.1:8786"):
        connect(address, "run")


@pytest.mark.slow
def test_where_no_scheduler_answers_that_is_one_sentence(project):
    folder = project(PATIENT)
    command = Command(folder, "scenarios.py", "--on", "dask://127.0.0.1:9")
    assert command.wait() == 4
    assert "--on dask://127.0.0.1:9: no scheduler answers there" in command.text
    assert "Traceback" not in command.text


@pytest.mark.slow
def test_what_a_killed_worker_measured_is_measured_by_another(project, place):
    folder = project(PATIENT)
    with DaskCluster(place, workers=2) as cluster:
        command = Command(folder, "scenarios.py", "-v", "--on", cluster.address)
        line = command.wait_for("waits[1]: measuring on ")
        cluster.kill("node-1" if "node-1" in line else "node-2")
        assert command.wait() == 0
    assert verdicts(folder) == {f"waits[{n}]": "clean" for n in range(1, 5)}
    run = results.read(folder / "report")
    assert sorted(node.status for node in run.nodes) == ["lost", "ok"]
    assert len({each.node for each in run.scenarios}) == 1


@pytest.mark.slow
def test_a_scenario_that_kills_its_worker_is_an_error_after_two_and_takes_nothing_with_it(project, place):
    project(PATIENT)
    folder = project(
        """
        import os, signal
        from pathlib import Path
        from leakcheck import scenario

        @scenario
        def kills():
            if b"worker" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():
                os.kill(os.getppid(), signal.SIGKILL)
        """,
        "a_killer.py",
    )
    with DaskCluster(place, workers=3) as cluster:
        assert Command(folder, "a_killer.py", "scenarios.py", "--on", cluster.address).wait() == 1
        assert sum(cluster.is_gone(f"node-{number}") for number in (1, 2, 3)) == 2
    assert verdicts(folder) == {"kills": "error", **{f"waits[{n}]": "clean" for n in range(1, 5)}}
    first = results.read(folder / "report").scenarios[0]
    assert first.reason.startswith("was not measured: its nodes were lost: node-")


@pytest.mark.slow
def test_the_first_worker_may_come_late_and_another_later(project, place):
    folder = project(PATIENT)
    with DaskCluster(place) as cluster:
        command = Command(folder, "scenarios.py", "-v", "--on", cluster.address)
        command.wait_for("no node is there yet")
        cluster.start_worker("node-1")
        command.wait_for("waits[1]: measuring on node-1")
        cluster.start_worker("node-2")
        assert command.wait() == 0
    run = results.read(folder / "report")
    assert {each.node for each in run.scenarios} == {"node-1", "node-2"}


@pytest.mark.slow
def test_a_node_with_another_version_of_the_product_measures_nothing(project, place):
    folder = project(PATIENT)
    old = place / "old" / "elkyn_leakcheck-0.0.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: elkyn-leakcheck\nVersion: 0.0.1\n")
    with DaskCluster(place) as cluster:
        cluster.start_worker("old", PYTHONPATH=str(old.parent))
        command = Command(folder, "scenarios.py", "--on", cluster.address)
        refusal = (
            f"node old is not used: it has elkyn-leakcheck 0.0.1, and this run is one of {version('elkyn-leakcheck')}"
        )
        command.wait_for(refusal)
        cluster.start_worker("new")
        assert command.wait() == 0
    run = results.read(folder / "report")
    assert {each.node for each in run.scenarios} == {"new"}
    assert {node.name: node.status for node in run.nodes} == {"old": "refused", "new": "ok"}


@pytest.mark.slow
def test_a_worker_that_has_not_the_product_is_left_as_it_is(project, place):
    folder = project(PATIENT)
    with DaskCluster(place) as cluster:
        cluster.start_worker_without_the_product("bare")
        command = Command(folder, "scenarios.py", "-k", "waits[1]", "--on", cluster.address)
        command.wait_for("node bare is not used: it does not answer as this tool does: ModuleNotFoundError")
        assert not cluster.is_gone("bare")
        cluster.start_worker("full")
        assert command.wait() == 0
    assert [(node.name, node.status) for node in results.read(folder / "report").nodes] == [
        ("bare", "refused"),
        ("full", "ok"),
    ]


@pytest.mark.slow
def test_a_scheduler_that_goes_away_and_comes_back_costs_time_only(project, place):
    folder = project(PATIENT)
    with DaskCluster(place, workers=1) as cluster:
        command = Command(folder, "scenarios.py", "-v", "--on", cluster.address)
        command.wait_for("waits[1]: measuring on ")
        cluster.kill("scheduler")
        command.wait_for("the connection to the scheduler is lost")
        assert eventually(lambda: cluster.is_gone("node-1")), "a worker ends when its scheduler is gone"
        cluster.start_scheduler()
        cluster.start_worker("node-2")
        assert command.wait() == 0
    assert verdicts(folder) == {f"waits[{n}]": "clean" for n in range(1, 5)}
    assert "Traceback" not in command.text


@pytest.mark.slow
def test_ctrl_c_ends_what_is_measured_everywhere_and_keeps_what_is_finished(project, place):
    folder = project(PATIENT)
    with DaskCluster(place, workers=1) as cluster:
        command = Command(folder, "scenarios.py", "-v", "--on", cluster.address)
        command.wait_for("waits[2]: measuring on ")
        assert eventually(lambda: bool(children(cluster.processes["node-1"].pid)))
        command.process.send_signal(signal.SIGINT)
        assert command.wait() == 2
        assert eventually(lambda: not children(cluster.processes["node-1"].pid), 5)
        assert not cluster.is_gone("node-1")
    run = results.read(folder / "report")
    assert run.interrupted
    assert [each.id.partition("::")[2] for each in run.scenarios] == ["waits[1]", "waits[2]"]
    assert run.scenarios[0].verdict == "clean"


@pytest.mark.slow
def test_what_a_killed_run_has_begun_ends_on_the_nodes(project, place):
    folder = project(PATIENT)
    with DaskCluster(place, workers=1) as cluster:
        command = Command(folder, "scenarios.py", "-v", "--on", cluster.address)
        command.wait_for("waits[1]: measuring on ")
        assert eventually(lambda: bool(children(cluster.processes["node-1"].pid)))
        command.process.kill()
        assert eventually(lambda: not children(cluster.processes["node-1"].pid), 20)
        assert Command(folder, "scenarios.py", "-k", "waits[3]", "--on", cluster.address).wait() == 0
