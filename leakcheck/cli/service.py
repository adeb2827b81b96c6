"""`elkyn-leakcheck service`: starts a service, sends it requests, and says whether its processes leak."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import click

from leakcheck.cli import options as shared
from leakcheck.cli.command import EXIT_CODES, Command
from leakcheck.errors import UsageError

_CONCURRENCY = 4
"""Requests at a time, where nobody says how many: enough for each of some workers to get its part."""
_START_SHARE = 0.9
"""Part of the time limit of a set-up that a service has to answer, so that it is the one who says what is wrong."""


@click.command("service", cls=Command, epilog=EXIT_CODES)
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...", type=click.UNPROCESSED)
@click.option("--get", "--request", "paths", multiple=True, metavar="PATH", help="Send GET requests; several in turn.")
@click.option(
    "--post", "posts", multiple=True, nargs=2, metavar="PATH BODY", help="Send POST requests; @FILE has the body."
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
    help="Requests at a time.",
)  # fmt: skip
@shared.measuring
def command(
    words: tuple[str, ...],
    paths: tuple[str, ...],
    posts: tuple[tuple[str, str], ...],
    ready: str | None,
    concurrency: int,
    **options: Any,
) -> int:
    """Start a service, send it requests, and say: leak or not, in which process, and where.

    An iteration is one request. {port} in COMMAND stands for a free port; a command of its own options comes after --,
    or as one word in quotes. Python processes of the service are measured from the inside, and need nothing of ours
    installed.

    \b
    elkyn-leakcheck service --get / -- gunicorn -w 2 app:app -b 127.0.0.1:{port}
    elkyn-leakcheck service "uvicorn app:app --port {port}" --get /items/1 --post /login @login.json
    """
    from leakcheck.cli.start import begin
    from leakcheck.execution.job import ScenarioInfo
    from leakcheck.execution.workspace import Workspace
    from leakcheck.run.discovery import Collected

    options["errors"] = False
    command_words = _words(words)
    requests = [["GET", _path("--get", path), "", ""] for path in paths or ("/",)] if paths or not posts else []
    requests += [["POST", _path("--post", path), *_body(body)] for path, body in posts]
    if not command_words:
        raise UsageError("the command is empty: name what starts the service")
    if not any("{port}" in word for word in command_words) and "://" not in (ready or ""):
        raise UsageError(
            "where does the service answer? Write {port} in its command where the port stands, or name a URL that "
            "answers: --ready http://127.0.0.1:8000/"
        )
    if shutil.which(command_words[0]) is None:
        raise UsageError(f"cannot start {command_words[0]}: there is no such program here, nor on PATH")
    template = shared.template(options)
    limit = template.timeout("setup") * _START_SHARE
    with Workspace() as folder:
        file = Path(folder, "service.json").resolve()
        written = {
            "command": command_words, "ready": ready, "timeout": limit, "requests": requests,
            "concurrency": concurrency,
        }  # fmt: skip
        file.write_text(json.dumps(written), "utf-8")
        # What is sent are the user's values: a password, for one.
        shown = tuple((path, body if body.startswith("@") or options["values"] else "@FILE") for path, body in posts)
        info = ScenarioInfo(
            id=f"service::{' '.join(f'{method} {path}' for method, path, *_ in requests)}",
            target=f"service://{file}",
            name="service",
            command=["elkyn-leakcheck", "service", *_again(paths, shown, ready, concurrency), "--", *command_words],
        )
        with begin(template, control=not options["no_control"]) as begun:
            from leakcheck.cli.finish import run_and_report

            return run_and_report(Collected([info], []), template, options, begun)


# Its step is ours, and has no calls of the user's that could be made to fail.
command.params = [each for each in command.params if each.name != "errors"]


def _words(words: tuple[str, ...]) -> list[str]:
    """The words of the command, which may stand in one."""
    try:
        return shlex.split(words[0]) if len(words) == 1 else [*words]
    except ValueError as error:
        raise UsageError(f"the command: {error}") from None


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


def _again(
    paths: tuple[str, ...], posts: tuple[tuple[str, str], ...], ready: str | None, concurrency: int
) -> list[str]:
    """The options of this command for the command line that runs it again."""
    found = [word for path in paths for word in ("--get", path)]
    found += [word for path, body in posts for word in ("--post", path, body)]
    found += [] if ready is None else ["--ready", ready]
    return [*found, *([] if concurrency == _CONCURRENCY else ["--concurrency", str(concurrency)])]
