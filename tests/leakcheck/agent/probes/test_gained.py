"""What a growing node has gained while it was traced."""

from __future__ import annotations

import pytest

from leakcheck.agent.inquiry import GrowingContainer
from leakcheck.agent.probes import gained as probe
from leakcheck.agent.probes.growing import Growing


def gained(more: int) -> GrowingContainer | None:
    """A node that grew by 20 in 1000 iterations, and by `more` in the next 1000."""
    kept: list[list[int]] = [[number] for number in range(100 + more)]
    path = [("app", "module"), (".kept", "list")]
    return probe.gained(Growing(node=1, per_iteration=0.02, shape="wider"), [kept], path, 100, 1000, {}, repr)


def test_a_leak_keeps_about_its_rate() -> None:
    for more in (12, 20, 60):
        found = gained(more)
        assert found is not None
        assert found.per_iteration == more / 1000


def test_what_gains_far_less_or_more_is_another_thing() -> None:
    assert gained(5) is None
    assert gained(200) is None  # something that was there all the time is reached by the same path now


def test_where_iterations_are_estimated_the_rate_is_that_of_the_stretch_before() -> None:
    found = gained(60)
    assert found is not None
    told = probe.at_rate(found, 0.02)
    assert told.per_iteration == 0.02
    assert told.bytes == pytest.approx(found.bytes / 3)
    assert sum(told.elements.values()) == pytest.approx(0.02)
    assert told.types == {name: pytest.approx(count / 3) for name, count in found.types.items()}
