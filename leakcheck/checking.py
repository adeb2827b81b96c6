"""`leakcheck.check(function, ...)`: a verdict as a value, for scripts, notebooks and other people's test frameworks."""

from __future__ import annotations

import io
import os
import pickle
import sys
import sysconfig
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypedDict

from leakcheck.errors import LeakcheckError, UsageError

if TYPE_CHECKING:
    from leakcheck.agent.protocol import GcMode, MeasuredBefore
    from leakcheck.execution.job import Allocator, Arenas, Job
    from leakcheck.records import Finding, ScenarioResult, Verdict

_MAIN = "__main__"


class JudgementOptions(TypedDict, total=False):
    """What a test that is measured, or a call in it, may say; the meaning is that of `check`'s parameters."""

    expect: Literal["clean", "leak"]
    budget: Mapping[str, float]
    time_budget: float | None
    max_iterations: int | None
    max_growth: int | str | None
    tools: str | Iterable[str] | None
    timeouts: Mapping[str, float] | None


class WholeTestOptions(JudgementOptions, total=False):
    """What a test that is measured as a whole may say; see `leakcheck.scenario` for `errors`."""

    errors: bool | type[BaseException] | tuple[type[BaseException], ...]


class CallOptions(JudgementOptions, total=False):
    """What a call that is measured inside a test may say."""

    raises: type[BaseException] | tuple[type[BaseException], ...] | None


class LeakFoundError(LeakcheckError, AssertionError):
    """A function leaks (or fails, or does not leak as it was expected to); `result` has all that is known."""

    def __init__(self, result: Result) -> None:
        super().__init__(str(result))
        self.result = result


class Result:
    """What came out: a view of the `ScenarioResult` in `record`. Printing it shows what a person must know."""

    __slots__ = ("record",)

    def __init__(self, record: ScenarioResult) -> None:
        self.record = record

    @property
    def verdict(self) -> Verdict:
        """`clean`, `bounded` (grew, then stopped), `leak`, `inconclusive`, `error` or `skipped`."""
        return self.record.verdict

    @property
    def ok(self) -> bool:
        """Whether the verdict is what was expected; `inconclusive` does not contradict `clean`."""
        return self.record.ok

    @property
    def reason(self) -> str:
        """One sentence; of a leak, what leaks, where it is added and who holds it."""
        return self.record.reason

    @property
    def iterations(self) -> int:
        """How often the function was called."""
        return self.record.iterations

    @property
    def findings(self) -> list[Finding]:
        """The causes, the best first; empty where nothing grows."""
        return list(self.record.findings)

    @property
    def growth(self) -> dict[str, float]:
        """Growth per iteration of each meter that leaks: `{"heap.bytes": 432.0}`; empty where nothing does."""
        return {meter.name: meter.growth for meter in self.record.meters if meter.decisive and meter.verdict == "leak"}

    @property
    def summary(self) -> MeasuredBefore:
        """What another process needs of it."""
        from leakcheck.agent.protocol import MeasuredBefore

        return MeasuredBefore(self.verdict, self.ok, self.reason, self.iterations, self.growth)

    def raise_unless_ok(self) -> Result:
        """Return itself, or raise `LeakFoundError` (an `AssertionError`)."""
        if not self.ok:
            raise LeakFoundError(self)
        return self

    def __enter__(self) -> NoReturn:
        refuse_with_statement()

    def __exit__(self, *_: object) -> None:
        """Never reached; without it Python would not come to `__enter__`, which says what to write instead."""

    def __str__(self) -> str:
        from leakcheck.report.failing import text

        return text(self.record)

    def __repr__(self) -> str:
        return f"<leakcheck.Result {self.verdict}: {self.reason}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        colour = "#1a7f37" if self.ok else "#b42318"
        head, _, rest = str(self).partition("\n")
        return (
            f'<div><strong style="color:{colour}">{escape(head)}</strong>'
            + (f"<pre style='margin:.4em 0 0'>{escape(rest)}</pre>" if rest else "")
            + "</div>"
        )


