"""A service under requests: its processes are measured together, and whoever grows is named with the line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import socket

import msgspec
import pytest
from processes import eventually, is_running, job_of, measured, run, state_of

from leakcheck.agent.entry.resident import PRELOAD
from leakcheck.agent.processes import stopping
from leakcheck.agent.protocol import Grower, Growers
from leakcheck.agent.scenario import Context
from leakcheck.agent.service.requests import Request, Requests
from leakcheck.agent.service.started import Service, ServiceError
from leakcheck.execution.job import Budget
from leakcheck.records import Finding
from leakcheck.run import roles

PREFORKED = """
    # Four workers accept at one socket. The one of number LEAKY keeps 1,000 bytes of each request.
    import os, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer

    PORT, LEAKY = int(sys.argv[1]), sys.argv[2]
    kept = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if str(worker) == LEAKY:
                kept.append(bytearray(1000))
            self.send_response(200 if self.path != "/broken" else 500)
            self.end_headers()
            self.wfile.write(b"fine")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", PORT), Handler)
    workers = []
    for worker in range(4):
        pid = os.fork()
        if not pid:
            server.serve_forever()
        workers.append(pid)
    if len(sys.argv) > 3:
        print(os.getpid(), *workers, file=open(sys.argv[3], "w"))
    for pid in workers:
        os.waitpid(pid, 0)
"""
LEAKING_LINE = "kept.append(bytearray(1000))"


@pytest.fixture
def server(tmp_path) -> Path:
    file = tmp_path / "server.py"
    file.write_text(textwrap.dedent(PREFORKED))
    return file


def leakcheck(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "100"}
    command = [sys.executable, "-m", "leakcheck", "service", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)


def test_one_of_four_workers_that_leaks_is_named_with_its_line(tmp_path, server):
    done = leakcheck(
        tmp_path, "--no-control", "--report", "report", "--get", "/items",
        "--", sys.executable, str(server), "{port}", "2",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "report" / "results.json").read_text())["scenarios"]
    assert result["id"] == "service::GET /items"
    assert result["verdict"] == "leak"
    finding = result["findings"][0]
    assert finding["stack"][0]["source"].strip() == LEAKING_LINE
    assert finding["title"].endswith("held by __main__.kept[*], never removed; in worker")
    assert finding["count_per_iteration"] == pytest.approx(1, rel=0.05)
    assert finding["bytes_per_iteration"] == pytest.approx(1060, rel=0.1)
    assert any(each.startswith("1 of 4 processes of the role 'worker' grows") for each in result["advice"])
    assert finding["title"] in done.stdout


def test_four_workers_that_keep_nothing_are_clean_to_the_byte(tmp_path, server):
    source = f"""
        import sys
        from leakcheck.agent.service.requests import Request, Requests
        @scenario
        def case(ctx):
            with ctx.service([sys.executable, {str(server)!r}, "{{port}}", "none"]) as service:
                yield Requests(service, [Request("GET", "/")], 4)
    """
    result = measured(job_of(tmp_path, source), time_s=2.0)
    assert result.leaking == []
    heap = [sample.value for sample in result.samples["heap.bytes"] if sample.iterations >= 64]
    assert max(heap) - min(heap) < 4096, "four workers and their parent, each with its own noise of some bytes"
    assert {spec.name for spec in result.meters} >= {"heap.bytes", "fds", "threads", "children", "children.bytes"}


def test_a_scenario_measures_the_service_and_not_itself(tmp_path):
    """What the client keeps is not the service's: an iteration is what the step does to that."""
    source = """
        import sys
        from urllib.request import urlopen
        kept = []
        @scenario
        def case(ctx):
            command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
            with ctx.service(command, ready="/") as service:
                def step():
                    kept.append(bytearray(100_000))
                    urlopen(service.url + "/").close()
                yield step
    """
    assert measured(job_of(tmp_path, source), time_s=1.0).leaking == []


def test_a_service_that_has_no_agent_is_read_from_outside(tmp_path, server):
    """`-I` leaves the environment alone, and with it what would load the agent."""
    source = f"""
        import sys
        from leakcheck.agent.service.requests import Request, Requests
        @scenario
        def case(ctx):
            with ctx.service([sys.executable, "-I", {str(server)!r}, "{{port}}", "1"]) as service:
                yield Requests(service, [Request("GET", "/")], 4)
    """
    job = job_of(tmp_path, source)
    result = measured(job, time_s=3.0)
    assert result.samples["children.bytes"][-1].value > 4 << 20
    assert result.judgements["children.bytes"].growth > 100
    assert run(msgspec.structs.replace(job, budget=Budget(time_s=1.0)), "growth").failure is None


