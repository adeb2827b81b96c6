"""What a run asks of a node, and what the node answers, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from leakcheck.execution.job import Job
from leakcheck.records import Sample, ScenarioResult
from leakcheck.remote.likeness import Likeness
from leakcheck.remote.locked import Lock
from leakcheck.results.file import storable


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, and how to examine it."""

    job: Job
    tools: list[str] = []
    errors: bool = False
    suppressions: list[str] = []
    options: dict[str, Any] = {}


class _Request(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Common to all requests."""

    run: str
    """The run's name."""
    digest: str
    """Of the bundle."""
    python: str
    """The interpreter to measure in; empty for the node's own."""
    work: msgspec.Raw
    """`Work`, with paths below the bundle's folder by its name."""


class Admit(_Request, frozen=True, kw_only=True, tag=True):
    """The first request to a node: whether it can measure for this run. Answered by `Admitted`."""

    like: Likeness
    lock: Lock | None = None
    """What an environment is made from on the node; None where the interpreter must be like that of the run."""
    archive: bytes | None = None
    """The bundle; None where it is first asked whether the node has it."""


class Prove(_Request, frozen=True, kw_only=True, tag=True):
    """Run the control. Answered by a `Control`."""


class Examine(_Request, frozen=True, kw_only=True, tag=True):
    """Examine one scenario. Answered by its results, its own first."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """Answers `Admit`."""

    refused: str = ""
    """Why nothing can be measured there, in one clause."""
    lacks_bundle: bool = False
    python: str = ""
    """The interpreter that measures there; as it was asked for where none was made."""
    environment: dict[str, Any] = {}
    """As that of a run."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says while it examines: the method of `run.runner.View` of that name, and its arguments."""

    what: str
    scenario: str
    meter: str = ""
    samples: list[Sample] = []
    seconds_left: float = 0.0
    tools: list[str] = []
    tried: int = 0
    failures: int = 0


def encode(record: Any) -> bytes:
    """The record as JSON."""
    return msgspec.json.encode(record, enc_hook=str)


def encode_results(results: list[ScenarioResult]) -> bytes:
    """The results of one scenario, without what JSON does not have."""
    return encode([*map(storable, results)])


def decode(content: bytes | msgspec.Raw, kind: Any) -> Any:
    """A record of that type."""
    return msgspec.json.decode(content, type=kind, dec_hook=lambda wanted, value: wanted(value))
