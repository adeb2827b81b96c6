"""The conversation with the parent: it says what to open and how often to run the step, the worker reports samples.

Messages to the worker are `{"do": ...}`: `list`, `open`, `run`, `probe`, `close`. Every one has one answer; an answer
with `error` carries the exception and its traceback. When the pipe closes, the worker ends.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import TracebackType
from typing import Any

from leakcheck.agent.channel import Channel
from leakcheck.agent.clock import own_clock
from leakcheck.agent.loading import load, named
from leakcheck.agent.meters.disk import release_named_memory
from leakcheck.agent.meters.reading import Readings
from leakcheck.agent.scenario import MARK, Context, Scenario
from leakcheck.agent.settle import Settler, apply, resource_counts
from leakcheck.agent.step import Driver, StepRaisedError, is_async, run_plain


def serve(channel: Channel) -> None:
    """Answer until the parent has no more to say."""
    scenarios: list[Scenario] = []
    while (message := channel.receive()) is not None:
        try:
            if message["do"] == "list":
                scenarios = load(message["target"])
                channel.send({"scenarios": [_describe(scenario) for scenario in scenarios], "python": sys.version})
            elif message["do"] == "open":
                if message["target"].startswith(_HOSTED):
                    _hold_elsewhere(channel, message)
                    continue
                if not scenarios:
                    scenarios = load(message["target"])
                _serve_scenario(channel, named(scenarios, message["name"], message["target"]), message)
        except BaseException as error:
            channel.send({"error": describe_error(error, message["do"])})
            if not isinstance(error, Exception):
                raise


_HOSTED = ("pytest_item://", "unittest_test://")
"""Targets whose step exists only inside another runner: that holds the conversation where it is."""


def _hold_elsewhere(channel: Channel, message: dict[str, Any]) -> None:
    kind, _, rest = message["target"].partition("://")
    import_module(f"leakcheck.agent.hosts.{kind}").hold(channel, message, rest)


def _serve_scenario(channel: Channel, scenario: Scenario, message: dict[str, Any]) -> None:
    conversation = Conversation(channel, scenario, message).hold()
    if is_async(scenario):
        import asyncio

        asyncio.run(conversation)
    else:
        run_plain(conversation)


class Conversation:
    """One scenario from set-up to tear-down."""

    def __init__(self, channel: Channel, scenario: Scenario, message: dict[str, Any]) -> None:
        self.channel = channel
        self.options = message
        self.context = Context(message["directory"])
        self.driver = Driver(scenario, self.context)
        self.clock = own_clock()
        self.reading = 0.0
        """Seconds that the last reading took."""

    async def hold(self) -> None:
        """Set up, answer the parent until it says `close`, tear down."""
        channel, driver = self.channel, self.driver
        await driver.open()
        apply(self.options.get("gc", "collect"))
        in_loop = driver.in_loop
        self.readings = Readings(self.context, self.options["directories"], in_loop)
        self.settler = Settler(self.context, self.options.get("gc", "collect"), resource_counts(in_loop), in_loop)
        channel.send(
            {
                "meters": [[meter.name, meter.unit, meter.decisive] for meter in self.readings.meters],
                "unavailable": self.readings.unavailable,
                "python": sys.version,
                "descriptor_limit": _descriptor_limit(),
            }
        )
        while (message := channel.receive()) is not None:
            if message["do"] == "close":
                break
            try:
                channel.send(await self._answer(message))
            except Exception as error:  # noqa: BLE001 - whatever user code raises becomes a result
                channel.send({"error": describe_error(error, message["do"])})
        await driver.close()
        release_named_memory()
        channel.send({"closed": True})

    async def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["do"] == "run":
            return await self._sample(int(message["count"]), int(message["watch"]), bool(message["whole"]))
        if message["do"] == "probe":
            # A diagnosis brings its own part for inside the process: `async def probe(conversation, arguments)`.
            module = import_module(message["module"])
            answer: dict[str, Any] = await module.probe(self, message["arguments"])
            return answer
        raise ValueError(f"the worker does not know {message['do']!r}")

    async def _sample(self, count: int, watch: int, whole: bool) -> dict[str, Any]:
        raised: dict[str, Any] | None = None
        readings = self.readings
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
        readings.cycles = await self.settler.settle(whole=whole)
        readings.iterations = self.driver.iterations
        read_from = self.clock()
        readings.spent = read_from - began + self.reading  # the last one's: this one's numbers are in it
        readings.read()
        self.reading = self.clock() - read_from
        # Numbers travel as one string of fixed length: were they printed, each message would have another size, and the
        # holes that it leaves in the heap would move the next reading by some bytes.
        answer: dict[str, Any] = {"sample": readings.numbers.tobytes().hex()}
        if raised is not None:
            answer["raised"] = raised
        return answer


def _descriptor_limit() -> int | None:
    """How many descriptors this process may have; a scenario may have set it."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def describe_error(error: BaseException, during: str) -> dict[str, Any]:
    """An exception as the parent wants it, without the frames of leakcheck at its top."""
    import traceback  # dear to import, and most scenarios raise nothing

    frames: TracebackType | None = error.__traceback__
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    while frames is not None and (
        frames.tb_frame.f_code.co_filename.startswith((own, "<frozen importlib"))
        or frames.tb_frame.f_code.co_filename.startswith(os.path.dirname(os.__file__) + os.sep + "asyncio")
    ):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames if frames is not None else None)
    kind = "import" if during in ("list", "open") and frames is None else type(error).__name__
    return {
        "type": kind,
        "message": str(error) or type(error).__name__,
        "traceback": "".join(lines)[-20_000:],
        "errno": getattr(error, "errno", None),
        "during": during,
    }


def _describe(scenario: Scenario) -> dict[str, Any]:
    options = scenario.options
    function = getattr(scenario.function, "__wrapped__", scenario.function)
    return {
        "name": scenario.name,
        "doc": scenario.doc,
        "line": scenario.line,
        "file": getattr(getattr(function, "__code__", None), "co_filename", ""),
        "marked": hasattr(function, MARK),
        "tags": sorted(options.tags),
        "expect": options.expect,
        "budget": dict(options.budget),
        "time_budget": options.time_budget,
        "max_iterations": options.max_iterations,
        "max_growth": options.max_growth,
        "tools": None if options.tools is None else sorted(options.tools),
        "native": options.native,
    }
