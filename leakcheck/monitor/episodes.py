"""One alert an episode: growth is told once it has held, and may be told again only after it has stopped for good."""

from __future__ import annotations

from typing import Literal, NamedTuple

from leakcheck.monitor.trend import Trend

Change = Literal["begin", "end"]

HOLD = 16
"""A leak must be seen for this part of its window without a break: judged often, a fluke is seen now and then."""
CALM = 2
"""An episode ends when nothing grows for this part of the window on which it was told."""


class _State(NamedTuple):
    since: float
    """When the state of now (leak, or calm) was first seen without a break."""
    window: float = 0.0
    told: bool = False
    calm: bool = False


class Episodes:
    """Which meters are in an episode of growth."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def step(self, name: str, trend: Trend, now: float) -> Change | None:
        """Take a meter's trend; returns what it begins or ends."""
        state = self._states.get(name)
        leaks = trend.verdict == "leak"
        if state is None:
            if leaks:
                self._states[name] = _State(now, trend.window)
            return None
        if not state.told:
            if not leaks:
                del self._states[name]
            elif now - state.since >= min(state.window, trend.window) / HOLD:
                self._states[name] = _State(now, trend.window, told=True)
                return "begin"
            return None
        calm = trend.verdict in ("steady", "bounded")
        if calm != state.calm:
            self._states[name] = state._replace(since=now, calm=calm)
        elif calm and now - state.since >= state.window / CALM:
            del self._states[name]
            return "end"
        return None

    def restarted(self) -> None:
        """The process was started again: what it had lost is back."""
        self._states.clear()

    def open(self, name: str) -> bool:
        """Whether an episode of this meter is going on."""
        state = self._states.get(name)
        return state is not None and state.told