def refuse_with_statement() -> NoReturn:
    """Say what to write in place of `with leakcheck(...):`."""
    raise TypeError(
        "leakcheck is no context manager, as Python cannot run the body of a with statement again: put the body into a "
        "function, def step(): ..., and pass that: leakcheck(step)"
    )


def check(
    function: Callable[..., Any],
    *arguments: Any,
    name: str | None = None,
    expect: Literal["clean", "leak"] = "clean",
    budget: Mapping[str, float] | None = None,
    time_budget: float = 10.0,
    max_iterations: int | None = None,
    max_growth: int | str = "1GiB",
    raises: type[BaseException] | tuple[type[BaseException], ...] | None = None,
    tools: str | Iterable[str] = "auto",
    timeouts: Mapping[str, float] | None = None,
    gc: GcMode = "collect",
    allocator: Allocator = "malloc",
    arenas: Arenas = "one",
    python: str = sys.executable,
    values: bool = False,
) -> Result:
    """Call `function(*arguments)` again and again in a fresh process, and say whether it leaks; a leak raises nothing.

    The function may be plain or `async`; keyword arguments go in with `functools.partial`. It is sent to the other
    process as `multiprocessing` sends functions: by its name where it lives in a module, else (a lambda, a closure, a
    notebook's cell) by value, with copies of what it uses. `UsageError` says what cannot be sent.

    The other options are those of `elkyn-leakcheck run`: `budget` is the accepted growth per iteration by meter,
    `time_budget` the seconds that the function may run where growth must be told from a filling cache, `max_growth` the
    size at which it is stopped, `timeouts` the seconds after which an import, set-up, call, tear-down or look of the
    diagnosis counts as hanging, `{"call": 600}`. With `values` the result shows what the program keeps and the messages
    of exceptions; else types, lengths and places. Another interpreter, `python`, has its own packages and the caller's
    own folders to import from.

    Blocks until the verdict is there, usually for less than a second; safe in any thread and under a running event loop
    (which waits: use `asyncio.to_thread(check, ...)` where it must not).
    """
    from leakcheck import validation
    from leakcheck.execution.interpreter import dotted, look
    from leakcheck.execution.job import Budget, Job, ScenarioInfo
    from leakcheck.execution.workspace import Workspace

    label = name or _name(function)
    if not callable(function):
        raise UsageError(
            f"check({label}): the first argument is a function, not {type(function).__name__}; pass it without calling "
            "it"
        )
    asked = {
        "expect": expect, "budget": budget, "time_budget": time_budget, "max_iterations": max_iterations,
        "max_growth": max_growth, "tools": tools, "timeouts": timeouts, "raises": raises, "gc": gc,
        "allocator": allocator, "arenas": arenas, "values": values,
    }  # fmt: skip
    validation.examine(f"check({label})", asked, asked)
    version, problem = look(python)
    if problem:
        raise UsageError(f"check({label}): python={python!r} {problem}")
    code = getattr(function, "__code__", None)
    with Workspace() as folder:
        file = Path(folder, "call.pickle").resolve()
        pickled = _pickled(label, function, arguments, raises)
        if b"cloudpickle" in pickled and version != sys.version_info[:2]:
            raise UsageError(
                f"check({label}): what lives in no module can be sent to the same version of Python only, and "
                f"{python} is {dotted(version)}; put the function and the classes of its arguments into a module"
            )
        file.write_bytes(pickle.dumps(_where(python, Path(folder, "packages"))) + pickled)
        info = ScenarioInfo(
            id=f"call::{label}",
            target=f"pickled://{file}",
            name="call",
            doc=(function.__doc__ or "").strip().partition("\n")[0],
            file=getattr(code, "co_filename", ""),
            line=getattr(code, "co_firstlineno", 0),
            expect=expect,
            budget=dict(budget or {}),
            timeouts=validation.timeouts(timeouts or {}) or {},
            command=["python"],
        )
        job = Job(
            scenario=info,
            python=python,
            allocator=allocator,
            arenas=arenas,
            gc=gc,
            budget=Budget(
                time_s=time_budget,
                max_iterations=max_iterations,
                max_growth=validation.size(max_growth) or Budget().max_growth,
            ),
            cwd=Path.cwd(),
            values=values,
        )
        return measured(job, validation.tool_names(tools) or frozenset({"auto"}))


