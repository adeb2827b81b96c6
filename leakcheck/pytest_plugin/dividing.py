"""A part of a suite: whole files, so that their fixtures are made once, and the same on every machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from leakcheck.errors import UsageError
from leakcheck.records import Shard
from leakcheck.results import history
from leakcheck.run import shards

SHARD: pytest.StashKey[Shard] = pytest.StashKey()
"""What the results of this session say of the part that was run; the commit is known at its end."""


def keep_part(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of other parts. Raises `pytest.UsageError`."""
    try:
        number, count = shards.parse(config.option.leakcheck_shard, "--leakcheck-shard")
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    tests = Counter(map(_file, items))
    parts = shards.divided(list(tests), _expected(config, tests), count)
    config.stash[SHARD] = shards.shard_of(parts, number, count, "")
    left_out = [item for item in items if parts[_file(item)] != number]
    items[:] = [item for item in items if parts[_file(item)] == number]
    config.hook.pytest_deselected(items=left_out)


def history_of(config: pytest.Config) -> Path | None:
    """Where is remembered how long tests took, for those who divide them."""
    folder: Path | None = config.option.leakcheck_report
    if folder is None or not config.option.leakcheck_shard:
        return None
    return config.invocation_params.dir / folder / history.FILE_NAME


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _expected(config: pytest.Config, tests: Counter[str]) -> dict[str, float]:
    """Seconds of each file: of a test that was never measured as many as of the others, on average."""
    past = history_of(config)
    known = history.durations(past) if past else {}
    usual = sum(known.values()) / len(known) if known else 1.0
    seconds = {file: usual * number for file, number in tests.items()}
    for name, took in known.items():
        if (file := name.partition("::")[0]) in seconds:
            seconds[file] += took - usual
    return seconds
