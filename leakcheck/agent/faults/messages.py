"""The third part of the protocol: at which points a step can fail, and the choice of one. The rules are the same."""

from typing import NamedTuple

from leakcheck.agent.protocol import Fault, Place, PointKind


class FindPoints(NamedTuple):
    """Asks at which points the step can fail; it is called `calls` times, and looked at in the last two of them."""

    calls: int


class Point(NamedTuple):
    """One point, as the step comes by it in one call; see `Fault` for the first fields."""

    kind: PointKind
    file: str
    function: str
    first_line: int
    offset: int
    turns: int
    """How often the step comes by."""
    stack: tuple[Place, ...]
    """Where it is, the innermost place first, up to the step."""
    span: tuple[int, int, int, int]
    """First and last line, first and last column of the call; zeros where they are not known."""
    called: str
    """What is called, by its own name; empty where that is not known."""
    users: int = 0
    """Of an allocation: which place of the stack is the innermost of the user's code."""


class PointsFound(NamedTuple):
    """Answers `FindPoints`."""

    points: list[Point]


class FindAllocations(NamedTuple):
    """Asks where the interpreter allocates memory in one call of the step."""


class AllocationsFound(NamedTuple):
    """Answers `FindAllocations`."""

    points: list[Point]
    """Instructions of Python's that allocate some; `turns` is how many, the first time. `span` and `called` are of the
    user's code that leads there: what it calls, and the innermost function, where that is another's."""
    why_not: str
    """Why none can be made to fail; empty where one can."""


class SetFault(NamedTuple):
    """Lets each call of the step fail so from now on; with none they do not fail any longer."""

    faults: list[Fault]
    """One; of allocations several, of which one strikes with each call, in turn."""


class FaultSet(NamedTuple):
    """Answers `SetFault`."""

    calls: int
    """Under the fault that was set before."""
    hits: int
    """Calls that it struck."""
