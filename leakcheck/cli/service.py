"""`elkyn-leakcheck service`: starts a service, has it visited, and says whether its processes leak."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click

from leakcheck.cli import options as shared
from leakcheck.cli.command import EXIT_CODES, Command
from leakcheck.errors import UsageError, guess

_CONCURRENCY = 4
"""Visits at a time, where nobody says how many: enough for each of some workers to get its part."""
_START_SHARE = 0.9
"""Part of the time limit of a set-up that a service has to answer, so that it is the one who says what is wrong."""
_PLACEHOLDERS = ("{n}", "{c}", "{url}", "{port}")
"""What stands for something in the words of `--drive-command`."""


class _Visits(NamedTuple):
    """Who visits the service, in all the forms that are needed of it."""

    name: str
    """What the scenario is called, after `service::`."""
    written: dict[str, Any]
    """For `leakcheck.agent.service_file`."""
    again: list[str]
    """The options that say the same."""


@click.command("service", cls=Command, epilog=EXIT_CODES)
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...", type=click.UNPROCESSED)
@click.option("--get", "--request", "paths", multiple=True, metavar="PATH", help="Send GET requests; several in turn.")
@click.option(
    "--post", "posts", multiple=True, nargs=2, metavar="PATH BODY", help="Send POST requests; @FILE has the body."
)
@click.option(
    "--drive",
    "function",
    metavar="FILE.py::NAME",
    help="Call a function of yours with the service's URL, in the place of sending requests; it may be async.",
)
@click.option(
    "--drive-command",
    metavar="COMMAND",
    help="Start a client of yours in their place: {n} stands for how many visits it has to make, {c} for how many at "
    "a time, {url} for the service's URL.",
)
@click.option(
    "--ready",
    metavar="PATH",
    help="What answers when it is ready: a path, or a URL where the command has "
    "no {port}. By default the port is enough.",
)
@click.option(
    "--concurrency",
    type=shared.Count(1, 256),
    default=_CONCURRENCY,
    show_default=True,
    metavar="N",
    help="Requests, calls or visits at a time.",
)  # fmt: skip
@shared.measuring
def command(
    words: tuple[str, ...],
    paths: tuple[str, ...],
    posts: tuple[tuple[str, str], ...],
    function: str | None,
    drive_command: str | None,
    ready: str | None,
    concurrency: int,
    **options: Any,
) -> int:
    """Start a service, have it visited, and say: leak or not, in which process, and where.

    An iteration is one visit: a request, or what a client of yours does. {port} in COMMAND stands for a free port; a
    command of its own options comes after --, or as one word in quotes. Python processes of the service are measured
    from the inside, and need nothing of ours installed.

    \b
    elkyn-leakcheck service --get / -- gunicorn -w 2 app:app -b 127.0.0.1:{port}
    elkyn-leakcheck service "uvicorn app:app --port {port}" --get /items/1 --post /login @login.json
    elkyn-leakcheck service "uvicorn app:app --port {port}" --drive load.py::visit
    elkyn-leakcheck service "uvicorn app:app --port {port}" --drive-command "ab -q -n {n} -c {c} {url}/items/1"
    """
    from leakcheck.cli.start import begin
    from leakcheck.execution.job import ScenarioInfo
    from leakcheck.execution.workspace import Workspace
    from leakcheck.run import discovery

    options["errors"] = False
    command_words = _words(words, "the command")
    chooses_port = any("{port}" in word for word in command_words)
    if not chooses_port and "://" not in (ready or ""):
        raise UsageError(
            "where does the service answer? Write {port} in its command where the port stands, or name a URL that "
            "answers: --ready http://127.0.0.1:8000/"
        )
    ways = {"--get or --post": bool(paths or posts), "--drive": function, "--drive-command": drive_command}
    if len(named := [way for way, value in ways.items() if value]) > 1:
        raise UsageError(f"{' and '.join(named)}: one of them visits the service; leave out the other")
    if function is not None:
        visits = _of_function(function)
    elif drive_command is not None:
        visits = _of_command(drive_command, chooses_port=chooses_port)
    else:
        visits = _of_requests(paths, posts, values=options["values"])
    again = [*visits.again, *([] if ready is None else ["--ready", ready])]
    again += [] if concurrency == _CONCURRENCY else ["--concurrency", str(concurrency)]
    if shutil.which(command_words[0]) is None:
        raise UsageError(f"cannot start {command_words[0]}: there is no such program here, nor on PATH")
    template = shared.template(options)
    limit = template.timeout("setup") * _START_SHARE
    with ExitStack() as stack:
        file = Path(stack.enter_context(Workspace()), "service.json").resolve()
        written = {
            "command": command_words, "ready": ready, "timeout": limit, "concurrency": concurrency, **visits.written
        }  # fmt: skip
        file.write_text(json.dumps(written), "utf-8")
        info = ScenarioInfo(
            id=f"service::{visits.name}",
            target=f"service://{file}",
            name="service",
            command=["elkyn-leakcheck", "service", *again, "--", *command_words],
        )
        begun = stack.enter_context(begin(template, control=not options["no_control"]))
        collected = discovery.Collected([info], [])
        if function is not None:
            collected = discovery.load(info, f"--drive {function}", template)
            if collected.loaded is not None:
                stack.callback(collected.loaded.stop)
        from leakcheck.cli.finish import run_and_report

        return run_and_report(collected, template, options, begun)


# Its step is ours, and has no calls of the user's that could be made to fail.
command.params = [each for each in command.params if each.name != "errors"]


def _words(words: Sequence[str], what: str) -> list[str]:
    """The words of a command, which may stand in one. Raises `UsageError`."""
    try:
        found = shlex.split(words[0]) if len(words) == 1 else [*words]
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
    if not found:
        raise UsageError(f"{what} is empty: name what is to be started")
    return found


def _of_requests(paths: Sequence[str], posts: Sequence[tuple[str, str]], *, values: bool) -> _Visits:
    """Requests of ours, `GET /` where none is named."""
    requests = [["GET", _path("--get", path), "", ""] for path in paths or ("/",)] if paths or not posts else []
    requests += [["POST", _path("--post", path), *_body(body)] for path, body in posts]
    again = [word for path in paths for word in ("--get", path)]
    for path, body in posts:  # what is sent are the user's values: a password, for one
        again += ["--post", path, body if body.startswith("@") or values else "@FILE"]
    return _Visits(" ".join(f"{method} {path}" for method, path, *_ in requests), {"requests": requests}, again)


def _of_function(named: str) -> _Visits:
    """A function of the user's. Raises `UsageError` where its file is not there; the function is looked for in it."""
    path, _, name = named.partition("::")
    if not path.endswith(".py") or not name.isidentifier():
        raise UsageError(f"--drive {named}: name a file and a function in it, as in load.py::visit")
    file = Path(path).expanduser()
    if not file.is_file():
        there = [each.name for each in file.parent.glob("*.py")]
        raise UsageError(f"--drive {named}: there is no file {path}{guess(file.name, there)}")
    return _Visits(named, {"function": [str(file.resolve()), name]}, ["--drive", named])


