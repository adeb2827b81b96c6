"""What a scenario is: a named workload with set-up, one step that is repeated, and tear-down.

The measured process imports this module: it uses the cheap parts of the standard library only (`dataclasses` and
`inspect` would double what a bare interpreter loads).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

if TYPE_CHECKING:
    from pathlib import Path

    from leakcheck.agent.service.started import Service

Expectation = Literal["clean", "leak"]
Errors = bool | type[BaseException] | tuple[type[BaseException], ...]
Function = TypeVar("Function", bound=Callable[..., Any])

LEGAL = ("OSError", "MemoryError", "TimeoutError")
"""What a call is made to raise where nobody says which exceptions are legal."""
MARK = "__leakcheck__"
"""The attribute in which a marked function carries its `Options`."""


class ScenarioError(ValueError):
    """What a scenario asks for cannot be: a mistake in it, and none of this tool."""


class Options(NamedTuple):
    """What `@scenario(...)` says about a function."""

    tags: frozenset[str] = frozenset()
    params: Mapping[str, tuple[Any, ...]] = {}
    expect: Expectation = "clean"
    budget: Mapping[str, float] = {}
    time_budget: float | None = None
    max_iterations: int | None = None
    max_growth: int | str | None = None
    tools: frozenset[str] | None = None
    timeouts: Mapping[str, float] | None = None
    native: bool = False
    raises: type[BaseException] | tuple[type[BaseException], ...] | None = None
    errors: Errors | None = None


class Scenario(NamedTuple):
    """One function with one combination of its parameters: what a job runs."""

    name: str
    """`function` or `function[value-value]`."""
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    options: Options

    @property
    def doc(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0].rstrip()

    @property
    def line(self) -> int:
        """Where the function is defined; 0 where that is not known."""
        function = getattr(self.function, "__wrapped__", self.function)
        return getattr(getattr(function, "__code__", None), "co_firstlineno", 0)


class Context:
    """What a scenario's set-up is given as `ctx`. Not thread-safe: use it during set-up only."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.settlers: list[Callable[[], Any]] = []
        self.meters: list[tuple[str, str, Callable[[], float]]] = []
        self.watched: list[Any] = []
        self.started: Service | None = None
        """The service whose processes are measured."""

    @property
    def tmp_path(self) -> Path:
        """An empty directory of this job; what is left in it counts as growth of `disk.bytes` and `disk.files`."""
        from pathlib import Path

        return Path(self._directory)

    def settle(self, drain: Callable[[], Any]) -> None:
        """Call `drain` before every reading: it returns (or is awaited) when background work is done."""
        self.settlers.append(drain)

    def meter(self, name: str, read: Callable[[], float], unit: str = "") -> None:
        """Add a meter: `read` returns a number that must not grow with the iterations.

        Raises `ValueError` when the name is taken.
        """
        if any(name == taken for taken, _, _ in self.meters):
            raise ScenarioError(f"ctx.meter: there is a meter named {name!r} already; give this one another name")
        self.meters.append((name, unit, read))

    def service(
        self,
        command: str | Sequence[str],
        *,
        ready: str | Callable[[], object] | None = None,
        timeout: float = 60.0,
    ) -> Service:
        """A service to be started: a context manager, in which its processes are measured in the place of this one.

        An iteration is then what the step does to it, a request say. `{port}` in the command stands for a free port,
        and the service's `url` has it. `ready` is what answers when it is ready: a path, a URL, or a function that
        returns whether it is; by default the port is enough. Raises `ServiceError` where that takes longer than
        `timeout` seconds, or the command ends.
        """
        from leakcheck.agent.service.started import Service

        if self.started is not None:
            raise ScenarioError("ctx.service: there is a service already; let one scenario measure one service")
        self.started = Service(command, ready, timeout)
        return self.started

    def watch(self, value: Any) -> None:
        """Count the references to `value` too: of objects that only native code holds, the collector knows nothing."""
        self.watched.append(value)


@overload
def scenario(function: Function, /) -> Function: ...


@overload
def scenario(
    *,
    tags: Iterable[str] = (),
    params: Mapping[str, Iterable[Any]] | None = None,
    expect: Expectation = "clean",
    budget: Mapping[str, float] | None = None,
    time_budget: float | None = None,
    max_iterations: int | None = None,
    max_growth: int | str | None = None,
    tools: Iterable[str] | None = None,
    timeouts: Mapping[str, float] | None = None,
    native: bool = False,
    raises: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    errors: Errors | None = None,
) -> Callable[[Function], Function]: ...