def test_what_a_service_answers_is_looked_at(tmp_path, server):
    with Service([sys.executable, str(server), "{port}", "none"], None, 20) as service:
        with pytest.raises(ServiceError, match="answers 500 to GET /broken"):
            Requests(service, [Request("GET", "/broken")], 1)
        visits = Requests(service, [Request("GET", "/")], 3)
        visits.many(50)
        assert visits.done == 50
        visits._requests = iter([Request("GET", "/broken")] * 100)
        with pytest.raises(ServiceError, match="answers 500 to every request"):
            visits.many(100)
        assert visits.done < 100


@pytest.mark.parametrize(
    ("code", "timeout", "message"),
    [
        ("raise SystemExit(3)", 20, "the service ended with exit code 3 before it answered; what it printed"),
        ("import os; os.kill(os.getpid(), 9)", 20, "the service ended by SIGKILL before it answered"),
        ("import time; time.sleep(600)", 0.2, r"did not answer within 0.2 s; does it listen on the port"),
    ],
)
def test_a_service_that_does_not_start_is_told_in_a_sentence(code, timeout, message):
    with pytest.raises(ServiceError, match=message), Service([sys.executable, "-c", code, "{port}"], None, timeout):
        pass


def test_a_command_that_there_is_not_is_told_in_a_sentence():
    with (
        pytest.raises(ServiceError, match="cannot start no-such-server: No such file"),
        Service("no-such-server", None, 1),
    ):
        pass


def test_the_error_of_a_service_is_the_error_of_its_scenario(tmp_path):
    source = """
        import sys
        @scenario
        def case(ctx):
            with ctx.service([sys.executable, "-c", "raise SystemExit(3)", "{port}"]) as service:
                yield lambda: None
    """
    result = run(job_of(tmp_path, source))
    assert (result.verdict, result.failure.type) == ("error", "ServiceError")
    assert "ended with exit code 3 before it answered" in result.reason


def test_a_service_is_ended_with_all_its_processes(tmp_path, server):
    pids = tmp_path / "pids"
    written = lambda: pids.exists() and len(pids.read_text().split()) == 5  # noqa: E731
    with Service([sys.executable, str(server), "{port}", "none", str(pids)], written, 60) as service:
        there = [int(pid) for pid in pids.read_text().split()]
        assert service.pid in there
        assert all(map(is_running, there))
    assert eventually(lambda: not any(map(is_running, there)))


def test_a_tool_that_is_killed_leaves_no_server(tmp_path, server):
    pids = tmp_path / "pids"
    command = [sys.executable, "-m", "leakcheck", "service", "--no-control", "--time-budget", "60"]
    command += ["--", sys.executable, str(server), "{port}", "none", str(pids)]
    tool = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(lambda: pids.exists() and len(pids.read_text().split()) == 5)
    there = [int(pid) for pid in pids.read_text().split()]
    tool.send_signal(signal.SIGKILL)
    tool.wait()
    assert eventually(lambda: not any(map(is_running, there)))


def test_others_go_on_after_they_were_stopped_whatever_happens():
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with suppress(KeyError), stopping.stopped([process.pid]):
                assert eventually(lambda: state_of(process.pid) == "T")
                raise KeyError
            assert eventually(lambda: state_of(process.pid) == "S")
        finally:
            process.kill()


def test_others_go_on_by_themselves_where_a_request_needs_them(monkeypatch):
    monkeypatch.setattr(stopping, "_STOPPED_S", 0.05)
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with stopping.stopped([process.pid]):
                assert eventually(lambda: state_of(process.pid) == "S")
        finally:
            process.kill()


AGENT = """
    import os, sys, threading, warnings
    warnings.simplefilter("error")  # Python 3.12 warns of a fork beside a thread
    seen = getattr(sys.modules.get("sitecustomize"), "OWN", "none")
    threads = lambda: len(os.listdir("/proc/self/task"))
    before, parts = threads(), []
    for _ in range(20):
        pid = os.fork()
        if not pid:
            os._exit(threads())
        parts.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    on_path = any("preload" in each for each in sys.path)
    print(seen, before, sorted(set(parts)), threads(), "leakcheck" in sys.modules, on_path)
"""


def test_the_agent_is_one_thread_in_parent_and_child_and_leaves_the_users_own_module_alone(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("OWN = 'the user has one'")
    with Context(str(tmp_path)).service([sys.executable, "-c", "{port}"], ready=lambda: True) as service:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{PRELOAD}:{tmp_path}",
            "LEAKCHECK_AGENTS": f"{service._address} at once",
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(AGENT)], env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.stdout.split(maxsplit=4)[:4] == ["the", "user", "has", "one"], done.stderr
    assert done.stdout.split("one", 1)[1].strip() == "2 [2] 2 True False"


