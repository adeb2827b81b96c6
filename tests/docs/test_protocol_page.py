"""The page of the protocol says what the code says: its version, its records, and a conversation that takes place.

Run as a script, it writes the tables of the page anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import pytest

from leakcheck.agent import inquiry, protocol
from leakcheck.agent.faults import messages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "protocol.md"
HEADER = ROOT / "leakcheck" / "adapters" / "leakcheck.h"
_MARK = "<!-- records -->\n"
CONVERSATION = ("Hello", "List", "Open", "Run", "Close")


def tables() -> str:
    """All requests with their answers, then the records that are in them."""
    answers = {asked: answer for answer in _records() for asked in _answered_by(answer)}
    requests = [*CONVERSATION, *protocol.PROBES]
    rows = ["", "| request | answer |", "|---|---|"]
    for name in requests:
        answer = answers.get(name)
        rows.append(f"| {_fields(_named(name))} | {_fields(answer) if answer else 'none'} |")
    rows += ["", "| record in them |", "|---|"]
    rows += [f"| {_fields(_named(name))} |" for name in ("Described", "Failed", "Fault", "Roots")]
    return "\n".join(rows) + "\n"


def _records() -> Iterator[Any]:
    for module in (protocol, inquiry, messages):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, tuple) and value.__module__ == module.__name__:
                yield value


def _named(name: str) -> Any:
    return next(each for each in _records() if each.__name__ == name)


def _answered_by(record: Any) -> list[str]:
    """The requests that a record says to answer, in the first line of its docstring."""
    said = (record.__doc__ or "").partition("\n")[0]
    return re.findall(r"`(\w+)`", said.partition(";")[0]) if said.startswith("Answers ") else []


def _fields(record: Any) -> str:
    """`Name(field: type = value)`."""
    kinds, values = get_type_hints(record), record._field_defaults
    fields = [f"{name}: {_kind(kinds[name])}" + (f" = {values[name]!r}" if name in values else "") for name in kinds]
    return f"`{record.__name__}({', '.join(fields)})`".replace("|", "or")


def _kind(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return re.sub(r"(?:typing|collections\.abc|leakcheck\.agent\.\w+)\.", "", text)


def test_the_page_has_the_records_and_the_version_of_the_code():
    text, _, told = PAGE.read_text("utf-8").partition(_MARK)
    assert told == tables(), "python tests/docs/test_protocol_page.py writes them anew"
    assert f"\nVersion {protocol.VERSION}. " in text
    assert f'["Hello", {protocol.VERSION}]' in text


class Program(NamedTuple):
    """A started program that speaks the protocol."""

    process: subprocess.Popen[bytes]
    commands: int
    replies: Any

    def tell(self, request: str) -> None:
        os.write(self.commands, request.encode() + b"\n")

    def answer(self) -> str:
        return self.replies.readline().decode().rstrip("\n")


@pytest.fixture
def parser(tmp_path) -> Iterator[Program]:
    """The program of the page."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    block = re.search(r"<!-- file: parser.c -->\n```c\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert block is not None
    (tmp_path / "parser.c").write_text(block[1])
    subprocess.run(
        ["cc", "-D_GNU_SOURCE", "-Wall", "-Werror", "-I", HEADER.parent, "parser.c", "-o", "parser"],
        cwd=tmp_path, check=True, timeout=100,
    )  # fmt: skip
    from_us, commands = os.pipe()
    replies, to_us = os.pipe()
    held, lifeline = os.pipe()
    with subprocess.Popen(
        [tmp_path / "parser", str(from_us), str(to_us), str(held), "."], pass_fds=(from_us, to_us, held)
    ) as process:
        os.close(from_us)
        os.close(to_us)
        os.close(held)
        with os.fdopen(replies, "rb") as reading:
            yield Program(process, commands, reading)
        process.kill()
    os.close(lifeline)


def test_the_conversation_of_the_page_takes_place(parser):
    block = re.search(r"<!-- conversation: parser -->\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert block is not None
    for line in block[1].splitlines():
        who, _, said = line.partition(" ")
        if who == ">":
            parser.tell(said)
        else:
            pattern = ".*".join(map(re.escape, said.split("...")))
            assert re.fullmatch(pattern, answer := parser.answer()), f"{answer}\n-- but the page shows:\n{said}"
    os.close(parser.commands)
    assert parser.process.wait(60) == 0


def test_a_program_of_another_version_says_so(parser):
    parser.tell(json.dumps(["Hello", protocol.VERSION + 1]))
    failed = protocol.Failed(*json.loads(parser.answer())["failed"])
    assert "speaks another version of the protocol than the tool; compile it again" in failed.said
    os.close(parser.commands)


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text("utf-8").partition(_MARK)[0] + _MARK + tables(), "utf-8")
    sys.exit()
