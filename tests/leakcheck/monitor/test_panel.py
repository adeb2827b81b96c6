"""One alert an episode; the meters of one process together."""

from __future__ import annotations

import pytest

from leakcheck.monitor.panel import CALM, Episodes, Gauge, Panel
from leakcheck.monitor.trend import Trend

WINDOW = 2400.0
HOLD = 100.0


def trend(verdict):
    return Trend(verdict, 1.0, 0.5, 1.5, WINDOW, 0.0, "", HOLD)


def changes(episodes, verdicts, step=HOLD):
    return [
        change for index, each in enumerate(verdicts) if (change := episodes.step("rss", trend(each), index * step))
    ]


def test_growth_that_goes_on_is_reported_once():
    assert changes(Episodes(), ["leak"] * 50) == ["begin"]


def test_a_single_look_is_not_enough():
    assert changes(Episodes(), ["leak", "steady", "steady", "leak", "steady", "steady", "steady"]) == []


def test_growth_that_wavers_between_clear_and_not_quite_is_reported_once():
    assert changes(Episodes(), ["leak", "leak", "rising", "leak", "rising", "leak"] * 20) == ["begin"]


def test_an_episode_ends_after_a_long_calm_and_the_next_is_reported_again():
    calm = ["steady"] * (int(WINDOW / HOLD) // CALM + 2)
    assert changes(Episodes(), ["leak"] * 5 + calm + ["leak"] * 5) == ["begin", "end", "begin"]


def test_a_short_calm_does_not_end_it():
    assert changes(Episodes(), ["leak"] * 5 + ["steady"] * 3 + ["leak"] * 5) == ["begin"]


def test_meters_have_episodes_of_their_own():
    episodes = Episodes()
    for at in (0.0, 200.0):
        episodes.step("rss", trend("leak"), at)
    assert episodes.open("rss")
    assert not episodes.open("fds")


def test_a_restart_forgets_episodes():
    episodes = Episodes()
    changes(episodes, ["leak"] * 5)
    episodes.restarted()
    assert not episodes.open("rss")


def panel_of(*gauges, limits=None):
    return Panel(gauges, limits or {}, interval=1.0, period=0.0, patience=600.0, started=0.0)


def watch(panel, seconds, **values):
    """Read once a second, judge every ten; returns the alerts."""
    alerts = []
    for second in range(seconds):
        panel.add(float(second), {name: value(second) for name, value in values.items()})
        if second % 10 == 9:
            alerts += [change.alert for change in panel.judge(float(second)) if change.alert]
    return alerts


RSS, HEAP = Gauge("rss", "B", "memory"), Gauge("heap.bytes", "B", "memory")
BLOCKS, FDS = Gauge("py.blocks", "blocks", "memory", decisive=False), Gauge("fds", "fds", "fds")


def test_a_family_has_one_alert_which_names_what_grows_along():
    panel = panel_of(RSS, HEAP, BLOCKS, FDS, limits={"rss": 400e6})

    def grows(second):
        return 100e6 + 1e6 * second

    (alert,) = watch(panel, 120, **{"rss": grows, "heap.bytes": grows, "py.blocks": grows, "fds": lambda _: 7.0})
    assert alert.meter in ("rss", "heap.bytes")
    assert alert.rate == pytest.approx(1e6 * 3600, rel=0.03)
    assert {each.meter for each in alert.along} == {"rss", "heap.bytes", "py.blocks"} - {alert.meter}
    assert [each.episode for each in panel.readings()] == [True, True, False, False]


def test_what_does_not_decide_makes_no_alert():
    assert watch(panel_of(BLOCKS), 700, **{"py.blocks": lambda second: 1e6 + 1e4 * second}) == []


def test_the_heap_may_take_what_the_limit_of_the_process_leaves():
    panel = panel_of(RSS, HEAP, FDS, limits={"rss": 400e6, "fds": 1024.0})
    assert panel.limit("heap.bytes") is None  # nothing was read yet
    panel.add(1.0, {"rss": 300e6, "heap.bytes": 50e6})
    assert panel.limit("heap.bytes") == 150e6
    assert panel.limit("fds") == 1024
    assert panel_of(HEAP).limit("heap.bytes") is None


def test_gauges_that_could_not_be_read_are_left_out():
    panel = panel_of(RSS, FDS)
    panel.add(1.0, {"rss": 300e6})
    assert [each.meter for each in panel.readings()] == ["rss"]
    assert panel.judge(2.0) == []


def test_a_restart_ends_the_episode():
    panel = panel_of(RSS, limits={"rss": 400e6})
    assert len(watch(panel, 120, rss=lambda second: 100e6 + 1e6 * second)) == 1
    panel.restarted(120.0)
    assert not panel.readings()[0].episode


def test_the_course_is_in_seconds_since_the_first_start():
    panel = Panel([RSS], {}, interval=1.0, period=0.0, patience=600.0, started=90.0)
    panel.add(100.0, {"rss": 1.0})
    panel.restarted(101.0)
    panel.add(102.0, {"rss": 2.0})
    assert panel.course("rss") == [(10.0, 1.0), (12.0, 2.0)]
