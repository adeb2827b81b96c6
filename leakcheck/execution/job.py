"""What is to be run: one scenario, in which interpreter, under which conditions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from leakcheck import validation
from leakcheck.agent.protocol import Fault, GcMode
from leakcheck.agent.scenario import legal

Allocator = Literal["malloc", "pymalloc"]
Arenas = Literal["one", "default"]

MIB = 1 << 20
"""Bytes."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much a verdict may cost; a scenario's own values replace those of the run."""

    time_s: float = 10.0
    """Seconds that the step may run in the growth measurement. Clean scenarios need a fraction of it; the rest is for
    growth that has to be told from a filling cache."""
    max_iterations: int | None = None
    max_growth: int = 1024 * MIB
    """Bytes that a scenario may grow by before it is stopped: enough to see some calls of a leak of 100 MB a call, and
    little enough for any machine that runs tests."""
    in_a_runner: bool = False
    """Whether a call of the step is a whole test, of whose time a test runner takes a part."""
    resources: int = 512
    """Descriptors, threads and children that a scenario may pile up: far below the limits of any system, and more than
    any pool of them that a test would have. Where the limit on descriptors is lower, half of what is left."""


class ScenarioInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario as the worker lists it, and where it was found."""

    id: str
    """`path/to/file.py::function[parameters]`."""
    target: str
    """What the worker imports: an absolute path of a file, or `module:function`."""
    name: str
    doc: str = ""
    file: str = ""
    line: int = 0
    tags: list[str] = []
    expect: Literal["clean", "leak"] = "clean"
    budget: dict[str, float] = {}
    time_budget: float | None = None
    max_iterations: int | None = None
    max_growth: int | None = None
    tools: list[str] | None = None
    timeouts: dict[str, float] = {}
    native: bool = False
    legal: list[str] | None = None
    """Names of the exceptions by which its step is made to fail; none where it is not, None where the run says."""
    command: list[str] = []
    """The words of the command that runs it again; empty for `elkyn-leakcheck run <id>`."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario under the conditions of one run. Every process that is started for it gets the same."""

    scenario: ScenarioInfo
    python: str = sys.executable
    allocator: Allocator = "malloc"
    arenas: Arenas = "one"
    """Whether malloc has one arena, or as many as the program has by itself: one a thread, up to eight a processor."""
    gc: GcMode = "collect"
    budget: Budget = Budget()
    cwd: Path = Path()
    """Folder in which the worker runs: the user's own, so that relative paths in scenarios mean what they say."""
    values: bool = False
    """Whether the user has asked for values of the program in what is told and written."""
    timeouts: dict[str, float] = {}
    """Those of the run; a scenario's own replace them."""
    fault: Fault | None = None
    """What is injected into each call of the step."""
    asked: str = ""
    """The role of the process that answers questions, where that is another than the one that calls the step."""

    def timeout(self, what: str) -> float:
        """Seconds that one of `validation.TIMEOUTS` may take."""
        return {**validation.TIMEOUTS, **self.timeouts, **self.scenario.timeouts}[what]

    def option(self, name: str) -> str:
        """What an option is called where the scenario came from: the command line, pytest, unittest or a call."""
        program = "".join(self.scenario.command[:1])
        if program == "pytest" and name in ("time-budget", "timeouts"):
            return f"--leakcheck-{name}"
        return name.replace("-", "_") if program in ("pytest", "python") else f"--{name}"

    def option_for(self, name: str, values: Mapping[str, float]) -> str:
        """The same with values, as it is written there."""
        option = self.option(name)
        if option.startswith("--"):
            return f"{option} {','.join(f'{key}={value:g}' for key, value in values.items())}"
        return f"{option}={dict(values)}"


def asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ScenarioInfo` for options that have been examined; what was left open has none."""
    fields = {name: value for name, value in options.items() if value is not None and name != "raises"}
    if "max_growth" in fields:
        fields["max_growth"] = validation.size(fields["max_growth"])
    if "tools" in fields:
        fields["tools"] = sorted(validation.tool_names(fields["tools"]) or ())
    if "timeouts" in fields:
        fields["timeouts"] = validation.timeouts(fields["timeouts"]) or {}
    if "errors" in fields:
        fields["legal"] = legal(fields.pop("errors"))
    return fields
