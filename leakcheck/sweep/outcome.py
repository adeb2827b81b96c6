"""What a sweep leaves: the content of `sweep.json`, whose JSON form is the schema `leakcheck-sweep/1`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec

from leakcheck.records import Record, Tool
from leakcheck.sweep.inside.messages import Kind

SCHEMA = "leakcheck-sweep/1"
PUBLISHED = Path(__file__).with_name("leakcheck-sweep-1.schema.json")
"""The JSON Schema as it ships."""


class Age(Record, frozen=True, kw_only=True):
    """Since which version a find leaks, of those that were asked."""

    leaks: str
    """The oldest that was seen to leak."""
    clean: str
    """The newest before it that does not; empty where none is known."""
    unknown: list[str]
    """Versions before it, and behind the clean one, that cannot be judged: they do not have it, or are broken."""

    def __str__(self) -> str:
        unknown = f"{', '.join(self.unknown)} cannot be judged"
        if self.clean:
            return f"leaks since {self.leaks}; {self.clean} does not" + (f", and {unknown}" if self.unknown else "")
        return f"leaks in {self.leaks}; {unknown}" if self.unknown else f"leaks in {self.leaks} already"


class Find(Record, frozen=True, kw_only=True):
    """A leak that the judge has confirmed, in two fresh processes."""

    id: str
    """Name of its files."""
    fingerprint: str
    """Of what is called, in which way, and how that ends: the same for other values, in other folders and versions."""
    kind: Kind
    target: str
    """What is called: `package.Type.method`."""
    also: list[str]
    """Other targets that lose memory which the same lines have taken."""
    exception: str
    """Type of the exception that the call ends with; empty where it returns."""
    growth: dict[str, float]
    """What each call keeps, by meter, as the judge measured it."""
    likelihood: float
    """How likely a user's program does this, from 0 to 1: the rank of a find is this times its bytes."""
    reason: str
    """The judge's sentence."""
    cause: str
    """Fingerprint of what the diagnosis found, for `bisect --fingerprint`; empty where it found no place."""
    step: str
    """The lines that leak."""
    neighbour: str
    """Lines that are nearly the same and were measured clean; empty where none are known."""
    named: str
    """The path by which the program itself reaches what stays; empty where nothing does."""
    scenario: str
    """File that proves it, beside `sweep.json`."""
    draft: str
    """The draft of a bug report, beside it."""
    known: bool = False
    """Whether the baseline has it."""
    age: Age | None = None
    """Since which version it leaks, where older ones were asked."""


class Unconfirmed(Record, frozen=True, kw_only=True):
    """What grew in the screen and was no leak for the judge."""

    target: str
    kind: Kind
    step: str
    verdict: str
    reason: str


class CrashFound(Record, frozen=True, kw_only=True):
    """A call that ended its process, or did not end."""

    target: str
    how: str
    """`signal 11`, `exit code 3`, `does not end`."""
    step: str
    times: int
    """How many calls of this target ended so; the shortest is shown."""


class Sweep(Record, frozen=True, kw_only=True):
    """A whole sweep."""

    schema: str = SCHEMA
    tool: Tool
    asked: list[str]
    """Packages, modules or files, as they were named."""
    distributions: dict[str, str]
    """Version by name."""
    python: str
    isolation: Literal["namespaces", "landlock", "none", ""]
    """What kept calls from doing harm; empty where none was made."""
    started: str
    """UTC, ISO 8601."""
    duration_s: float
    control: Literal["ok", "failed", "off"]
    targets: int
    calls: int
    """That were made, with those that raised."""
    finds: list[Find]
    """Ordered by rank."""
    kept: list[Find]
    """Growth of the same kind in what the program itself names, after calls that succeed: a cache, a registry, or a
    forgotten list. Only its author can know."""
    unconfirmed: list[Unconfirmed]
    crashes: list[CrashFound]
    refused: list[tuple[str, str]]
    """What was not called, and why."""
    not_made: list[str]
    """Targets of which no call has succeeded."""
    unfinished: list[str]
    """Targets for which there was not enough time."""
    unchanged: list[str] = msgspec.field(default_factory=list)
    """Targets that were left out, for their code is what it was in an earlier sweep."""
    code: dict[str, str] = msgspec.field(default_factory=dict)
    """Of targets for which there was time enough, here or in that sweep, a hash of their code."""
    generator: str = ""
    """Hash of what makes the calls."""
    failures: list[tuple[str, str]]
    """Targets at which the sweep itself failed, with the traceback: an error of the tool."""
    interrupted: bool = False


def encode(sweep: Sweep) -> bytes:
    """The bytes of `sweep.json`."""
    return msgspec.json.format(msgspec.json.encode(sweep), indent=1) + b"\n"


def schema_text() -> str:
    """The text that the published schema must have: the JSON Schema (2020-12) of `sweep.json`."""
    schema = msgspec.json.schema(Sweep)
    head: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA}
    return json.dumps({**head, **schema}, indent=1) + "\n"
