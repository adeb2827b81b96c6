"""What is said of a meter: the records that the judge gives, and that challenges and budgets change."""

from __future__ import annotations

from typing import Literal, NamedTuple

from leakcheck.records import Verdict

Shape = Literal["constant", "step", "saturating", "periodic", "linear", "noise"]
RuleName = Literal[
    "too_short", "flat", "jumps", "stopped", "line", "accelerates", "met_ceiling", "creeps", "comes_back", "undecided",
    "slows_down", "has_no_direction", "unsettled", "contradicted", "challenged", "within_budget", "beyond_budget",
    "afterwards",
]  # fmt: skip
"""What a judgement rests on: a rule of the judge, another meter, a challenge, the budget, or a look afterwards."""


class Evidence(NamedTuple):
    """What the run knows besides the samples."""

    enough_for_clean: bool = True
    """Enough iterations were run, or time spent, to call a flat series clean."""
    enough_for_leak: bool = True
    """Enough to believe in a straight line: what fills has had its time to show that it stops."""
    enough_for_rough: bool = True
    """Enough to believe in a rough line."""
    enough_for_rare: bool = True
    """Enough to believe in a line of few pieces."""
    enough_noise: bool = True
    """Enough to stop asking a noisy series for a finer sensitivity."""
    final: bool = False
    """The budget is used up, or a ceiling was met: this is the last word."""
    ceiling: bool = False
    """It was a ceiling that was met: something grew by as much as may be."""


class Sensitivity(NamedTuple):
    """What a series would have shown: `loss` or more, in the meter's unit, at least once in `once_in` calls."""

    loss: float
    once_in: int

    @property
    def rate(self) -> float:
        """The same per iteration."""
        return self.loss / self.once_in


class Judgement(NamedTuple):
    """What a series says so far. `verdict` None: not decided, more iterations are needed."""

    verdict: Verdict | None
    shape: Shape
    growth: float
    """Change per iteration over the last doublings, in the unit of the meter."""
    low: float
    high: float
    """99 % confidence interval of `growth`."""
    detectable: Sensitivity | None
    """The smallest loss that this series would have shown; None where growth was found."""
    reason: str
    rule: RuleName = "unsettled"
    limit: float | None = None
    """For `bounded`: the growth at which it stopped, in the unit of the meter."""

    @property
    def suspicious(self) -> bool:
        """Something moves that has not been explained: look closer (more samples a doubling)."""
        return self.verdict in (None, "leak", "inconclusive") and self.shape != "constant"
