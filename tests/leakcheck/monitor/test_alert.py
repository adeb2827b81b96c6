"""An alert in words, as plain values and as a scenario."""

from __future__ import annotations

import ast
import math

import pytest

from leakcheck.monitor.alert import Alert, Evidence, Growing, duration


def alert(**changes):
    fields = {
        "meter": "rss", "unit": "B", "rate": 2 * 2**20, "low": 2**20, "high": 3 * 2**20, "level": 2**29, "limit": 2**30,
        "hours_left": 256.0, "soonest": 170.7, "latest": 512.0, "window_hours": 96.0, "reason": "grew in a line",
        "at": "2026-01-02T03:04:05+00:00", "pid": 42, "uptime_hours": 100.0,
    }  # fmt: skip
    return Alert(**{**fields, **changes})


def test_it_says_what_grows_how_fast_and_how_long_that_may_go_on():
    assert str(alert()) == (
        "rss grows by 2.0 MiB an hour (1.0 MiB to 3.0 MiB), grew in a line; at 512.0 MiB of 1.0 GiB, 11 days left"
    )


def test_without_a_limit_no_time_is_left_to_say():
    assert str(alert(limit=None, hours_left=None)).endswith("grew in a line")


def test_plain_values_have_no_infinity():
    values = alert(latest=math.inf, along=(Growing("fds", "fds", 3.0),)).as_dict()
    assert values["latest"] is None
    assert values["evidence"] is None
    assert values["along"] == [{"meter": "fds", "unit": "fds", "rate": 3.0}]


def test_the_scenario_carries_what_was_seen():
    evidence = Evidence((), (("app.Session", 1234.5),), (), 10, 1.0, ("nothing else",))
    text = alert(evidence=evidence).scenario_stub("sessions")
    (function,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    assert function.name == "sessions"
    assert "# Seen in process 42 after 100.0 hours:\n# * rss grows by 2.0 MiB an hour" in text
    assert "# * app.Session: 1,234 objects an hour more\n" in text
    assert evidence.sentence == "no growing container was found: nothing else"


@pytest.mark.parametrize("name", ["not a name", "class", "", "1st"])
def test_a_scenario_needs_the_name_of_a_function(name):
    with pytest.raises(ValueError, match="name"):
        alert().scenario_stub(name)


@pytest.mark.parametrize(
    ("hours", "text"),
    [(1 / 60, "1 minute"), (0.5, "30 minutes"), (2, "2 hours"), (71, "71 hours"), (72, "3 days"),
     (24 * 1000, "years"), (math.inf, "no end")],
)  # fmt: skip
def test_durations_are_read_by_people(hours, text):
    assert duration(hours) == text
