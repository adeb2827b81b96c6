"""How things stand with nodes and scenarios while a run goes on."""

from __future__ import annotations

from typing import Any, NamedTuple

from leakcheck.execution.job import ScenarioInfo
from leakcheck.records import Control, Node, ScenarioResult
from leakcheck.remote.engine import Joined


class Task:
    """A scenario that has no result yet."""

    def __init__(self, info: ScenarioInfo) -> None:
        self.info = info
        self.lost: list[str] = []
        """Names of the nodes that went away with it."""
        self.seen: dict[NodeState, list[ScenarioResult]] = {}
        """What nodes have found, while it waits for others to confirm it."""


class NodeState:
    """A node that is there, or was."""

    def __init__(self, joined: Joined, python: str) -> None:
        self.address, self.name, self.machine, self.cores = joined.node, joined.name, joined.machine, joined.cores
        self.status: str = "new"
        """`new`, then `ok` where it is used, or one of `Node.status`."""
        self.reason = ""
        self.python = python
        self.environment: dict[str, Any] = {}
        self.control = Control(status="off", reason="it was not finished")
        self.is_proved = False
        self.held: list[tuple[Task, list[ScenarioResult]]] = []
        """What it has found before its control was passed."""
        self.scenarios = 0
        self.requests: set[str] = set()
        """Those that it has not answered."""
        self.is_reserved = False
        """Whether what runs there must have no company."""

    def record(self) -> Node:
        """What the results say of it."""
        return Node(
            name=self.name,
            status=self.status,  # type: ignore[arg-type]
            reason=self.reason,
            cores=self.cores,
            scenarios=self.scenarios,
            environment=self.environment,
            control=self.control,
        )


class Call(NamedTuple):
    """A request that has no answer yet."""

    node: NodeState
    task: Task | None
    """None for what is asked of the node itself."""
    answer: Any
    """Type of the answer."""
