"""The terminal: plain where no one watches, alive where someone does, and never hijacked by what it prints."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import sample_run
from rich.console import Console

from leakcheck.records import Control, Failure, Node, Sample, ToolRun
from leakcheck.report import markdown
from leakcheck.report.run_view import RunView
from leakcheck.report.scenario_text import print_finding


def printed(run=None, capsys=None, **options):
    run = run or sample_run.run()
    view = RunView(len(run.scenarios), **options)
    with view:
        view.plan([f"{len(run.scenarios)} scenarios"])
        view.control(run.control)
        for scenario in run.scenarios:
            view.start(scenario.id)
            view.progress(scenario.id, "heap.bytes", [Sample(1, 1.0)], 3.0)
            view.finish(scenario)
    view.summary(run, Path("reports/20261123"))
    return capsys.readouterr().out


def test_without_a_terminal_each_scenario_is_one_plain_line(capsys):
    text = printed(capsys=capsys)
    assert "\x1b" not in text
    assert "✗ leak         scenarios/subscriptions.py::subscribe_twice  +432 B/iteration  0.8 s\n" in text
    assert "6 of 25 scenarios are not as expected" in text
    assert "Report: reports/20261123" in text


def test_a_leak_is_told_once_and_named_again_at_the_end(capsys):
    text = printed(capsys=capsys)
    having = [scenario for scenario in sample_run.suite() if scenario.reason == sample_run.LISTENER.title]
    assert text.count(sample_run.LISTENER.title) == len(having)
    last = text[text.index("6 of 25 scenarios") :]
    assert "  ✗ leak scenarios/subscriptions.py::subscribe_twice +432 B/iteration\n" in last
    assert sample_run.LISTENER.title not in last


def test_sentences_are_not_broken_into_lines_where_logs_are_searched(capsys):
    assert f"    {sample_run.LISTENER.title}" in printed(capsys=capsys).splitlines()


def test_a_bounded_growth_is_named(capsys):
    full = sample_run.scenario("a.py::b", "bounded", reason="heap.bytes grew", advice=["lru_cache of a.f is full"])
    assert "    heap.bytes grew: lru_cache of a.f is full\n" in printed(sample_run.run([full]), capsys)


def test_garbage_beside_a_bounded_growth_is_told_once(capsys):
    waiting = sample_run.meter("garbage.bytes", "B", base=8 << 20, decisive=False, reason="makes 24 KiB of garbage")
    meters = [*sample_run.quiet_meters(), waiting]
    one = sample_run.scenario("a.py::b", "bounded", meters=meters, advice=["no leak, but makes 24 KiB of garbage"])
    assert printed(sample_run.run([one]), capsys).count("makes 24 KiB of garbage") == 1


def test_what_a_long_examination_took_is_told(capsys):
    tools = [ToolRun(name="growth", status="ok", duration_s=1.0), ToolRun(name="memray", status="ok", duration_s=9.0)]
    slow = sample_run.scenario("a.py::slow", duration_s=10.5, tools=tools)
    quick = sample_run.scenario("a.py::quick", duration_s=1.5, tools=tools[:1])
    text = printed(sample_run.run([slow, quick]), capsys)
    assert "a.py::slow  10 s (memray 9.0 s)\n" in text or "a.py::slow  11 s (memray 9.0 s)\n" in text
    assert "a.py::quick  1.5 s\n" in text


def test_of_a_run_on_many_machines_it_is_told_where_each_was_and_what_another_node_denies(capsys):
    leak = sample_run.scenario(
        "a.py::leak", "leak", ok=False, node="node-7", confirmed=False,
        advice=["node node-8 does not confirm the leak: there it was clean: does not grow"],
    )  # fmt: skip
    nodes = [Node(name="node-7", status="ok", scenarios=2), Node(name="old", status="refused")]
    text = printed(sample_run.run([leak, sample_run.scenario("a.py::b", node="node-7")], nodes=nodes), capsys)
    assert "a.py::leak  0.8 s  node-7\n" in text
    assert "    node node-8 does not confirm the leak: there it was clean: does not grow\n" in text
    assert " on 1 node: " in text


def test_the_live_view_of_many_machines_fits_into_80_columns():
    view = RunView(9)
    view.nodes(64, 128)
    view.start_at("scenarios/a_long_name_of_a_file_that_says_much.py::and_a_long_name_of_a_step", "10.20.30.40:48123")
    view.progress("scenarios/a_long_name_of_a_file_that_says_much.py::and_a_long_name_of_a_step", "heap.bytes", [], 9.0)
    console = Console(file=io.StringIO(), width=80)
    console.print(view)
    rows = console.file.getvalue().splitlines()
    assert len(rows) == 2
    assert "0/9" in rows[0]
    assert "64 nodes, 128 cores" in rows[0]
    assert rows[1].rstrip().endswith("10.20.30.40:48123")


def test_the_message_of_an_error_is_told_once(capsys):
    failure = Failure(
        type="ValueError",
        message="no such key",
        traceback='Traceback:\n  File "a.py", line 3\nValueError: no such key\n',
    )
    failed = sample_run.scenario("a.py::b", verdict="error", ok=False, reason="raised ValueError", failure=failure)
    text = printed(sample_run.run([failed]), capsys)
    assert text.count("no such key") == 1
    assert '      File "a.py", line 3\n' in text.replace("        File", "      File")


def test_quiet_leaves_what_is_wrong_and_twice_quiet_nothing(capsys):
    once = printed(capsys=capsys, quiet=1)
    assert "subscribe_twice" in once
    assert "open_close" not in once
    assert printed(capsys=capsys, quiet=2) == ""


def test_verbose_shows_the_meters_in_which_something_moved(capsys):
    meters = [sample_run.meter("heap.bytes", "B", 4096.0), sample_run.meter("fds", "fds")]
    run = sample_run.run([sample_run.leaking("a.py::b", [], meters=meters)])
    told = printed(run, capsys, verbose=1)
    assert "heap.bytes" in told
    assert "fds " not in told
    assert "▁" not in printed(run, capsys)


def test_colour_only_when_it_is_wished(capsys):
    assert "\x1b[" in printed(capsys=capsys, color="always")
    assert "\x1b[" not in printed(capsys=capsys, color="never")


def test_a_failed_control_is_the_last_word(capsys):
    run = sample_run.run(control=Control(status="failed", reason="the planted leak was not found"))
    text = printed(run, capsys)
    assert "The control failed, no verdict of this run can be relied on" in text


def test_what_is_printed_cannot_steer_the_terminal(capsys):
    hostile = "\x1b]0;owned\x07\x1b[2J[red]markup[/red]\u202e\r"
    finding = sample_run.replace(
        sample_run.LISTENER,
        title=hostile,
        hint=hostile,
        type=hostile,
        examples=[hostile],
        stack=[sample_run.frame(hostile, 1, hostile, hostile, user=True)],
        path=[sample_run.replace(node, name=hostile) for node in sample_run.LISTENER.path],
    )
    scenario = sample_run.leaking(hostile, [finding], reason=hostile, command=hostile)
    text = printed(sample_run.run([scenario]), capsys, verbose=1)
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(text)
    assert "[red]markup[/red]" in text


def test_a_finding_prints_its_line_stack_and_path():
    out = io.StringIO()
    scenario = sample_run.suite()[0]
    print_finding(sample_run.LISTENER, scenario, Console(file=out, width=200, color_system=None))
    text = out.getvalue()
    assert "app/hub.py:41" in text
    assert "self.listeners.append(Listener(handler))" in text
    assert "held by app.hub.hub.listeners[*]" in text
    assert f"#{sample_run.LISTENER.fingerprint}" in text


WATCHED = """
    import sys, time
    sys.path.insert(0, {tests!r})
    import sample_run
    from leakcheck.records import Sample
    from leakcheck.report.run_view import RunView
    first, second = sample_run.suite()[0], sample_run.suite()[11]
    view = RunView(2)
    with view:
        view.start(first.id)
        samples = [Sample(2**n, 1e6 + 400.0 * 2**n) for n in range(14)]
        view.progress(first.id, "heap.bytes", samples, 7.0)
        sys.stdin.readline()
        view.diagnosing(first.id, ("graph", "memray"))
        sys.stdin.readline()
        view.finish(first)
        view.finish(second)
    view.summary(sample_run.run([first, second]), None)