def _of_command(text: str, *, chooses_port: bool) -> _Visits:
    """A command of the user's. Raises `UsageError` where it does not say what it has to."""
    words = _words([text], "--drive-command")
    there = set(re.findall(r"\{\w*\}", text))
    if unknown := sorted(there.difference(_PLACEHOLDERS)):
        raise UsageError(f"--drive-command: {unknown[0]} stands for nothing; {', '.join(_PLACEHOLDERS)} do")
    if "{n}" not in there:
        raise UsageError("--drive-command: how many visits does it make? Write {n} where their number stands")
    if chooses_port and there.isdisjoint({"{url}", "{port}"}):
        raise UsageError(
            "--drive-command: where does it visit the service? Write {url} where the URL stands, or {port}"
        )
    return _Visits(text, {"words": words}, ["--drive-command", text])


def _path(option: str, path: str) -> str:
    """The path of a request. Raises `UsageError` for what is none."""
    if path.startswith("/") and path.isascii() and path.isprintable() and " " not in path:
        return path
    raise UsageError(f"{option} {path!r}: a request needs a path that begins with /, as it stands in a URL (%20)")


def _body(text: str) -> list[str]:
    """The body of a request and its type. Raises `UsageError` for a file that cannot be read."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--post: {text[1:]} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None
    try:
        json.loads(text)
    except ValueError:
        return [text, "application/x-www-form-urlencoded"]
    return [text, "application/json"]
