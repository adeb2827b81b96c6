"""A verdict speaks for child processes that no agent comes into too: their memory is read from outside, in pages."""

from __future__ import annotations

import os
from functools import partial

import pytest
from processes import job_of, measured, run

from leakcheck.agent.meters import descendants


@pytest.fixture
def job(tmp_path):
    return partial(job_of, tmp_path)


FORKED = """
    import multiprocessing
    context = multiprocessing.get_context("fork")
    def serve(pipe):
        kept = []
        while True:
            calls = pipe.recv()
            {body}
            pipe.send(None)
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
        child.kill()
        child.join()
"""
STARTED = """
    import subprocess, sys
    CHILD = "import sys\\nkept = []\\nfor _ in sys.stdin: kept.append(bytearray(10_000)); print(flush=True)"
    @scenario
    def case():
        command = [sys.executable, "-I", "-c", CHILD]  # it leaves the environment alone, and with it the agent
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        def step():
            child.stdin.write(b"x\\n")
            child.stdin.flush()
            child.stdout.readline()
        yield step
        child.communicate()
"""


def test_what_a_child_keeps_is_a_leak_of_the_program(job):
    result = measured(job(STARTED))
    assert result.leaking == ["children.bytes"]
    assert result.judgements["children.bytes"].growth == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize(
    "body",
    ["bytearray(100_000)", "calls <= 3000 and kept.append(bytearray(1000))"],
    ids=["lets it go", "keeps a limited number"],
)
def test_a_child_that_stops_growing_is_innocent(job, body):
    assert measured(job(FORKED.format(body=body))).leaking == []


def test_a_child_that_writes_to_what_it_has_inherited_is_innocent(job):
    """Each page becomes its own once, and then there are no more of them."""
    source = """
        import itertools, os
        inherited = bytearray(8 << 20)
        @scenario
        def case():
            asked, ask = os.pipe()
            answer, answered = os.pipe()
            child = os.fork()
            if not child:
                for position in itertools.cycle(range(0, len(inherited), 4096)):
                    os.read(asked, 1)
                    inherited[position] = 1
                    os.write(answered, b"x")
            def step():
                os.write(ask, b"x")
                os.read(answer, 1)
            yield step
            os.kill(child, 9)
            os.waitpid(child, 0)
    """
    assert measured(job(source)).leaking == []


def test_the_children_of_children_are_read(job):
    source = STARTED.replace("= [sys.executable,", '= ["sh", "-c", \'"$@"; true\', "sh", sys.executable,')
    assert measured(job(source)).leaking == ["children.bytes"]


def test_the_line_that_makes_a_child_grow_is_named(job):
    result = run(job(STARTED), "auto")
    assert result.findings[0].kind == "resource"
    assert result.findings[0].stack[0].function.endswith("step")
    assert any("read from outside" in each and "-I" in each for each in result.advice)


def test_of_a_child_that_may_not_be_read_nothing_is_decided(job):
    source = """
        import os
        from leakcheck.agent.meters import descendants
        descendants._text = lambda pid: None
        @scenario
        def case():
            child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
            yield lambda: None
            os.kill(child, 9)
            os.waitpid(child, 0)
    """
    result = run(job(source))
    assert result.verdict == "inconclusive"
    assert "1 process below it may not be read: run as its user" in result.reason
    assert "would have shown" in result.reason


def test_a_process_that_is_gone_has_no_memory():
    child = os.posix_spawn("/bin/true", ["true"], {})
    try:
        assert child in descendants.descendants()
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert descendants._text(child) == b""
    finally:
        os.waitpid(child, 0)
    assert child not in descendants.descendants()