def test_a_program_that_closes_all_descriptors_is_left_alone(tmp_path):
    """A daemon does: the number of the agent's socket is another file's then, and nothing is written into that."""
    code = """
        import os, sys
        os.closerange(3, 1000)
        files = [os.open(sys.argv[1], os.O_RDWR | os.O_CREAT) for _ in range(20)]
        print("closed", flush=True)
        sys.stdin.read()
    """
    with Context(str(tmp_path)).service([sys.executable, "-c", "{port}"], ready=lambda: True) as service:
        environment = {**os.environ, "PYTHONPATH": PRELOAD, "LEAKCHECK_AGENTS": f"{service._address} at once"}
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "file")]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "closed\n"
            connection = socket(fileno=service.agents._accept()[0])
            with suppress(BrokenPipeError):  # closed with the others
                connection.sendall(b'["Run", "0", "0", true]\n')
            _, printed = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, printed, (tmp_path / "file").read_bytes()) == (0, "", b"")


def test_without_anybody_who_measures_the_interpreter_starts_as_ever(tmp_path):
    environment = {**os.environ, "PYTHONPATH": PRELOAD, "LEAKCHECK_AGENTS": "nobody-listens-here at once"}
    code = "import os; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_the_processes_that_grow_are_named_by_their_role():
    finding = Finding(kind="container", fingerprint="1" * 16, title="leaks 1 Session per iteration")
    roles_that_grow = [Grower("main process", 1, [0.0]), Grower("worker", 4, [300.0, 310.0, 0.0, 290.0])]
    growers, leaking = Growers(roles_that_grow, 900.0, "worker"), {"heap.bytes": 900.0}
    (place,) = roles.places(growers, leaking, service=True)
    assert roles.named([finding], place)[0].title == "leaks 1 Session per iteration; in worker x3"
    still = Growers([Grower("worker", 2, [0.0, -3.0])], 0.0, "worker")
    assert roles.places(still, leaking, service=True) == [roles.Place("", "", 1.0)]
    grow = "3 of 4 processes of the role 'worker' grow:"
    assert any(grow in each for each in roles.advice(growers, (), service=True))


def test_a_post_has_its_body_and_type():
    """The server of this test keeps what it was sent."""
    came: list[tuple[str, str, bytes]] = []

    class Keeps(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((self.path, self.headers["Content-Type"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Keeps) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        service = Service(["none"], f"http://127.0.0.1:{listening.server_port}/", 1)
        Requests(service, [Request("POST", "/login", '{"a": 1}', "application/json")], 1)
        listening.shutdown()
    assert came == [("/login", "application/json", b'{"a": 1}')]


def test_what_is_sent_stands_in_no_report(tmp_path):
    (tmp_path / "body.json").write_text('{"token": "s3cret"}')
    sent = ["--post", "/login", '{"password": "s3cret"}', "--post", "/token", "@body.json"]
    ended = [sys.executable, "-c", "raise SystemExit(1)", "{port}"]
    command = [sys.executable, "-m", "leakcheck", "service", *sent, "--no-control", "--report", "report", "--", *ended]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stderr
    written = "".join(file.read_text("utf-8", "replace") for file in (tmp_path / "report").iterdir() if file.is_file())
    assert "s3cret" not in written + done.stdout + done.stderr
    (scenario,) = json.loads((tmp_path / "report" / "results.json").read_text())["scenarios"]
    assert "--post /login @FILE --post /token @body.json" in scenario["command"]


EXPIRING = """
    # Each request opens a session that lives for ten minutes; three workers accept at one socket.
    import os, sys, time
    from http.server import BaseHTTPRequestHandler, HTTPServer

    LIFE_S = 600.0
    sessions, kept = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            now = time.monotonic()
            while sessions and next(iter(sessions.values()))[0] <= now:
                del sessions[next(iter(sessions))]
            sessions[object()] = now + LIFE_S, bytearray(1000)
            if sys.argv[2] == "leak":
                kept.append(bytearray(100))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    workers = [pid for _ in range(3) if (pid := os.fork()) or server.serve_forever()]
    for pid in workers:
        os.waitpid(pid, 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "verdict", "growth"), [("fine", "bounded", 0.0), ("leak", "leak", 185.0)])
def test_what_lives_for_a_time_is_no_leak_and_hides_none(tmp_path, kind, verdict, growth):
    (tmp_path / "server.py").write_text(textwrap.dedent(EXPIRING))
    leakcheck(
        tmp_path, "--no-control", "--report", "report", "--tools", "growth", "--get", "/items",
        "--", sys.executable, "server.py", "{port}", kind,
    )  # fmt: skip
    (result,) = json.loads((tmp_path / "report" / "results.json").read_text())["scenarios"]
    assert result["verdict"] == verdict, result["reason"]
    (heap,) = (each for each in result["meters"] if each["name"] == "heap.bytes")
    if growth:
        assert heap["growth"] == pytest.approx(growth, rel=0.1)
    else:
        assert "its clock was put forward" in result["reason"]
