"""The command `elkyn-leakcheck`: finds the subcommand, turns every outcome into its exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from leakcheck.cli import interrupts
from leakcheck.cli.command import EXIT_CODES
from leakcheck.cli.terminal import echo
from leakcheck.errors import ControlError, LeakcheckError, NothingCollectedError, UsageError, guess
from leakcheck.signs import adapt

EXIT_OK, EXIT_LEAK, EXIT_INTERRUPTED, EXIT_INTERNAL, EXIT_USAGE, EXIT_NOTHING, EXIT_UNDECIDED = range(7)

_COMMANDS = {
    "run": "Run scenarios and say of each: leak or not, where, and who holds it.",
    "sweep": "Look for leaks in a package without a scenario.",
    "list": "Show the scenarios that would run.",
    "snippet": "Measure one Python statement, without writing a file.",
    "service": "Send requests to a service, and say of its processes: leak or not.",
    "report": "Make reports again from results.json; several merge into one.",
    "explain": "Print one finding in full: sentence, path, stack, source.",
    "gate": "Compare results with the baseline and budgets; for CI.",
    "baseline": "Accept known leaks, with a reason, or drop fixed ones.",
    "compare": "Compare two results, or two revisions of a repository.",
    "bisect": "Find the first revision or package version that leaks.",
    "monitor": "Watch the growth of a living process.",
    "mcp": "Serve a coding assistant (Model Context Protocol).",
    "init": "Write a first scenario, gate configuration and workflow.",
    "doctor": "Say what works on this machine, and what to install.",
}
"""Subcommands by name, in the order of `--help`. Each lives in `leakcheck.cli.<name>` as `command`, and is loaded
when it is called: the tool starts in a fraction of the time that all of them would take."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"leakcheck.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {args[0]!r}{guess(args[0], names)}.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])


_TASKS = """\
elkyn-leakcheck says of Python code, native parts included: leak or not, where, and who holds it.

a function, or scenario files   elkyn-leakcheck run package.module:function
                                elkyn-leakcheck run scenarios/
one statement                   elkyn-leakcheck snippet -s "import json" "json.loads('[1]')"
the tests that you have         pytest --leakcheck
a package without tests         elkyn-leakcheck sweep package
a service under requests        elkyn-leakcheck service --get / -- gunicorn app:app -b :{port}
a finding of the last run       elkyn-leakcheck explain
what this machine can measure   elkyn-leakcheck doctor
a first scenario and CI files   elkyn-leakcheck init

All commands: elkyn-leakcheck --help"""
"""What is printed where no command is named: what a person may want, by task."""


@click.group(
    cls=_Commands,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="elkyn-leakcheck", prog_name="elkyn-leakcheck")
@click.pass_context
def command_line(ctx: click.Context) -> None:
    """Memory-leak tests and diagnostics for Python programs with native parts.

    \b
    elkyn-leakcheck run scenarios/              leak or not, where, and who holds it
    elkyn-leakcheck snippet "json.loads('[1]')" -s "import json"
    """
    if ctx.invoked_subcommand is None:
        echo(_TASKS)
        ctx.exit(EXIT_USAGE)
    ctx.default_map = _configured(Path.cwd())


def main() -> None:
    """Entry point of the console script.

    Ends the process without taking the interpreter apart: that takes a tenth of the time of a short run, and `run` has
    left nothing behind that would need it.
    """
    interrupts.install()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # nobody reads it, or it was closed before
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    adapt(sys.stdout, sys.stderr)
    try:
        code = command_line.main(arguments, prog_name="elkyn-leakcheck", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("elkyn-leakcheck: interrupted", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as wrong:
        wrong.show(sys.stderr)  # by itself click writes UTF-8 also where that cannot be shown
        return EXIT_USAGE
    except NothingCollectedError as error:
        return _told(error, EXIT_NOTHING)
    except UsageError as error:
        return _told(error, EXIT_USAGE)
    except ControlError as error:
        return _told(error, EXIT_INTERNAL)
    except LeakcheckError as error:
        return _told(error, EXIT_INTERNAL)
    except Exception:  # noqa: BLE001 - the documented exit code of an internal error, with all there is to report it
        import traceback

        traceback.print_exc()
        echo("elkyn-leakcheck: this is an error in the tool itself; please report it with the lines above", err=True)
        return EXIT_INTERNAL
    return code if isinstance(code, int) else EXIT_OK


def _told(error: Exception, code: int) -> int:
    echo(f"elkyn-leakcheck: {error}", err=True)
    return code


def _configured(folder: Path) -> dict[str, Any]:
    """Options of `[tool.leakcheck]` in the nearest pyproject.toml, for every subcommand that knows them."""
    file = next((each for parent in (folder, *folder.parents) if (each := parent / "pyproject.toml").is_file()), None)
    if file is None:
        return {}
    import tomllib  # dear to import, and not every folder has such a file

    try:
        table = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("leakcheck", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise UsageError(f"{file}: [tool.leakcheck] must be a table of options")
    options = {name.replace("-", "_"): value for name, value in table.items() if name != "budget"}
    _look_for_typos(options, file)
    return dict.fromkeys(_COMMANDS, options)


def _look_for_typos(options: dict[str, Any], file: Path) -> None:
    """An option that no command knows would be ignored, and look as if it were not."""
    from leakcheck.cli.options import known

    names = set(known())
    if options.keys() <= names:
        return
    for command in _COMMANDS:  # all of them are loaded for an option that is not one of measuring only
        names |= {each.name or "" for each in import_module(f"leakcheck.cli.{command}").command.params}
    for name in options.keys() - names:
        raise UsageError(f"{file}: [tool.leakcheck] has {name!r}, which no command knows{guess(name, sorted(names))}")
