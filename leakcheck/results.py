"""The files of a run: made whole or not at all, read with an error that says what is wrong, merged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from leakcheck import atomic, merging, model
from leakcheck import history as runs_before
from leakcheck.errors import UsageError
from leakcheck.model import RunResult

FILE_NAME = "results.json"
LATEST = "latest"
SIZE_LIMIT = 64 << 20
"""Bytes of a result file beyond which it is refused: a run of a thousand scenarios has about 20 MB."""
FORMATS = ("json", "html", "junit", "markdown", "sarif")


class ResultFileError(UsageError):
    """A result file is missing, damaged, too large, or not one that this version can read (exit code 4)."""


def new_run_directory(base: Path) -> Path:
    """Make `base/<run id>`, named after the time (UTC); two runs that start together get two directories."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in count(1):
        directory = base / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise atomic.WriteError(
                f"cannot make {directory}: {error.strerror}; choose another place with --report"
            ) from error
        return directory
    raise AssertionError


def point_latest(base: Path, run_directory: Path) -> None:
    """Let `base/latest` point to `run_directory`."""
    atomic.link(base / LATEST, run_directory)


def write_run(
    run: RunResult,
    directory: Path,
    formats: Sequence[str] = FORMATS,
    history: Path | None = None,
) -> list[Path]:
    """Write the reports of `run` into `directory` in the given formats; returns the paths.

    `history` names the history file: its runs are drawn as the trend, then `run` is appended to it. Raises
    `atomic.WriteError`; no file is ever half-written, and `results.json` takes its name last.
    """
    from leakcheck.report import FILES, render

    content = encode(run)
    run = model.decode(content)  # what a later `report` would read, so that both draw the same
    past = runs_before.read(history) if history else []
    others = {FILES[name]: render(name, run, past).encode() for name in formats if name != "json"}
    paths = atomic.write_together(directory, {**others, **({FILE_NAME: content} if "json" in formats else {})})
    if history:
        runs_before.append(history, run)
    return paths


def encode(run: RunResult) -> bytes:
    """The bytes of `results.json`, always readable again.

    JSON has no NaN, no infinity and no lone surrogates, but a scenario's own meter or the output of a child
    may: such samples are left out, such characters are replaced.
    """
    try:
        content = model.encode(run)
        model.decode(content)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        content = model.encode(msgspec.convert(_storable(msgspec.to_builtins(run)), RunResult))
    return content


def read(path: Path) -> RunResult:
    """The run in `path`: a result file or the directory of a run. Raises `ResultFileError`."""
    file = path / FILE_NAME if path.is_dir() else path
    content = _content(file)
    _check_schema(content, file)
    try:
        return model.decode(content)
    except msgspec.MsgspecError as error:
        raise ResultFileError(f"{file} is damaged: {error}; make it again with `elkyn-leakcheck run`") from error


def merge(runs: Iterable[RunResult]) -> RunResult:
    """One run out of several: shards, re-runs, platforms (see `leakcheck.merging`)."""
    return merging.merge(list(runs))


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
            f'{file} is not a result file of elkyn-leakcheck: it has no "schema": "{model.SCHEMA}"'
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
    if schema == model.SCHEMA:
        return
    version = re.fullmatch(r"leakcheck/(\d+)", schema)
    if version and int(version[1]) > int(model.SCHEMA.rpartition("/")[2]):
        raise ResultFileError(
            f"{file} was written by a newer elkyn-leakcheck ({schema}, this one reads {model.SCHEMA}); "
            "upgrade elkyn-leakcheck"
        )
    raise ResultFileError(f"{file} has the schema {schema[:40]!r}, but {model.SCHEMA!r} is needed")


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
