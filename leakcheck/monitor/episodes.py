"""One alert an episode: growth is told once it has held, and may be told again only after it has stopped for good."""

from __future__ import annotations

from typing import Literal, NamedTuple

from leakcheck.monitor.trend import Trend

Change = Literal["begin", "end"]

CALM = 2
"""An episode ends when nothing grows for this part of the window on which it was told."""


class _State(NamedTuple):
    at: float
    """When it was last looked at."""
    window: float
    """The shortest window on which the leak was seen."""
    held: float = 0.0
    """Seconds for which the leak was seen, less half of those for which it was not; once told, seconds of calm without
    a break."""
    told: bool = False


class Episodes:
    """Which meters are in an episode of growth."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def step(self, name: str, trend: Trend, now: float) -> Change | None:
        """Take a meter's trend; returns what it begins or ends."""
        state = self._states.get(name)
        if state is None:
            if trend.verdict == "leak":
                self._states[name] = _State(now, trend.window)
            return None
        passed = now - state.at
        if state.told:
            calm = state.held + passed if trend.verdict in ("steady", "bounded") else 0.0
            self._states[name] = state._replace(at=now, held=calm)
            if calm < state.window / CALM:
                return None
            del self._states[name]
            return "end"
        leaks = trend.verdict == "leak"
        window = min(state.window, trend.window) if leaks else state.window
        held = state.held + (passed if leaks else -passed / 2)
        if held < 0:
            del self._states[name]
            return None
        told = leaks and held >= trend.hold
        self._states[name] = _State(now, window, 0.0 if told else held, told)
        return "begin" if told else None

    def restarted(self) -> None:
        """The process was started again: what it had lost is back."""
        self._states.clear()

    def open(self, name: str) -> bool:
        """Whether an episode of this meter is going on."""
        state = self._states.get(name)
        return state is not None and state.told