def scenario(
    function: Function | None = None,
    /,
    *,
    tags: Iterable[str] = (),
    params: Mapping[str, Iterable[Any]] | None = None,
    expect: Expectation = "clean",
    budget: Mapping[str, float] | None = None,
    time_budget: float | None = None,
    max_iterations: int | None = None,
    max_growth: int | str | None = None,
    tools: Iterable[str] | None = None,
    timeouts: Mapping[str, float] | None = None,
    native: bool = False,
    raises: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    errors: Errors | None = None,
) -> Function | Callable[[Function], Function]:
    """Mark a function as a scenario.

    A plain or `async` function is itself the step. A generator or async generator sets up, yields the step (a callable,
    plain or async), and tears down after the `yield`. An argument named `ctx` receives the `Context`; arguments named
    in `params` receive one value each, one scenario for each combination.

    `expect="leak"` turns the scenario into a proof that the tool sees it: not finding the leak fails the run.
    `budget` is the growth per iteration that is accepted, by meter. `time_budget` (seconds), `max_iterations` and
    `max_growth` (bytes, or `"64MiB"`) replace the run's own, as do `timeouts`: seconds after which a set-up, a call, a
    tear-down or a look of the diagnosis counts as hanging, `{"setup": 300, "call": 60}`. `raises` tests an error path:
    each call of the step must raise it. `errors=True` lets it fail at each of its calls and waits as well, as
    `--errors` does in all scenarios of a run; a class of exceptions, or a tuple of some, says what is raised, and
    `False` that nothing is. Where it leaks, `native=True` asks for valgrind as well. The function itself
    stays as it was, and can be called as ever.
    """
    if expect not in ("clean", "leak"):
        raise ScenarioError(f"@scenario: expect is 'clean' or 'leak', not {expect!r}")
    for name, value in (("time_budget", time_budget), ("max_iterations", max_iterations)):
        if value is not None and not (isinstance(value, int | float) and value > 0):
            raise ScenarioError(f"@scenario: {name} is a number above 0, not {value!r}")
    kinds = errors if isinstance(errors, tuple) else (errors or False,)
    if not all(isinstance(kind, bool | type) and "<" not in getattr(kind, "__qualname__", "") for kind in kinds):
        raise ScenarioError(
            "@scenario: errors is True, False, a class of exceptions or a tuple of some, none of them made in a "
            f"function, not {errors!r}"
        )
    if isinstance(tags, str):
        tags = {tags}
    options = Options(
        tags=frozenset(tags),
        params={name: tuple(values) for name, values in (params or {}).items()},
        expect=expect,
        budget=dict(budget or {}),
        time_budget=time_budget,
        max_iterations=max_iterations,
        max_growth=max_growth,
        tools=None if tools is None else frozenset(tools.split(",") if isinstance(tools, str) else tools),
        timeouts=timeouts,
        native=native,
        raises=raises,
        errors=errors,
    )

    def mark(marked: Function) -> Function:
        setattr(marked, MARK, options)
        return marked

    return mark if function is None else mark(function)


def legal(errors: Errors | None) -> list[str] | None:
    """The exceptions of `errors=`, by names as `leakcheck.agent.faults.exceptions` reads them; None for None."""
    if errors is None:
        return None
    if isinstance(errors, bool):
        return list(LEGAL) if errors else []
    kinds = errors if isinstance(errors, tuple) else (errors,)
    return [
        kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}:{kind.__qualname__}" for kind in kinds
    ]


def expand(name: str, function: Callable[..., Any], options: Options) -> list[Scenario]:
    """One scenario for each combination of the parameters, in the order in which they were given."""
    if not options.params:
        return [Scenario(name, function, {}, options)]
    scenarios = []
    source = (
        _source(function) if any(type(value) is str for given in options.params.values() for value in given) else ""
    )
    for position, values in enumerate(itertools.product(*options.params.values())):
        label = "-".join(_label(value, position, source) for value in values)
        arguments = dict(zip(options.params, values, strict=True))
        scenarios.append(Scenario(f"{name}[{label}]", function, arguments, options))
    return scenarios


def _source(function: Callable[..., Any]) -> str:
    """The text of the file that defines a function; empty where it cannot be read."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    try:
        with open(getattr(code, "co_filename", ""), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def is_name_in(source: str, text: str) -> bool:
    """Whether a text is a name that stands in quotes in a source file: the author's word, and no value of the data."""
    return text.isidentifier() and (f"'{text}'" in source or f'"{text}"' in source)


def _label(value: Any, position: int, source: str) -> str:
    """How a parameter's value reads in the scenario's name, which is told and written everywhere.

    Numbers, and names that stand in the source, read as they are; others by their position.
    """
    if isinstance(value, str):
        return value if is_name_in(source, value) else f"value{position}"
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    return getattr(value, "__name__", f"value{position}")
