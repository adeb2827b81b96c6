"""The result file of a run: encoded so that it can always be read again, read with an error that says what is wrong."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from leakcheck import records
from leakcheck.errors import UsageError
from leakcheck.records import RunResult

FILE_NAME = "results.json"
SIZE_LIMIT = 64 << 20
"""Bytes of a result file beyond which it is refused: a run of a thousand scenarios has about 20 MB."""


class ResultFileError(UsageError):
    """A result file is missing, damaged, too large, or not one that this version can read (exit code 4)."""


def encode(run: RunResult) -> bytes:
    """The bytes of `results.json`, always readable again, with the user's home folder as `~`: its name is a person's.

    JSON has no NaN, no infinity and no lone surrogates, but a scenario's own meter or the output of a child
    may: such samples are left out, such characters are replaced.
    """
    try:
        content = records.encode(run)
        records.decode(content)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        content = records.encode(msgspec.convert(_storable(msgspec.to_builtins(run)), RunResult))
    return _without_home(content)


def _without_home(content: bytes) -> bytes:
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
            f'{file} is not a result file of elkyn-leakcheck: it has no "schema": "{records.SCHEMA}"'
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        how = (
            "is empty"
            if not content.strip()
            else "ends in the middle"
            if "truncated" in str(error)
            else f"is not JSON ({error})"
        )
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


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value if not _is_broken_sample(item)]
    return value


def _is_broken_sample(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[1], float) and not math.isfinite(item[1])
