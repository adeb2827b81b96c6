"""Python children of a scenario carry the agent: exact meters, and the line in the child that grows."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from array import array
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import pytest
from processes import busy_processors, job_of, measured, run

from leakcheck.agent.entry.resident import PRELOAD
from leakcheck.agent.origin import Origin
from leakcheck.agent.processes.agents import History, Role, _program_of
from leakcheck.agent.processes.asking import Asking
from leakcheck.agent.protocol import Grower, Growers, Roots
from leakcheck.agent.step import run_plain
from leakcheck.records import Finding
from leakcheck.run import roles


@pytest.fixture
def job(tmp_path):
    return partial(job_of, tmp_path)


SERVING = """
    import multiprocessing
    context = multiprocessing.get_context("{method}")
    kept = []
    def serve(pipe):
        for calls in iter(pipe.recv, 0):
            {body}
            pipe.send(calls)
    @scenario
    def case():
        pipe, other = context.Pipe()
        child = context.Process(target=serve, args=(other,), daemon=True)
        child.start()
        calls = 0
        def step():
            nonlocal calls
            calls += 1
            pipe.send(calls)
            pipe.recv()
        yield step
        pipe.send(0)
        child.join()
"""
STARTED = """
    import subprocess, sys
    CHILD = "import sys\\nkept = []\\nfor _ in sys.stdin: kept.append(bytearray(1000)); print(flush=True)"
    @scenario
    def case():
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        def step():
            child.stdin.write(b"x\\n")
            child.stdin.flush()
            child.stdout.readline()
        yield step
        child.communicate()  # and it ends by itself
"""
POOLED = """
    import multiprocessing, sys
    from concurrent.futures import ProcessPoolExecutor
    kept = []
    def handle(number):
        kept.append(bytearray(1000))
        return number
    @scenario
    def case():
        with {pool} as pool:
            yield lambda: {call}