"""


def watched(**environment):
    """What a person at a terminal of 80 columns sees: until the view shows progress, and all of it."""
    leader, follower = pty.openpty()
    script = textwrap.dedent(WATCHED).format(tests=str(Path(__file__).resolve().parents[1]))
    cleaned = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "FORCE_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=follower,
        stdout=follower,
        env={**cleaned, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **environment},
    )
    os.close(follower)
    seen, deadline, waited_for = "", time.monotonic() + 60, ["at most", "graph"]
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed: the child has ended
                break
            seen += chunk.decode(errors="replace")
        plain = "CI" in environment or "TERM" in environment
        if waited_for and (plain or waited_for[0] in seen):
            waited_for.pop(0)
            os.write(leader, b"\n")
    assert child.wait(10) == 0
    os.close(leader)
    return seen


def test_on_a_terminal_it_shows_progress_a_sparkline_and_the_time_left():
    seen = watched()
    assert " heap.bytes " in seen
    assert "█" in seen
    assert "of at most 7." in seen
    assert "leaks; looking for the place: graph, memray" in seen
    assert "\x1b[31m" in seen or "\x1b[1;31m" in seen
    assert "subscribe_twice" in seen


def test_ci_keeps_a_terminal_plain_and_still():
    seen = watched(CI="true")
    assert "at most" not in seen
    assert "subscribe_twice" in seen


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}], ids=["NO_COLOR"])
def test_no_color_is_respected(environment):
    seen = watched(**environment)
    assert "\x1b[31m" not in seen
    assert "\x1b[1;31m" not in seen
    assert "at most" in seen


def test_a_dumb_terminal_gets_plain_lines():
    assert "\x1b" not in watched(TERM="dumb")


def test_watching_costs_next_to_nothing():
    view = RunView(1)
    samples = [Sample(n, float(n)) for n in range(200)]
    began = time.process_time()
    with view:
        for _step in range(20_000):
            view.progress("a.py::one", "heap.bytes", samples, 1.0)
    assert time.process_time() - began < 2


def test_tools_that_came_to_nothing_are_named_with_the_reason(capsys):
    tools = [
        ToolRun(name="graph", status="error", reason="timeout: no answer for 60 s"),
        ToolRun(name="memray", status="skipped", reason="memray is not installed here"),
        ToolRun(name="valgrind", status="not needed", reason="the growth is explained without it"),
    ]
    run = sample_run.run([sample_run.scenario("a.py::b", tools=tools), sample_run.scenario("a.py::c", tools=tools[:1])])
    told = printed(run, capsys)
    assert "graph failed: timeout: no answer for 60 s (2 scenarios)\n" in told
    assert "memray skipped: memray is not installed here (1 scenario)\n" in told
    assert "valgrind" not in told
    assert "* graph failed: timeout" in markdown.render(run)


def test_how_many_failures_were_tried_is_told_and_what_leaks_at_one_is_no_scenario_more(capsys):
    view = RunView(1, verbose=1)
    view.start("a.py::b")
    view.failing("a.py::b", 0, 36)
    view.failing("a.py::b", 3, 36)
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(view)
    assert "failing: 3 of 36" in out.getvalue()
    view.finish(sample_run.scenario("a.py::b"))
    view.finish(sample_run.scenario("a.py::b!errors", verdict="screened", ok=True, failing="all points"))
    Console(file=out, width=80, color_system=None).print(view)
    assert "1/1" in out.getvalue()
    assert "a.py::b: failing, 36 failures ..." in capsys.readouterr().out
