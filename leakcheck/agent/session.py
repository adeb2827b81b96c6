"""The conversation with the parent: it says what to open and how often to run the step, the worker reports samples.

The messages are those of `leakcheck.agent.protocol`. When the pipe closes, the worker ends.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from leakcheck.agent import exceptions
from leakcheck.agent.channel import CLOSED_OURS, Answer, Channel
from leakcheck.agent.children import has_children
from leakcheck.agent.loading import TargetError, load, named
from leakcheck.agent.meters import Place, Unavailable
from leakcheck.agent.meters.allocators import libraries
from leakcheck.agent.meters.heap import malloc_ledger
from leakcheck.agent.meters.kernel import release_segments
from leakcheck.agent.meters.reading import Readings
from leakcheck.agent.meters.system import release_named_memory
from leakcheck.agent.origin import HERE
from leakcheck.agent.protocol import (
    CALLS_BEFORE_FAULTS,
    HOSTED,
    INTERNAL,
    NOT_THERE,
    PROBES,
    VERSION,
    Closed,
    Described,
    Failed,
    Fault,
    Growers,
    Listed,
    Open,
    Opened,
    Run,
    Sampled,
)
from leakcheck.agent.scenario import MARK, Context, Scenario, ScenarioError, legal
from leakcheck.agent.settle import Settler, apply, resource_counts
from leakcheck.agent.step import Driver, StepRaisedError, is_async, run_plain

if TYPE_CHECKING:
    from array import array


def serve(channel: Channel) -> None:
    """Answer until the parent has no more to say."""
    scenarios: list[Scenario] = []
    while (request := channel.receive()) is not None:
        name, fields = request
        try:
            if name == "Hello":
                _check_version(*fields)
            elif name == "List":
                scenarios = load(*fields)
                channel.send(Listed([_describe(scenario) for scenario in scenarios]))
            elif name == "Open":
                opening = Open(*fields)
                if opening.target.startswith(HOSTED):
                    _hold_elsewhere(channel, opening)
                else:
                    scenarios = scenarios or load(opening.target)
                    serve_scenario(channel, named(scenarios, opening.name, opening.target), opening)
                channel.send(Closed())
            else:
                _refuse(name)
        except BaseException as error:
            channel.fail(describe_error(error, name))
            if not isinstance(error, Exception):
                raise


class FailedElsewhereError(Exception):
    """Something was raised in a process that this one has asked; `failed` says what."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.said)
        self.failed = failed


class ProtocolError(Exception):
    """The parent speaks another protocol, or says what has no meaning now."""


def _refuse(name: str) -> NoReturn:
    raise ProtocolError(f"the measured process does not know what {name!r} asks for now")


def _check_version(version: int) -> None:
    if version != VERSION:
        raise ProtocolError(
            f"the tool speaks version {version} of its protocol, and what measures in {sys.executable} speaks version "
            f"{VERSION}: another version of elkyn-leakcheck is installed there; install the same one, or none"
        )


_MOST_TRACEBACK = 20_000
"""Characters of a traceback that are reported, its end."""


def _hold_elsewhere(channel: Channel, opening: Open) -> None:
    kind, _, rest = opening.target.partition("://")
    import_module(f"leakcheck.agent.hosts.{kind}").hold(channel, opening, rest)


def serve_scenario(channel: Channel, scenario: Scenario, opening: Open) -> None:
    """Let the parent have the scenario until it says `Close`, in a loop of its own where it is async."""
    conversation = conversation_on(channel, scenario, opening).hold()
    if is_async(scenario):
        _run_in_loop(conversation)
    else:
        run_plain(conversation)


_MOST_CANCELLED = 1000
"""Tasks that are cancelled when a scenario is over. Each takes itself off a list of those that wait: thousands take
minutes, and the process is about to end."""


