"""A service that a client of the user's visits: a function, plain or async, or a command that makes many visits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from processes import busy_processors, eventually, is_running, measured, run

from leakcheck.agent.entry.resident import PRELOAD, VARIABLE, announce
from leakcheck.agent.service.clients import AsyncCalls, Calls, Command
from leakcheck.agent.service.started import Service, ServiceError
from leakcheck.execution.job import Budget, Job, ScenarioInfo
from leakcheck.verdict.measure import Measurement

SERVER = """
    # Keeps 1,000 bytes of each request, where it is told to.
    import sys
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    kept = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if sys.argv[2] == "leak":
                kept.append(bytearray(1000))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fine")

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LEAKING_LINE = "kept.append(bytearray(1000))"
CLIENT = """
    import asyncio
    from urllib.parse import urlsplit
    from urllib.request import urlopen

    seen = []

    def visit(url):
        urlopen(f"{url}/items").close()

    async def visit_async(url):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"GET /items HTTP/1.0\\r\\n\\r\\n")
        assert b" 200 " in await reader.readline()
        writer.close()
        await writer.wait_closed()

    def collect(url):
        visit(url)
        seen.append(bytearray(500))

    def visit_nobody(url):
        pass
"""
COMMAND = """
    # Makes as many visits as it is told to, and notes that.
    import json, os, sys
    from urllib.request import urlopen

    for _ in range(int(sys.argv[1])):
        urlopen(sys.argv[2]).close()
    with open("told", "a") as file:
        print(json.dumps([int(sys.argv[1]), dict(os.environ)]), file=file)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in (("server.py", SERVER), ("load.py", CLIENT), ("command.py", COMMAND)):
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


def job_of(folder: Path, kind: str, *, python: tuple[str, ...] = (sys.executable,), **who: object) -> Job:
    file = folder / "service.json"
    command = [*python, str(folder / "server.py"), "{port}", kind]
    file.write_text(json.dumps({"command": command, "ready": None, "timeout": 60, "concurrency": 4, **who}))
    info = ScenarioInfo(id="service::visits", target=f"service://{file}", name="service")
    return Job(scenario=info, cwd=folder, budget=Budget(time_s=5.0))


def by_function(folder: Path, kind: str, name: str, **options: tuple[str, ...]) -> Job:
    return job_of(folder, kind, function=[str(folder / "load.py"), name], **options)


def by_command(folder: Path, kind: str) -> Job:
    return job_of(folder, kind, words=[sys.executable, "command.py", "{n}", "{url}/items"])


def assert_right(found: Measurement, kind: str) -> None:
    """A leak of the bytes that the server keeps, or none."""
    if kind == "leak":
        assert "heap.bytes" in found.leaking
        assert found.judgements["heap.bytes"].growth == pytest.approx(1060, rel=0.1)
    else:
        assert found.leaking == []


# That of an async client which leaks is measured by the whole command, below.
@pytest.mark.parametrize(
    ("name", "kind"),
    [("visit", "leak"), ("visit", "fine"), pytest.param("visit_async", "fine", marks=pytest.mark.slow)],
)
def test_a_service_is_judged_by_what_a_function_of_the_users_does_to_it(folder, name, kind):
    assert_right(measured(by_function(folder, kind, name), time_s=20.0), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["leak", "fine"])
@pytest.mark.parametrize("name", ["visit", "visit_async"])
def test_a_service_is_judged_in_the_same_way_on_a_busy_machine(folder, name, kind):
    with busy_processors():
        assert_right(measured(by_function(folder, kind, name), time_s=60.0), kind)


def test_what_the_client_keeps_is_said_and_is_no_leak_of_the_service(folder):
    result = run(by_function(folder, "fine", "collect"))
    assert result.verdict in ("clean", "bounded"), result.reason
    assert any(each.startswith("the client itself has grown by ") for each in result.advice)
    (client,) = (meter for meter in result.meters if meter.name == "client.bytes")
    assert client.growth == pytest.approx(560, rel=0.1)
    assert not client.decisive


def test_what_the_client_keeps_is_no_leak_of_a_service_that_is_read_from_outside(folder):
    result = run(by_function(folder, "fine", "collect", python=(sys.executable, "-I")))
    assert result.verdict in ("clean", "bounded"), result.reason
    assert {meter.name for meter in result.meters if meter.decisive} <= {
        *("children", "children.bytes", "disk.files", "disk.bytes"),
        *("sysv.segments", "sysv.sets", "keyring.keys"),
    }


def test_a_client_that_keeps_nothing_is_not_spoken_of(folder):
    result = run(by_function(folder, "fine", "visit"))
    assert not any("client" in each for each in result.advice)


@pytest.mark.parametrize("kind", ["leak", "fine"])
def test_a_command_is_told_how_many_visits_to_make(folder, kind):
    found = measured(by_command(folder, kind), time_s=20.0)
    assert_right(found, kind)
    told = [json.loads(line) for line in (folder / "told").read_text().splitlines()]
    assert sum(count for count, _ in told) == found.iterations
    assert all(VARIABLE not in names and PRELOAD not in names.get("PYTHONPATH", "") for _, names in told)


@pytest.mark.parametrize("who", [{"function": "visit_nobody"}, {"words": ["true", "{n}", "{url}"]}])
def test_a_client_that_visits_somebody_else_is_an_error_and_no_clean_service(folder, who):
    named = who.get("function")
    result = run(by_function(folder, "leak", named) if named else job_of(folder, "leak", **who))
    assert (result.verdict, result.failure.type) == ("error", "ServiceError")
    assert "the service has hardly run while it was visited" in result.reason


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([sys.executable, "-c", "raise SystemExit(7)"], r" ended with exit code 7, with 3 for \{n\}; what it printed"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], " ended by SIGKILL, with 3"),
        (["no-such-command"], "cannot start no-such-command: No such file"),
    ],
)
def test_a_command_that_fails_is_told_in_a_sentence(folder, words, sentence):
    with Service([sys.executable, str(folder / "server.py"), "{port}", "fine"], None, 60) as service:
        command = Command(service, words, 1)
        with pytest.raises(ServiceError, match=sentence):
            command.many(3)
    assert command.done == 0


def test_what_stands_in_the_words_of_a_command_is_put_in(tmp_path):
    told = tmp_path / "told"
    shown = f"import sys; open({str(told)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"
    service = Service(["none"], "http://127.0.0.1:8017/health", 1)
    command = Command(service, [sys.executable, "-c", shown, "-i{n}", "{c}", "{url}/items"], 4)
    command.many(0)
    command.many(3)
    command.many(9)
    assert told.read_text().splitlines() == [
        "-i3 3 http://127.0.0.1:8017/items",
        "-i9 4 http://127.0.0.1:8017/items",
    ]


class _InFlight:
    """A server that answers only when so many requests wait together, and notes the most that did."""

    def __init__(self, together: int) -> None:
        self.most = waiting = 0
        gathered, lock = threading.Barrier(together), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                nonlocal waiting
                with lock:
                    waiting += 1
                    self.most = max(self.most, waiting)
                gathered.wait(60)
                with lock:
                    waiting -= 1
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize("kind", [Calls, AsyncCalls])
def test_as_many_visits_are_made_at_a_time_as_were_asked_for(folder, monkeypatch, kind):
    monkeypatch.syspath_prepend(folder)
    import load

    together = _InFlight(3)
    with together.server as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        service = Service(["none"], f"http://127.0.0.1:{listening.server_port}/", 1)
        visits = kind(service, load.visit if kind is Calls else load.visit_async, 3)
        visits.many(12)
        visits.close()
        listening.shutdown()
    monkeypatch.delitem(sys.modules, "load")
    assert (visits.done, together.most) == (12, 3)


@pytest.mark.parametrize("kind", [Calls, AsyncCalls])
def test_the_first_error_of_a_function_is_raised_when_all_visits_have_ended(kind):
    under_way = threading.Lock()
    came = ended = 0

    def visit(url: str) -> None:
        nonlocal came, ended
        with under_way:
            came += 1
            mine = came
        try:
            if mine == 5:
                raise KeyError(url)
        finally:
            ended += 1

    async def visit_async(url: str) -> None:
        visit(url)

    visits = kind(Service(["none"], "http://127.0.0.1:1/", 1), visit if kind is Calls else visit_async, 2)
    with pytest.raises(KeyError):
        visits.many(100)
    visits.close()
    assert came == ended < 8
    assert visits.done < came


def test_a_function_whose_result_nobody_awaits_is_refused():
    async def visit(url: str) -> None:
        """It would never run."""

    visits = Calls(Service(["none"], "http://127.0.0.1:1/", 1), lambda url: visit(url), 1)
    with (
        pytest.raises(ServiceError, match="returns something that nobody awaits"),
        pytest.warns(RuntimeWarning, match="never awaited"),
    ):
        visits.many(1)


def test_a_command_has_no_agent_even_where_its_parent_announces_one(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    announce(os.environ, "nobody")
    command = Command(Service(["none"], "http://127.0.0.1:1/", 1), ["true"], 1)
    assert command._environment["PYTHONPATH"] == "/somewhere"
    assert VARIABLE not in command._environment


def leakcheck(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "CI": "true", "COLUMNS": "100"}
    command = [sys.executable, "-m", "leakcheck", "service", "--no-control", "--report", "report", *arguments]
    command += ["--", sys.executable, "server.py", "{port}", "leak"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment, check=False
    )


@pytest.mark.slow
def test_the_line_that_leaks_is_named_under_a_client_of_the_users(folder):
    done = leakcheck(folder, "--drive", "load.py::visit_async", "--concurrency", "8")
    assert done.returncode == 1, done.stdout + done.stderr
    (result,) = json.loads((folder / "report" / "results.json").read_text())["scenarios"]
    assert (result["id"], result["verdict"]) == ("service::load.py::visit_async", "leak")
    assert Path(result["file"]).name == "load.py"
    finding = result["findings"][0]
    assert finding["stack"][0]["source"].strip() == LEAKING_LINE
    assert finding["count_per_iteration"] == pytest.approx(1, rel=0.05)
    assert "--drive load.py::visit_async --concurrency 8 -- " in result["command"]


def test_a_function_that_raises_is_shown_with_its_traceback(folder):
    (folder / "load.py").write_text("def visit(url):\n    raise KeyError('s3' + 'cret')\n")
    done = leakcheck(folder, "--drive", "load.py::visit")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "KeyError: at load.py:2 in visit" in done.stdout
    assert 'load.py", line 2, in visit' in done.stdout
    assert "s3cret" not in done.stdout


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("visti", "there is no 'visti' in that file (did you mean visit?)"),
        ("seen", "it is list, not a function that can be called"),
        ("turns", "it is a generator, whose code does not run when it is called"),
    ],
)
def test_a_function_that_there_is_not_is_wrong_usage(folder, name, sentence):
    with (folder / "load.py").open("a") as file:
        file.write("\ndef turns(url):\n    yield\n")
    done = leakcheck(folder, "--drive", f"load.py::{name}")
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stderr.startswith(f"elkyn-leakcheck: --drive load.py::{name}: {sentence}")
    assert "Traceback" not in done.stderr


def test_what_a_command_printed_is_shown_to_who_asks_for_values(folder):
    (folder / "command.py").write_text("raise SystemExit('out of cheese')\n")
    command = ["--drive-command", f"{sys.executable} command.py {{n}} {{url}}"]
    done = leakcheck(folder, *command)
    assert (done.returncode, "out of cheese" in done.stdout) == (1, False), done.stdout + done.stderr
    assert "out of cheese" in leakcheck(folder, "--values", *command).stdout


def test_a_tool_that_is_killed_leaves_no_client(folder):
    told = folder / "pid"
    (folder / "command.py").write_text("import os, time\nopen('pid', 'w').write(f'{os.getpid()}.')\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "leakcheck", "service", "--no-control", "--drive-command"]
    command += [f"{sys.executable} command.py {{n}} {{url}}", "--", sys.executable, "server.py", "{port}", "fine"]
    tool = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(lambda: told.exists() and told.read_text().endswith("."))
    client = int(told.read_text().rstrip("."))
    assert is_running(client)
    tool.send_signal(signal.SIGKILL)
    tool.wait()
    assert eventually(lambda: not is_running(client))
