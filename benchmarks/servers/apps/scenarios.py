"""Services that speak something else than HTTP: each with a client of its own, as a user would write it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from leakcheck import scenario

HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = str(HERE)


def redis(folder: Path) -> tuple["subprocess.Popen[bytes]", str]:
    """A broker of this scenario's own, at a socket in its folder: no port, nothing on disk."""
    path = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.01)
    return process, str(path)


@scenario(params={"task": ["leak", "mended"]})
def celery_worker(ctx, task):
    """An iteration is a task that has returned."""
    broker, path = redis(ctx.tmp_path)
    os.environ["BROKER"] = f"redis+socket://{path}"
    sys.path.insert(0, str(HERE))
    import with_celery

    app = with_celery.app
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "with_celery",
        "worker",
        "--concurrency",
        "2",
        "--loglevel",
        "error",
    ]
    with ctx.service(command, ready=lambda: app.control.ping(timeout=0.2)):
        work = getattr(with_celery, task)
        yield lambda: work.delay().get(timeout=30)
    broker.terminate()
    broker.wait()


@scenario(params={"method": ["Leak", "Mended"]})
def grpc_server(ctx, method):
    """An iteration is a call over one channel."""
    import grpc

    with ctx.service([sys.executable, str(HERE / "with_grpc.py"), "{port}"]) as service:
        channel = grpc.insecure_channel(f"127.0.0.1:{service.port}")
        call = channel.unary_unary(f"/of.Tests/{method}")
        yield lambda: call(b"0123456789")
        channel.close()


@scenario(params={"work": ["leak", "mended"], "start": ["fork", "spawn"]})
def pool(ctx, work, start):
    """An iteration is a map over two workers."""
    with (
        ctx.service([sys.executable, str(HERE / "with_pool.py"), "{port}", start]) as service,
        socket.create_connection(("127.0.0.1", service.port)) as connection,
        connection.makefile("rb") as answers,
    ):

        def step() -> None:
            connection.sendall(f"{work}\n".encode())
            answers.readline()

        yield step


@scenario(params={"ends": [False, True]})
def mcp_sessions(ctx, ends):
    """An iteration is a client that opens a session; where it does not end it, the server keeps it."""
    import http.client
    import json

    hello = {
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    command = [sys.executable, "-m", "uvicorn", "with_mcp:app", "--port", "{port}", "--log-level", "error"]
    with ctx.service(command) as service:

        def request(method: str, **more: str) -> str:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            connection.request(method, "/mcp", body if method == "POST" else None, {**headers, **more})
            answer = connection.getresponse()
            session = answer.headers["mcp-session-id"]
            answer.read()
            connection.close()
            return session

        def step() -> None:
            session = request("POST")
            if ends:
                request("DELETE", **{"mcp-session-id": session})

        yield step