def _run_in_loop(conversation: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, but where a scenario has leaked a great many tasks they are left, as its memory is."""
    import asyncio

    runner = asyncio.Runner()
    try:
        runner.run(conversation)
    finally:
        if len(asyncio.all_tasks(runner.get_loop())) <= _MOST_CANCELLED:
            runner.close()


class _Others(Protocol):
    """Answers for other processes: see `processes.relay` and `processes.family`."""

    async def answer(self, name: str, fields: list[object], /) -> Answer:
        """Answer one request."""


class _Family(_Others, Protocol):
    """Those that the step has made: see `processes.family`."""

    def read(self, *, whole: bool) -> int:
        """Have them settle and read; returns the objects of cyclic garbage."""

    def add_to(self, numbers: array[float], /) -> None:
        """Add what they have grown by."""


def conversation_on(channel: Channel, scenario: Scenario, opening: Open) -> Conversation:
    """The conversation about a scenario that this process itself runs."""
    context = Context(opening.directory)
    return Conversation(channel, context, Driver(scenario, context), opening)


class Conversation:
    """One scenario from set-up to tear-down."""

    def __init__(self, channel: Channel, context: Context, driver: Driver, opening: Open) -> None:
        self.channel = channel
        self.opening = opening
        self.directories = opening.directories
        self.context = context
        self.driver = driver
        self.clock = self.driver.clock
        self.reading = 0.0
        """Seconds that the last reading took."""
        self._others: _Others | None = None
        """Other processes that are measured: those of a service, or those that the step has made."""
        self._family: _Family | None = None
        """The latter, once there are some."""
        self._meets_children = False

    async def hold(self) -> None:
        """Set up, answer the parent until it says `Close` or is gone, tear down: whatever happens in between.

        Who calls this answers `Closed`, when all is torn down that is its own.
        """
        await self.driver.open()
        try:
            if self.opening.fault is not None:
                await self._begin_to_fail(Fault(*self.opening.fault))
            await self._converse()
        finally:
            try:
                await self.driver.close()
            finally:
                release_named_memory()
                release_segments()

    async def _begin_to_fail(self, fault: Fault) -> None:
        """What the step does only at first has been done when it fails: the points have been found after it, too."""
        await self.driver.run(CALLS_BEFORE_FAULTS)
        self.driver.iterations = 0
        import_module("leakcheck.agent.faults.injecting").inject(self.driver, fault)

    async def _converse(self) -> None:
        channel = self.channel
        if self.context.started is not None:
            with suppress(Unavailable):
                self.context.meter("client.bytes", malloc_ledger()[0], "B")
        opened = self.make_meters()
        if self.context.started is not None:
            self._others = relay = import_module("leakcheck.agent.processes.relay").Relay(
                self, self.context.started.agents
            )
            opened = relay.opened(opened)
        else:
            self._meets_children = True
            if self.opening.asked or has_children():
                self._meet_children()
        channel.send(opened)
        while (request := channel.receive()) is not None:
            name, fields = request
            if name == "Close":
                break
            await self.reply(name, fields)

    def make_meters(self) -> Opened:
        """What can be read here, from now on."""
        apply(self.opening.gc)
        in_loop = self.driver.in_loop
        self.readings = Readings(self.opening.meters, self.context, Place(self.directories, in_loop))
        self.settler = Settler(self.context, self.opening.gc, resource_counts(in_loop), in_loop)
        return Opened(
            meters=[(name, self.readings.units.get(name, "")) for name in self.readings.readers],
            unavailable=self.readings.unavailable,
            python=sys.version,
            descriptor_limit=_descriptor_limit(),
            roots=HERE.roots,
            libraries=libraries(),
            answers_probes=True,
        )

    async def reply(self, name: str, fields: list[object]) -> None:
        """Answer one request; whatever is raised becomes the answer."""
        try:
            answer = self.answer if self._others is None else self._others.answer
            self.channel.send(await answer(name, fields))
        except StepRaisedError as error:
            self.channel.fail(describe_error(error.__cause__ or error, "step"))
        except FailedElsewhereError as error:
            self.channel.fail(error.failed)
        except Exception as error:  # noqa: BLE001 - whatever user code raises becomes a result
            self.channel.fail(describe_error(error, ANSWER))

    async def answer(self, name: str, fields: list[object]) -> Answer:
        """The answer of this process."""
        if name == "Run":
            return await self._sample(Run(*fields))  # type: ignore[arg-type]
        if name == "WhoGrows":  # there may be other processes, but none of them has an agent
            return Growers([], 0.0, "")
        if name not in PROBES:
            _refuse(name)
        probe = import_module(PROBES[name])
        answer: Answer = await probe.answer(self, getattr(probe, name)(*fields))
        return answer

    def _meet_children(self) -> None:
        self._family = self._others = import_module("leakcheck.agent.processes.family").Family(self)

    async def _sample(self, run: Run) -> Sampled:
        raised: Failed | None = None
        readings = self.readings
        count, watch = int(run.iterations), int(run.watch)
        if self._meets_children and self._family is None and readings.last("children"):
            self._meet_children()
        began = self.clock()
        try:
            readings.seconds = await self.driver.run(count - watch)
            if watch:
                seconds, readings.lowest = await self.driver.run_to_lowest(
                    watch, readings.ledger(), self.settler.collect
                )
                readings.seconds += seconds
        except StepRaisedError as error:
            raised = describe_error(error.__cause__ or error, "step")
        readings.cycles = await self.settler.settle(whole=run.whole)
        readings.iterations = self.driver.iterations
        read_from = self.clock()
        readings.spent = read_from - began + self.reading  # the last one's: this one's numbers are in it
        if self._family is not None:
            readings.cycles += self._family.read(whole=run.whole)
        self.settler.empty_free_lists()
        readings.read()
        if self._family is not None:
            self._family.add_to(readings.numbers)
        self.reading = self.clock() - read_from
        return Sampled(readings.numbers.tobytes().hex(), raised)


def _descriptor_limit() -> int | None:
    """How many descriptors this process may have; a scenario may have set it."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def describe_error(error: BaseException, during: str) -> Failed:
    """An exception as the parent wants it, without the frames of leakcheck at its top."""
    import traceback  # dear to import, and most scenarios raise nothing

    frames: TracebackType | None = error.__traceback__
    ours = (*HERE.roots.own, f"{os.path.dirname(os.__file__)}{os.sep}asyncio{os.sep}", "<frozen importlib")
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(ours):
        frames = frames.tb_next
    message = str(error) or type(error).__name__
    if during != "step" and frames is None and isinstance(error, OSError) and error.errno == errno.EBADF:
        message = CLOSED_OURS  # what a step raises is its own, also where it is written in C and has no frame
    lines = traceback.format_exception(type(error), error, frames)
    kind = type(error).__name__
    if isinstance(error, TargetError) or (isinstance(error, ScenarioError) and during == "List"):
        kind = NOT_THERE
    elif message is not CLOSED_OURS and (_is_none_of_the_users(error) if during == ANSWER else _is_ours(error, during)):
        kind = INTERNAL
    return Failed(
        type=kind,
        message=message,
        traceback="".join(lines)[-_MOST_TRACEBACK:],
        errno=_number(getattr(error, "errno", None)),
        during=during,
        said=message if message is CLOSED_OURS else exceptions.said(error, frames),
        stack=exceptions.stack(error, frames)[-_MOST_TRACEBACK:],
    )


ANSWER = "answer"
"""During which an error is our own unless code of the user's raised it: there the step is not at work."""

_CALLS_THE_USERS = tuple(os.path.join(os.path.dirname(__file__), name) for name in ("step.py", "loading.py"))
"""Modules in whose lines an error of the user's may end that has no line: the call of a function written in C."""


def _is_none_of_the_users(error: BaseException) -> bool:
    """Whether no code but ours and the interpreter's was at work: whatever it is, it says nothing of the step."""
    frames = error.__traceback__
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if not (HERE.own(file) or HERE.standard(file)):
            return False
        frames = frames.tb_next
    return True


def _is_ours(error: BaseException, during: str) -> bool:
    """Whether an exception was raised by our own code beside the step, and is none that tells the user of a mistake."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    file = frames.tb_frame.f_code.co_filename if frames is not None else ""
    told = (
        type(error).__module__.startswith("leakcheck.")
        or isinstance(error, OSError)
        or not isinstance(error, Exception)
    )
    return during != "step" and HERE.own(file) and file not in _CALLS_THE_USERS and not told


def _number(value: object) -> int | None:
    """An `errno`, which user code may have set to anything."""
    return value if isinstance(value, int) else None


def _describe(scenario: Scenario) -> Described:
    options = scenario.options
    function = getattr(scenario.function, "__wrapped__", scenario.function)
    return Described(
        name=scenario.name,
        doc=scenario.doc,
        line=scenario.line,
        file=getattr(getattr(function, "__code__", None), "co_filename", ""),
        marked=hasattr(function, MARK),
        tags=sorted(options.tags),
        expect=options.expect,
        budget=dict(options.budget),
        time_budget=options.time_budget,
        max_iterations=options.max_iterations,
        max_growth=options.max_growth,
        tools=None if options.tools is None else sorted(options.tools),
        timeouts=None if options.timeouts is None else dict(options.timeouts),
        native=options.native,
        legal=legal(options.errors),
    )
