"""A conversation that is held inside a test: at the call of `leakcheck(...)` that the parent wants measured.

So a function under test may use whatever the test has made before: it is not sent anywhere, the test itself runs in the
measured process up to that call.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

from leakcheck.agent.channel import Channel
from leakcheck.agent.protocol import MeasuredBefore, Open
from leakcheck.agent.scenario import Scenario
from leakcheck.agent.session import conversation_on, serve_scenario

MEASURED = "the call has been measured"
"""Why a test is skipped from there on: its fixtures and clean-ups are run, the rest of it has nothing to say."""


class Answers:
    """What the calls of one run of a test return: those `before` what they returned when they were measured."""

    def __init__(self, before: Sequence[MeasuredBefore] = ()) -> None:
        self._before = [MeasuredBefore(*each) for each in before]
        self._calls = 0

    def wants(self) -> bool:
        """Count one call; whether it is the first after those."""
        self._calls += 1
        return self._calls == len(self._before) + 1

    def answer(self) -> MeasuredBefore:
        """What the call returns."""
        if self._calls <= len(self._before):
            return self._before[self._calls - 1]
        return MeasuredBefore("clean", True, "", 0, {})


class Host(Answers):
    """The one conversation of a measured process; it is held at the call after those `before`."""

    def __init__(self, channel: Channel, opening: Open, before: Sequence[MeasuredBefore] = ()) -> None:
        super().__init__(before)
        self._channel = channel
        self._opening = opening
        self.held = False

    def hold(self, scenario: Scenario) -> None:
        """Let the parent have the scenario until it says `close`."""
        self._begin()
        serve_scenario(self._channel, scenario, self._opening)

    def _begin(self) -> None:
        """Put aside the objects of the test runner: some 100,000, a tenth of a second for each collection."""
        self.held = True
        gc.collect()
        gc.freeze()

    async def hold_in_loop(self, scenario: Scenario) -> None:
        """The same under a loop that runs already."""
        self._begin()
        await conversation_on(self._channel, scenario, self._opening).hold()
