"""The result file of a run: encoded so that it can always be read again, read with an error that says what is wrong."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from leakcheck import records
from leakcheck.errors import UsageError
from leakcheck.records import RunResult, ScenarioResult

FILE_NAME = "results.json"
SIZE_LIMIT = 256 << 20
"""Bytes of a result file beyond which it is refused: a run of ten thousand scenarios has about 60 MB."""


class ResultFileError(UsageError):
    """A result file is missing, damaged, too large, or not one that this version can read (exit code 4)."""


def encode(run: RunResult) -> bytes:
    """The bytes of `results.json`, always readable again, with the user's home folder as `~`: its name is a person's.

    JSON has no NaN, no infinity and no lone surrogates, but a scenario's own meter or the output of a child
    may: such samples are left out, such characters are replaced.
    """
    return b"".join(parts(run))


def parts(run: RunResult) -> Iterator[bytes]:
    """The same in pieces, a scenario each: of a run of ten thousand, no more than one is encoded at a time."""
    before, after = records.encode(storable(msgspec.structs.replace(run, scenarios=[]))).split(_NO_SCENARIOS)
    yield without_home(before)
    yield _NO_SCENARIOS[:-1]
    for number, scenario in enumerate(run.scenarios):
        text = msgspec.json.encode(storable(scenario))
        if len(run.scenarios) <= _INDENTED:
            text = msgspec.json.format(text, indent=1)
        yield (b",\n  " if number else b"\n  ") + without_home(text.replace(b"\n", b"\n  "))
    yield b"\n ]" if run.scenarios else b"]"
    yield without_home(after)


def as_read(run: RunResult) -> RunResult:
    """The run as a later command will read it from its file."""
    scenarios = [_again(scenario, ScenarioResult) for scenario in run.scenarios]
    return msgspec.structs.replace(_again(msgspec.structs.replace(run, scenarios=[]), RunResult), scenarios=scenarios)


_INDENTED = 200
"""Scenarios that are written for readers, each value in a line of its own; of more, each scenario is a line."""
_NO_SCENARIOS = b'\n "scenarios": []'
"""How their list begins in a run that has none; only a key of the run itself is one space from the margin."""

_Stored = TypeVar("_Stored", RunResult, ScenarioResult)


def _again(record: _Stored, kind: type[_Stored]) -> _Stored:
    return msgspec.json.decode(without_home(msgspec.json.encode(storable(record))), type=kind)


def storable(record: _Stored) -> _Stored:
    """The record itself, or where it could not be read again, without what JSON does not have."""
    kind = type(record)
    try:
        msgspec.json.decode(msgspec.json.encode(record), type=kind)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        return msgspec.convert(_as_json(msgspec.to_builtins(record)), kind)
    return record


def without_home(content: bytes) -> bytes:
    """JSON in which this user's home folder is `~`."""
    home = os.path.expanduser("~").rstrip("/")
    if not home.startswith("/"):
        return content
    written = re.escape(msgspec.json.encode(home)[1:-1])
    return re.sub(rb"(?<![\w./~-])" + written + rb"(?=[/\"\\\s:])", b"~", content)


def read(path: Path) -> RunResult:
    """The run in `path`: a result file or the directory of a run. Raises `ResultFileError`."""
    file = path / FILE_NAME if path.is_dir() else path
    content = _content(file)
    _check_schema(content, file)
    try:
        return records.decode(content)
    except msgspec.MsgspecError as error:
        raise ResultFileError(f"{file} is damaged: {error}; make it again with `elkyn-leakcheck run`") from error


class _Head(msgspec.Struct):
    schema: str


def _content(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > SIZE_LIMIT:
            raise ResultFileError(
                f"{file} has {size >> 20} MB, more than the {SIZE_LIMIT >> 20} MB that are read; "
                "split the run and give the parts together"
            )
        with file.open("rb") as stream:
            content = stream.read(SIZE_LIMIT + 1)  # a pipe or a growing file has no size to trust
    except FileNotFoundError:
        raise ResultFileError(f"{file} does not exist; give the directory of a run or its {FILE_NAME}") from None
    except OSError as error:
        raise ResultFileError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > SIZE_LIMIT:
        raise ResultFileError(f"{file} goes on after {SIZE_LIMIT >> 20} MB and is refused")
    return content


def _check_schema(content: bytes, file: Path) -> None:
    try:
        schema = msgspec.json.decode(content, type=_Head).schema
    except msgspec.ValidationError:
        raise ResultFileError(
            f'{file} is not a result file of elkyn-leakcheck: it has no "schema": "{records.SCHEMA}"; '
            f"give the directory of a run or its {FILE_NAME}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if content.strip() and "truncated" not in str(error):
            raise ResultFileError(
                f"{file} is not JSON, as the results of a run are; give the directory of a run or its {FILE_NAME}"
            ) from None
        how = "ends in the middle" if content.strip() else "is empty"
        raise ResultFileError(f"{file} {how}; make it again with `elkyn-leakcheck run`") from None
    if schema == records.SCHEMA:
        return
    version = re.fullmatch(r"leakcheck/(\d+)", schema)
    if version and int(version[1]) > int(records.SCHEMA.rpartition("/")[2]):
        raise ResultFileError(
            f"{file} was written by a newer elkyn-leakcheck ({schema}, this one reads {records.SCHEMA}); "
            "upgrade elkyn-leakcheck"
        )
    raise ResultFileError(f"{file} has the schema {schema[:40]!r}, but {records.SCHEMA!r} is needed")


def _as_json(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if isinstance(value, dict):
        return {_as_json(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value if not _is_broken_sample(item)]
    return value


def _is_broken_sample(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[1], float) and not math.isfinite(item[1])