class MeasurementInterrupted(KeyboardInterrupt):
    """Ctrl-C came while something was measured; `record` is what was known by then, if anything was."""

    def __init__(self, record: ScenarioResult | None) -> None:
        super().__init__("interrupted while measuring")
        self.record = record


def measured(job: Job, tools: frozenset[str] = frozenset({"auto"})) -> Result:
    """Measure one job and say nothing meanwhile. Raises `MeasurementInterrupted`."""
    return Result(measured_with_errors(job, tools)[0])


def measured_with_errors(job: Job, tools: frozenset[str] = frozenset({"auto"})) -> list[ScenarioResult]:
    """The same, with what comes of the job's step where it is made to fail, after its own result."""
    from leakcheck.run.runner import Plan, Runner

    plan = Plan(scenarios=[job.scenario], broken=[], template=job, tools=tools)
    run = Runner(plan, Unseen()).run()
    if run.interrupted:
        raise MeasurementInterrupted(next(iter(run.scenarios), None))
    return run.scenarios


class Unseen:
    """A view that shows nothing."""

    def start(self, *_: Any) -> None:
        """Ignore."""

    progress = diagnosing = failing = failed = finish = control = start


def _where(python: str, folder: Path) -> tuple[list[str], bool, list[str]]:
    """Where the measured process imports from: first, whether from its own places too, and last.

    Another interpreter has packages of its own, and these are meant; from here it needs the user's folders, and
    cloudpickle.
    """
    if python == sys.executable:
        return sys.path, False, []
    import cloudpickle

    folder.mkdir()
    Path(folder, "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    own = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    mine = [os.path.abspath(each) for each in sys.path if not each.endswith(".zip")]
    users = [each for each in mine if not any(Path(os.path.realpath(each)).is_relative_to(one) for one in own)]
    return users, True, [str(folder)]


def _name(function: Callable[..., Any]) -> str:
    function = getattr(function, "func", function)  # functools.partial
    module = getattr(function, "__module__", None) or _MAIN
    qualified = getattr(function, "__qualname__", None) or type(function).__qualname__
    return qualified if module == _MAIN else f"{module}.{qualified}"


def _pickled(label: str, function: Callable[..., Any], arguments: tuple[Any, ...], raises: Any) -> bytes:
    """By reference what can be imported, by value the rest."""
    import cloudpickle

    for what, value in (("the function", function), *((f"argument {i}", a) for i, a in enumerate(arguments, 1))):
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            raise UsageError(
                f"check({label}): {what} ({type(value).__name__}) cannot be sent to the measured process: {error}; "
                "make it inside the function, or write a scenario whose set-up makes it"
            ) from error
    return _by_value((function, arguments, raises))


def _by_value(what: object) -> bytes:
    """As cloudpickle does it, with the file that each function stands in: findings name lines of it.

    Of code, cloudpickle from 3.1.3 on takes along the line numbers, but "<dynamic-code>" for a file.
    """
    import cloudpickle

    from leakcheck.agent.loading import in_file

    reduce_code = cloudpickle.Pickler.dispatch_table[CodeType]

    def with_its_file(code: CodeType) -> tuple[Any, ...]:
        make, parts = reduce_code(code)
        return in_file, (make, parts, code.co_filename)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = ChainMap({CodeType: with_its_file}, cloudpickle.Pickler.dispatch_table)

    buffer = io.BytesIO()
    Pickler(buffer).dump(what)
    return buffer.getvalue()