"""
A_POOL = POOLED.format(pool='multiprocessing.get_context("fork").Pool(2)', call="pool.apply(handle, (1,))")
RECYCLED = A_POOL.replace("Pool(2)", "Pool(2, maxtasksperchild=40)")


@pytest.mark.parametrize(
    "source",
    [*(SERVING.format(method=each, body="kept.append(bytearray(1000))") for each in ("fork", "spawn")), STARTED],
    ids=["fork", "spawn", "exec"],
)
def test_what_a_child_keeps_is_on_the_ledger_to_the_byte(job, source):
    result = measured(job(source))
    assert result.leaking[0] == "heap.bytes"
    assert result.judgements["heap.bytes"].growth == pytest.approx(1096, rel=0.02), (
        "1,000 bytes with their object, and a place in the list"
    )
    assert result.samples["children.bytes"][-1].value == 0, "nothing is read from outside any more"


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("fork", "bytearray(100_000)"),
        ("fork", "calls <= 3000 and kept.append(bytearray(1000))"),
        ("forkserver", "pass"),
    ],
    ids=["lets it go", "keeps a limited number", "does nothing"],
)
def test_a_child_that_does_not_go_on_growing_is_innocent(job, method, body):
    assert measured(job(SERVING.format(method=method, body=body)), time_s=4.0).leaking == []


def test_an_idle_child_does_not_move_a_reading(job):
    result = measured(job(SERVING.format(method="fork", body="pass")), time_s=2.0)
    late = [sample.value for sample in result.samples["heap.bytes"] if sample.iterations >= 256]
    assert max(late) - min(late) <= 512, "two processes, each with its own noise of some chunks"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(A_POOL, marks=pytest.mark.slow),
        POOLED.format(pool="ProcessPoolExecutor(2)", call="pool.submit(handle, 1).result()"),
    ],
    ids=["Pool", "ProcessPoolExecutor"],
)
def test_the_line_in_the_worker_of_a_pool_is_named(job, source):
    result = run(job(source), "auto")
    assert result.verdict == "leak"
    finding = result.findings[0]
    assert finding.stack[0].source == "kept.append(bytearray(1000))"
    assert "held by scenarios_under_test.kept[*]" in finding.title
    assert finding.title.endswith(("; in worker", "; in worker x2")), "as many as have got work"
    assert len(finding.stack) == 1, "what called fork was the parent's"


def test_the_line_in_a_program_that_was_started_is_named(job, tmp_path):
    (tmp_path / "keeps.py").write_text(
        "import sys\nkept = []\nfor _ in sys.stdin:\n    kept.append(bytearray(1000))\n    print(flush=True)\n"
    )
    result = run(job(STARTED.replace('"-c", CHILD', '"keeps.py"')), "auto")
    finding = result.findings[0]
    assert (finding.stack[0].line, finding.stack[0].source) == (4, "kept.append(bytearray(1000))")
    assert finding.title.endswith("held by __main__.kept[*], never removed; in child process keeps.py")


def test_what_the_step_keeps_itself_is_not_put_down_to_its_children(job):
    source = A_POOL.replace("handle,", "abs,").replace("yield lambda:", "yield lambda: kept.append(bytearray(500)) or")
    finding = run(job(source), "auto").findings[0]
    assert "kept.append(bytearray(500))" in finding.stack[0].source
    assert "worker" not in finding.title


def test_workers_that_are_recycled_are_not_accused_and_it_is_said(job):
    """They live for some milliseconds: what of them is alive at a reading is chance, and may be undecided for long."""
    result = run(job(RECYCLED), "growth")
    assert result.verdict != "leak", result.reason
    assert any("ended meanwhile, and with them went what they had grown by" in each for each in result.advice)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "verdicts"),
    [(A_POOL, {"leak"}), (RECYCLED, {"clean", "bounded", "inconclusive"}), (STARTED, {"leak"})],
    ids=["pool", "recycled", "exec"],
)
def test_verdicts_hold_beside_a_busy_loop_on_each_processor(job, source, verdicts):
    with busy_processors():
        result = run(job(source), "auto")
    assert result.verdict in verdicts
    if result.verdict == "leak":
        assert "kept.append(bytearray(1000))" in result.findings[0].title or result.findings[0].stack[0].line > 0
        assert "; in " in result.findings[0].title


def test_a_scenario_without_children_carries_nothing_of_it(job):
    source = """
        import os, subprocess, sys
        @scenario
        def case(ctx):
            ctx.meter("ours", lambda: sum("leakcheck.agent.processes" in name for name in sys.modules))
            ctx.meter("sockets", lambda: "_socket" in sys.modules)
            def step():
                if not (pid := os.fork()):
                    os._exit(0)
                os.waitpid(pid, 0)
            yield step
    """
    result = measured(job(source), time_s=1.0)
    assert result.leaking == []
    assert result.samples["ours"][-1].value == result.samples["sockets"][-1].value == 0


ENVIRONMENT = """
    import os, sys, threading, time
    time.sleep(0.3)  # it would have come by now
    own = getattr(sys.modules.get("sitecustomize"), "OWN", "none")
    on_path = any("preload" in each for each in sys.path)
    main = threading.main_thread() is threading.current_thread()
    print(own, "leakcheck" in sys.modules, "resident" in sys.modules, on_path, main)
