"""One alert an episode; the meters of one process together."""

from __future__ import annotations

from leakcheck.monitor.panel import CALM, Episodes
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
