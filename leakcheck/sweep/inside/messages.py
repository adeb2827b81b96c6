"""What the swept interpreter tells the tool, one JSON array a line: the record's name, then its fields in order."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal[
    "call",
    "unusual value",
    "error",
    "callback raises",
    "abandoned",
    "two calls",
    "closed twice",
    "cycle",
    "subclass",
    "initialized twice",
    "without initialization",
    "copied",
    "out of memory",
]
"""What is done with a target."""

NO_SEEDS = "none"
"""In place of a path: what is written down, in docstrings too, is left aside."""


class Asked(NamedTuple):
    """What is to be swept. The first and only message to the interpreter."""

    targets: list[str]
    """Packages, modules, paths of extension modules."""
    include: list[str]
    """Patterns of `fnmatch`, of which a target's name must match one; none for all."""
    exclude: list[str]
    seconds: float
    """For each target, less those that others had the processor."""
    jobs: int
    errors_only: bool
    dry: bool
    """Only say what would be called."""
    seeds: str
    """A file with functions marked `@recipe`, or tests; empty for what docstrings show, `NO_SEEDS` for nothing."""
    folder: str
    """In which modules are looked for first, as Python does in the current one; empty for none."""
    skipped: list[str]
    """Names of targets that an earlier sweep has done: of them it is only found out how they are called."""
    since: dict[str, str]
    """By target, what its code was when an earlier sweep had time for all of it: as long as it is that, it is skipped
    too."""


class Began(NamedTuple):
    """How the interpreter is isolated, which Python it is, and which ledgers it has."""

    isolation: str
    python: str
    ledgers: list[str]
    distributions: dict[str, str]
    """Version by name, of those that the swept modules come from."""


class Inventory(NamedTuple):
    """What can be called."""

    targets: list[str]
    refused: list[tuple[str, str]]
    """Name, and why it is not called."""
    code: dict[str, str]
    """What the code of a target is, by a hash."""
    unchanged: list[str]
    """Targets that are left out, for their code is what it was."""


class Recipe(NamedTuple):
    """One thing to try, as source: `setup` is run once, `step` is what is repeated."""

    kind: Kind
    target: str
    setup: str
    step: str


class Suspect(NamedTuple):
    """A recipe of which each further repetition has kept something."""

    kind: Kind
    target: str
    source: str
    """A module's, without the step: imports, helpers, set-up."""
    step: str
    """The body of a function."""
    exception: str
    """Type of the exception that the step ends with; empty where it ends with none."""
    growth: dict[str, float]
    """By ledger, a repetition."""
    folders: list[str]
    """In which its modules are found, where that is not on the path of the interpreter anyhow."""
    neighbour: str
    """A step that differs in the value that matters and kept nothing; empty where none is known."""


class Crash(NamedTuple):
    """A recipe that ended its process."""

    target: str
    how: str
    """`signal 11`, `exit code 3`, `does not end`."""
    source: str
    """What was running."""


class Broken(NamedTuple):
    """An error of ours in a child: what the target has left is not known."""

    target: str
    traceback: str


class Looked(NamedTuple):
    """Calls of a target that succeed have been looked for, before any of it is swept."""

    target: str


class Swept(NamedTuple):
    """A target is done."""

    target: str
    calls: int
    """Recipes and trials that were run, each at least once."""
    made: bool
    """Whether a call of it has succeeded."""
    complete: bool
    """Whether there was time for all recipes."""
    seconds: float
    """That it took, less those that others had the processor."""


class Failed(NamedTuple):
    """Nothing can be swept, and why: one sentence."""

    message: str


class Done(NamedTuple):
    """The last message."""