"""


@pytest.mark.parametrize(("options", "own"), [([], "mine"), (["-I"], "none"), (["-S"], "none"), (["-E"], "none")])
def test_the_environment_means_what_it_did(tmp_path, options, own):
    (tmp_path / "sitecustomize.py").write_text("OWN = 'mine'")
    environment = {**os.environ, "PYTHONPATH": f"{PRELOAD}:{tmp_path}", "LEAKCHECK_AGENTS": "nobody-listens-here"}
    command = [sys.executable, *options, "-c", textwrap.dedent(ENVIRONMENT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    still_on_path = options == ["-S"]  # where no module of that name is imported, none of ours can take it away
    assert (done.stdout.split()[1:], done.stderr) == (["False", "False", str(still_on_path), "True"], "")
    assert done.stdout.startswith(own) or options


def test_the_history_of_a_process_is_of_fixed_size_and_knows_its_last_half():
    history = History(["heap.bytes", "fds"])
    for calls in (0, 1, 3, 7, 15, 31, 63, 127, 255):
        history.note(calls, array("d", [1000 + 10 * calls, 5]))
    assert history.rate("heap.bytes") == pytest.approx(10)
    assert history.grown("heap.bytes") >= 10 * 128
    assert history.since_first("heap.bytes") == 2550
    assert (history.rate("fds"), history.rate("threads")) == (0, 0)


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("python server.py --port 1", "server.py"),
        ("/usr/bin/python3 -u /srv/app/server.py", "server.py"),
        ("python -m http.server", "http.server"),
        ("python -c code", ""),
        ("python /srv/secret", ""),
    ],
)
def test_a_child_is_called_after_what_it_runs(command, program):
    assert _program_of(command.split()) == program


def test_a_stack_ends_where_its_process_was_forked():
    origin = Origin(Roots((), (), ("/lib/",)))
    frame = sys._getframe()
    origin.was_forked_in(frame)
    parents = [(each.f_code.co_filename, each.f_lineno, "") for each in (frame.f_back, frame.f_back.f_back)]
    assert origin.inside((("/me/worker.py", 3, "handle"), ("/lib/pool.py", 9, "run"), *parents)) == (
        ("/me/worker.py", 3, "handle"),
    )


def test_each_role_that_grows_is_looked_into_the_largest_first():
    roles_that_grow = [
        Grower("main process", 1, [50.0]),
        Grower("worker", 2, [300.0, 310.0]),
        Grower("tracker", 1, [0.0]),
    ]
    growers, leaking = Growers(roles_that_grow, 610.0, "worker"), {"heap.bytes": 660.0}
    places = roles.places(growers, leaking, service=False)
    assert [(each.asked, each.where) for each in places] == [("worker", "; in worker x2"), ("", "; in main process")]
    assert [each.part for each in places] == pytest.approx([610 / 660, 50 / 660])
    finding = Finding(kind="container", fingerprint="1" * 16, title="leaks 1 Session per iteration", share=1.0)
    (named,) = roles.named([finding], places[0])
    assert (named.title, named.share) == ("leaks 1 Session per iteration; in worker x2", 0.9242)
    assert roles.explained(places, [1.0, 0.5]) == pytest.approx(635 / 660, abs=1e-3)


def test_where_the_step_grows_alone_nothing_is_said_of_processes():
    growers = Growers([Grower("main process", 1, [50.0]), Grower("worker", 2, [0.0, 0.1])], 0.0, "")
    assert roles.places(growers, {"heap.bytes": 50.0}, service=False) == [roles.Place("", "", 1.0)]
    assert roles.places(None, {"heap.bytes": 50.0}, service=False) == [roles.Place("", "", 1.0)]


def test_what_the_step_and_its_child_keep_is_found_in_each(job):
    source = SERVING.format(method="fork", body="kept.append(bytearray(1000))")
    source = source.replace("calls += 1", "calls += 1; own.append(bytearray(3000))").replace(
        "kept = []", "kept, own = [], []"
    )
    result = run(job(source), "auto")
    own, childs = result.findings[:2]
    assert "held by scenarios_under_test.own[*], never removed; in main process" in own.title
    assert "held by scenarios_under_test.kept[*], never removed; in worker" in childs.title
    assert result.explained > 0.9


def test_what_ended_with_its_growth_is_said():
    growers = Growers([Grower("worker", 2, [0.0, 1.0], 14, 98 * 1024.0)], 0.0, "")
    grow, ended = roles.advice(growers, (), service=False)
    assert grow == "1 of 2 processes of the role 'worker' grows"
    assert ended.startswith("14 processes of the role 'worker' ended meanwhile, and with them went what they had grown")
    assert "(up to 98.0 KiB each)" in ended


def test_of_workers_that_share_a_queue_what_all_of_them_grow_by_is_told_and_nobody_is_asked():
    """None of them answers a question then: it would take another for it."""

    def worker(pid, per_call):
        history = History(["heap.bytes"])
        for calls in (0, 10, 20, 40):
            history.note(calls, array("d", [1000.0 + per_call * calls]))
        return SimpleNamespace(pid=pid, role=Role("worker", 1), history=history)

    class Known(dict):
        __iter__ = lambda self: iter(self.values())  # noqa: E731
        by_pid: ClassVar = {}
        ended: ClassVar = {}

    asking = Asking(SimpleNamespace(iterations=40), Known({1: worker(-1, 300.0), 2: worker(-2, 700.0)}))
    growers = run_plain(asking.who_grows("heap.bytes", 64))
    assert growers == Growers([Grower("worker", 2, [300.0, 700.0])], 1000.0, "worker")
