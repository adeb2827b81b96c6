"""A conversation that is held inside a test: at the call of `leakcheck(...)` that the parent wants measured.

So a function under test may use whatever the test has made before: it is not sent anywhere, the test itself runs in the
measured process up to that call.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NamedTuple

from leakcheck.agent.channel import Channel
from leakcheck.agent.scenario import Options, Scenario
from leakcheck.agent.session import Conversation
from leakcheck.agent.step import CO_COROUTINE, flags, is_async, run_plain


class Measured(NamedTuple):
    """What a call that was measured before returns when the test is run again: the same as it did then."""

    verdict: str
    ok: bool
    reason: str
    iterations: int
    growth: dict[str, float]
    findings: tuple[Any, ...] = ()


class Answers:
    """What the calls of one run of a test return: those `before` what they returned when they were measured."""

    def __init__(self, before: Sequence[Sequence[Any]] = ()) -> None:
        self._before = [Measured(*each) for each in before]
        self._calls = 0

    def wants(self) -> bool:
        """Count one call; whether it is the first after those."""
        self._calls += 1
        return self._calls == len(self._before) + 1

    def answer(self) -> Measured:
        """What the call returns; after the one that was wanted, nobody reads it any more."""
        if self._calls <= len(self._before):
            return self._before[self._calls - 1]
        return Measured("clean", True, "", 0, {})


class Host(Answers):
    """The one conversation of a measured process; it is held at the call after those `before`."""

    def __init__(self, channel: Channel, message: dict[str, Any], before: Sequence[Sequence[Any]] = ()) -> None:
        super().__init__(before)
        self._channel = channel
        self._message = message
        self.held = False

    def hold(self, scenario: Scenario) -> None:
        """Let the parent have the scenario until it says `close`."""
        self._begin()
        conversation = Conversation(self._channel, scenario, self._message).hold()
        if is_async(scenario):
            import asyncio

            asyncio.run(conversation)
        else:
            run_plain(conversation)

    def _begin(self) -> None:
        """Put aside the objects of the test runner: some 100,000, a tenth of a second for each collection."""
        self.held = True
        gc.collect()
        gc.freeze()

    async def hold_in_loop(self, scenario: Scenario) -> None:
        """The same under a loop that runs already."""
        self._begin()
        await Conversation(self._channel, scenario, self._message).hold()


def of_call(
    function: Callable[..., Any], arguments: tuple[Any, ...], raises: Any, forget: Callable[[], None] | None = None
) -> Scenario:
    """A call as a scenario; `forget` is run after each call, for what the surroundings keep of it.

    Always a generator, so that a generator function under test is called and not taken for a scenario's set-up.
    """
    options = Options(raises=raises)
    step = function
    if flags(function) & CO_COROUTINE:
        if arguments or forget:

            async def step() -> None:
                await function(*arguments)
                if forget:
                    forget()

        async def async_call() -> AsyncIterator[Callable[[], Any]]:
            yield step

        return Scenario("call", async_call, {}, options)
    if arguments or forget:

        def step() -> None:
            function(*arguments)
            if forget:
                forget()

    def call() -> Iterator[Callable[[], Any]]:
        yield step

    return Scenario("call", call, {}, options)
