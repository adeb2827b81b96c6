"""Counts how often a step comes by a point, and says when it is to be struck there."""

from __future__ import annotations

from leakcheck.agent.faults.messages import FaultSet


class Turns:
    """Of one fault; a call is struck once."""

    def __init__(self, wanted: int) -> None:
        self.calls = 0
        self.hits = 0
        self._wanted = wanted
        self._left = 0
        """Turns to come in this call."""

    def begin(self) -> None:
        """A call of the step begins."""
        self.calls += 1
        self._left = self._wanted

    def strikes(self) -> bool:
        """Count one turn; whether it is the one."""
        if not self._left:
            return False
        self._left -= 1
        self.hits += not self._left
        return not self._left

    @property
    def has_struck(self) -> bool:
        """Whether this call has been struck."""
        return not self._left

    def told(self) -> FaultSet:
        """How often it was to strike, and has."""
        return FaultSet(self.calls, self.hits)
