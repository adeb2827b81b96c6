"""Each rule of the judge on a series of its own: the smallest that has the shape, and what it is not."""

from __future__ import annotations

import itertools
import math
import random
import re
from pathlib import Path

import pytest
import scripted
from scripted import Formula

from leakcheck.meters import BYTES, PAGES
from leakcheck.records import Sample
from leakcheck.verdict import challenges, judge
from leakcheck.verdict.doublings import Series
from leakcheck.verdict.judge import RULES
from leakcheck.verdict.judgement import Evidence

PAGE = Path(__file__).parents[3] / "docs" / "verdicts.md"
YOUNG = Evidence(False, False, False, False, False)
"""Nothing may be said yet."""
LAST = Evidence(final=True)


def series(formula: Formula, doublings: int = 15, cuts: int = 4) -> Series:
    """The formula read `cuts` times in each doubling."""
    calls = [0, 1]
    for _ in range(doublings):
        start = calls[-1]
        calls += [start + max(1, start * cut // cuts) for cut in range(1, cuts + 1)]
    return Series([Sample(n, 1e6 + formula(n)) for n in sorted(set(calls))], BYTES)


def first(formula: Formula, evidence: Evidence = LAST) -> str:
    """The name of the rule that judges a series."""
    read = series(formula)
    return next(rule.__name__ for rule in RULES if rule(read, evidence) is not None)


def test_too_short():
    short = series(scripted.steady(64), doublings=2)
    assert judge.too_short(short, LAST).verdict == "inconclusive"
    assert judge.too_short(short, YOUNG).verdict is None
    assert judge.too_short(series(scripted.constant), LAST) is None


def test_flat():
    assert judge.flat(series(scripted.constant), Evidence()).verdict == "clean"
    assert judge.flat(series(scripted.constant), YOUNG).verdict is None
    assert judge.flat(series(lambda n: 16 * (n % 3)), Evidence()) is None


def test_stopped():
    full = judge.stopped(series(scripted.fills(2000, 100)), Evidence())
    assert (full.verdict, full.limit) == ("bounded", 200_000 - 200)  # less what the first calls left
    assert judge.stopped(series(scripted.steps_once(100, 2000)), Evidence()).verdict == "clean"  # a warm-up
    assert judge.stopped(series(scripted.steady(64)), Evidence()) is None


def test_stopped_waits_for_a_line_below_the_floor():
    creeping = series(lambda n: n * 90 / 16_384)  # 45 bytes in the last doubling, straight
    assert judge.stopped(creeping, Evidence(enough_for_rough=False)).verdict is None


def test_line():
    assert judge.line(series(scripted.steady(64)), Evidence()).verdict == "leak"
    assert judge.line(series(scripted.steady(64)), YOUNG).verdict is None
    assert judge.line(series(scripted.saturates(5000, 100)), Evidence()) is None


def test_line_of_pages_that_are_touched_ever_more_rarely():
    """As an arena of some threads read it: 100 KiB in each doubling, and by chance twice as much in the last."""
    kib = [1240, 1316, 1368, 1420, 1468, 1468, 1468, 1512, 1536, 1552, 1556, 1600, 1640, 1690, 1744]
    calls = [1024, 1536, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10_240, 12_288, 14_336, 16_384]
    read = [Sample(0, 0.0), *(Sample(n, 1024.0 * size) for n, size in zip(calls, kib, strict=True))]
    assert judge.line(Series(read, BYTES), LAST).verdict == "leak"
    assert judge.line(Series(read, PAGES), LAST) is None
    assert judge.judge(read, PAGES, LAST).verdict == "inconclusive"


def test_line_of_few_pieces_needs_more():
    rare = series(scripted.steady(640, every=256))
    assert judge.line(rare, Evidence(enough_for_rare=False)).verdict is None
    assert judge.line(rare, Evidence()).verdict == "leak"


def test_accelerates():
    worse = judge.accelerates(series(lambda n: 0.01 * n * n), Evidence())
    assert (worse.verdict, worse.reason) == ("leak", "grows ever faster")
    assert judge.accelerates(series(scripted.steady(64)), Evidence()) is None
    assert judge.accelerates(series(scripted.steps_once(20_000, 1e6)), Evidence()) is None


def test_met_ceiling():
    steep = Series([Sample(n, 400e6 * n) for n in range(6)], BYTES)
    assert judge.met_ceiling(steep, Evidence(final=True, ceiling=True)).verdict == "leak"
    assert judge.met_ceiling(steep, LAST) is None
    loaded = Series([Sample(n, 1e6 * n + 2e9 * (n >= 4)) for n in range(6)], BYTES)
    assert judge.met_ceiling(loaded, Evidence(final=True, ceiling=True)) is None


def test_met_ceiling_after_too_few_calls_for_any_other_rule():
    steep = Series([Sample(n, 400e6 * n) for n in range(6)], BYTES)
    assert judge.too_short(steep, Evidence(final=True, ceiling=True)).verdict == "leak"


@pytest.mark.parametrize("factor", [1.5, 2, 3, 4, 8])
def test_jumps(factor):
    doubles = series(lambda n: 1000.0 * factor ** math.ceil(math.log(max(n, 9) / 9, factor)))
    assert judge.jumps(doubles, LAST).verdict == "inconclusive"
    assert judge.jumps(doubles, Evidence()).verdict is None


def test_jumps_that_have_ended_are_none():
    assert judge.jumps(series(scripted.steps_once(100, 1e6)), LAST) is None
    once_more = scripted.together(scripted.steps_once(20, 1e5), scripted.steps_once(100, 5e5))
    assert judge.jumps(series(once_more), LAST) is None


def test_creeps():
    noisy = random.Random(1)
    little = series(lambda n: n / 200 + noisy.uniform(0, 150))
    assert judge.creeps(little, Evidence()).verdict == "clean"
    assert judge.creeps(little, Evidence(enough_noise=False)) is None
    assert judge.creeps(series(scripted.steady(64)), Evidence()) is None


def test_creeps_but_has_jumped():
    noisy = random.Random(1)
    jumped = series(lambda n: 5000.0 * (n > 400_000) + noisy.uniform(0, 150), doublings=19)
    assert judge.creeps(jumped, Evidence()) is None


def test_comes_back():
    teeth = itertools.cycle([0.0, 30_000.0, 60_000.0, 90_000.0, 10_000.0])
    saw = judge.comes_back(series(lambda _: next(teeth)), LAST)
    assert saw.verdict == "clean"
    assert judge.comes_back(series(scripted.steady(64)), LAST) is None


@pytest.mark.parametrize("at", [17_000, 24_000, 30_000])
def test_comes_back_but_has_jumped(at):
    noisy = random.Random(1)
    jumped = series(lambda n: 20_000.0 * (n > at) + noisy.uniform(0, 300))
    assert judge.comes_back(jumped, LAST) is None
    assert judge.has_no_direction(jumped, LAST) is None


def test_undecided():
    slow = series(lambda n: 5000 * n**0.5)
    assert judge.undecided(slow, Evidence()).verdict is None
    assert judge.undecided(slow, LAST) is None


def test_slows_down():
    assert judge.slows_down(series(scripted.logarithmic(5000)), LAST).verdict == "bounded"
    assert judge.slows_down(series(lambda n: 5000 * n**0.5), LAST) is None


def test_has_no_direction():
    assert judge.has_no_direction(series(scripted.noise(1e6, seed=3)), LAST).verdict == "clean"
    assert judge.has_no_direction(series(scripted.steady(64)), LAST) is None


def test_unsettled():
    assert judge.unsettled(series(lambda n: 5000 * n**0.5), LAST).verdict == "inconclusive"


def test_the_first_rule_that_knows_the_shape_judges():
    assert first(scripted.constant) == "flat"
    assert first(scripted.fills(2000, 100)) == "stopped"
    assert first(scripted.steady(64)) == "line"
    assert first(lambda n: 1e-6 * n**3) == "accelerates"
    assert first(scripted.logarithmic(5000)) == "slows_down"
    assert first(lambda n: 5000 * n**0.5) == "unsettled"
    assert first(lambda n: 5000 * n**0.5, Evidence()) == "undecided"


def test_every_rule_and_challenge_has_a_test_and_a_row_in_the_documentation():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert rows == {each.__name__ for each in (*RULES, *challenges.CHALLENGES)}
    assert {f"test_{rule.__name__}" for rule in RULES} <= globals().keys()
