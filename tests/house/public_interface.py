"""Prints the public interface, what users may rely on; `public.txt` beside this file has it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

MODULES = ("leakcheck", "leakcheck.unittest", "leakcheck.monitor", "leakcheck.metrics", "elkyn", "elkyn.metrics")
"""Everything else is nobody's but ours, and may change at any time."""


def dump() -> str:
    """A line for each name, with its signature; then the commands with their options, and pytest's."""
    lines = ["# What users may rely on, by tests/house/public_interface.py; a change here is deliberate."]
    for name in MODULES:
        lines += ["", f"[{name}]", *_module(import_module(name))]
    lines += ["", "[elkyn-leakcheck]", *_commands(), "", "[pytest]", *_pytest()]
    return "\n".join(lines) + "\n"


def _module(module: Any) -> Iterator[str]:
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]  # fmt: skip
    for name in sorted(names):
        yield from _named(name, getattr(module, name))


def _named(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{name}{_signature(value)}" if callable(value) else f"{name}: {type(value).__name__}"
        return
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    for attribute, held in sorted(vars(value).items()):
        if attribute.startswith("_"):
            continue
        plain = held.__func__ if isinstance(held, staticmethod | classmethod) else held
        yield f"    {attribute}{_signature(plain)}" if callable(plain) else f"    {attribute}"


def _signature(value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return "(...)"
    parameters = [
        each.replace(default=inspect.Parameter.empty if each.default is each.empty else ...)
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters)).replace("Ellipsis", "...")


def _commands() -> Iterator[str]:
    from leakcheck.cli.main import command_line

    context = click.Context(command_line)
    for name in command_line.list_commands(context):
        command = command_line.get_command(context, name)
        assert command is not None
        arguments = [each.human_readable_name for each in command.params if isinstance(each, click.Argument)]
        yield " ".join([name, *arguments])
        yield from sorted(f"    {' '.join(each.opts)}" for each in command.params if isinstance(each, click.Option))
        for inner in sorted(getattr(command, "commands", {})):
            yield f"    {inner}"


def _pytest() -> Iterator[str]:
    from _pytest.config.argparsing import Parser

    from leakcheck import pytest_plugin

    parser = Parser(_ispytest=True)
    pytest_plugin.pytest_addoption(parser)
    yield from sorted(name for group in parser._groups for option in group.options for name in option.names())
    yield from sorted(f"mark {mark.partition(':')[0].partition('(')[0]}" for mark in pytest_plugin._MARKS)
    yield "fixture leakcheck"


if __name__ == "__main__":
    sys.stdout.write(dump())
