"""The judge on scripted series: what leaks is found, what does not is not accused."""

from __future__ import annotations

import math
import random

import pytest
import scripted
from scripted import judged

from leakcheck import meters
from leakcheck.execution.job import Budget
from leakcheck.meters import BYTES
from leakcheck.records import Sample
from leakcheck.series import apart, right_minimum, theil_sen
from leakcheck.verdict.judge import judge
from leakcheck.verdict.judgement import Evidence
from leakcheck.verdict.measure import _whole_rounds, measure

QUICK = 1e-6
"""Seconds of a cheap step."""

LEAKS = {
    "64 bytes each time": scripted.steady(64),
    "16 bytes each time": scripted.steady(32),
    "one object in 100": scripted.steady(64, every=100),
    "one object in 1000": scripted.steady(64, every=1000),
    "1 MB each 500": scripted.steady(1 << 20, every=500),
    "1 MB each 5000": scripted.steady(1 << 20, every=5000),
    "starts after 3000": scripted.steady(64, start=3000),
    "starts after 20000": scripted.steady(64, start=20_000),
    "a dict that nobody empties": scripted.hash_table(32),
    "sawtooth with a rising bottom": scripted.sawtooth(1000, 100, left=640),
    "long sawtooth with a rising bottom": scripted.sawtooth(3000, 100, left=6400),
    "sawtooth whose bottom rises by one object": scripted.sawtooth(1000, 200, left=64),
    "long sawtooth whose bottom rises by one object": scripted.sawtooth(3000, 60, left=80),
    "a first table, then one in 100": scripted.together(scripted.steps_once(1, 4e6), scripted.steady(64, every=100)),
    "a cache of 5000, and one in 10": scripted.together(scripted.fills(5000, 300), scripted.steady(64, every=10)),
    "each call leaves 16 bytes more than the one before": lambda n: 8.0 * n * n,
    "each call leaves a little more than the one before": lambda n: 16 * n**1.5,
    "a slow cache, and one in 10": scripted.together(scripted.saturates(50_000, 220), scripted.steady(64, every=10)),
}

INNOCENT = {
    "nothing": scripted.constant,
    "a cache of 500": scripted.fills(500, 300),
    "a cache of 5000": scripted.fills(5000, 300),
    "a cache of 50000": scripted.fills(50_000, 100),
    "a cache of 150000": scripted.fills(150_000, 100),
    "random keys of 3000": scripted.saturates(3000, 600),
    "random keys of 50000": scripted.saturates(50_000, 220),
    "random keys of 500000": scripted.saturates(500_000, 220),
    "flushed each 1000": scripted.sawtooth(1000, 450),
    "flushed each 1024": scripted.sawtooth(1024, 450),
    "flushed each 7919": scripted.sawtooth(7919, 250),
    "flushed each 50000": scripted.sawtooth(50_000, 250),
    "one late step": scripted.steps_once(1500, 4e6),
    "one very late step": scripted.steps_once(100_000, 4e6),
    "a logarithm": scripted.logarithmic(5000),
    "a cache that starts late": lambda n: 100.0 * min(max(0, n - 5000), 50_000),
    "a table that grows by itself, ever larger": scripted.together(
        *(scripted.steps_once(3**turn, 5.0**turn) for turn in range(1, 10))
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found(name):
    judgement, _ = judged(LEAKS[name], seconds_per_step=QUICK)
    assert judgement.verdict == "leak"
    assert judgement.shape == "linear"


@pytest.mark.parametrize("name", INNOCENT)
def test_what_does_not_leak_is_not_accused(name):
    judgement, _ = judged(INNOCENT[name], seconds_per_step=QUICK)
    assert judgement.verdict in ("clean", "bounded"), judgement


@pytest.mark.parametrize(
    ("formula", "seconds_per_step"),
    [
        (scripted.fills(8000, 230), 3e-4),
        (scripted.fills(1500, 230), 2e-3),
        (scripted.sawtooth(7000, 90), 3e-4),
        (scripted.sawtooth(1500, 90), 2e-3),
        (lambda n: 345.0 * min(n // 500, 256), 2e-5),
        (lambda n: 400.0 * min(n // 1000, 100), 2e-5),
    ],
    ids=["cache of 8000", "cache of 1500", "flushed each 7000", "flushed each 1500", "the last 256", "the first 100"],
)
def test_what_ends_within_the_budget_is_waited_for_however_slow_or_rare_it_is(formula, seconds_per_step):
    judgement, _ = judged(formula, seconds_per_step=seconds_per_step)
    assert judgement.verdict in ("clean", "bounded"), judgement


def test_more_time_makes_the_judge_more_patient():
    cache = scripted.fills(1_500_000, 100)
    short, _ = judged(cache, seconds_per_step=QUICK)
    long, _ = judged(cache, seconds_per_step=QUICK, budget=Budget(time_s=120.0))
    assert short.verdict == "leak"  # it is full after more calls than a budget of ten seconds is patient for
    assert long.verdict == "bounded"


def test_a_round_that_was_cut_short_does_not_count_as_a_trough():
    """Of the last three rounds two are over before the buffer is flushed again."""
    short = [Sample(64, 296_000.0), Sample(128, 292_000.0)]
    troughs = [Sample(2000 * n, 40.0 * n) for n in range(1, 17)]
    cut = [Sample(32_055, 228_576.0), Sample(32_056, 234_336.0)]
    assert _whole_rounds([*short, *troughs, *cut]) == [*short, *troughs]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("amplitude", [10_000, 1_000_000, 4_000_000])
def test_noise_of_any_size_is_clean(amplitude, seed):
    judgement, _ = judged(
        scripted.noise(amplitude, seed), seconds_per_step=random.Random(seed).choice([1e-6, 1e-5, 1e-4])
    )
    assert judgement.verdict == "clean", judgement


@pytest.mark.parametrize("seed", range(40))
def test_64_bytes_under_1_mb_of_noise_are_found_where_the_step_is_cheap(seed):
    formula = scripted.together(scripted.noise(1e6, seed), scripted.steady(64))
    judgement, _ = judged(formula, seconds_per_step=QUICK)
    assert judgement.verdict == "leak"
    assert judgement.growth == pytest.approx(64, rel=0.05)


@pytest.mark.parametrize("seed", range(40))
def test_a_leak_in_2_percent_of_the_calls_at_random_is_found(seed):
    judgement, _ = judged(scripted.at_random(0.02, 64, seed), seconds_per_step=QUICK)
    assert judgement.verdict == "leak"
    assert judgement.growth == pytest.approx(1.28, rel=0.15)


@pytest.mark.parametrize("seed", range(40))
def test_rare_spikes_are_clean(seed):
    judgement, _ = judged(scripted.spikes(0.05, 1e7, seed), seconds_per_step=QUICK)
    assert judgement.verdict in ("clean", "bounded")


@pytest.mark.parametrize("period", range(977, 1060))
def test_no_period_near_a_round_looks_like_a_line(period):
    judgement, _ = judged(scripted.sawtooth(period, 450), seconds_per_step=QUICK)
    assert judgement.verdict == "clean"


@pytest.mark.slow
@pytest.mark.parametrize("seconds_per_step", [2e-7, 1e-6, 1e-5, 1e-4])
def test_twenty_thousand_innocent_series_raise_no_alarm(seconds_per_step):
    """5000 of each cost, 1000 of each kind, of random sizes; what fills does so within the iterations of a verdict."""
    source = random.Random(int(1 / seconds_per_step))
    room = 8192 if seconds_per_step > 5e-5 else 32_768
    kinds = [
        lambda: scripted.noise(10 ** source.uniform(3, 7), source.random()),
        lambda: scripted.fills(int(10 ** source.uniform(1, 3.8)) % room, 10 ** source.uniform(1.5, 4)),
        lambda: scripted.saturates(int(10 ** source.uniform(1, 3.3)), 10 ** source.uniform(1.5, 4)),
        lambda: scripted.sawtooth(source.randrange(3, room // 4), 10 ** source.uniform(1, 4)),
        lambda: scripted.steps_once(source.randrange(1, room // 4), 10 ** source.uniform(2, 7)),
    ]
    for seed in range(5000):
        formula = kinds[seed % len(kinds)]()
        judgement, measured = judged(formula, seconds_per_step=seconds_per_step, seed=seed)
        assert judgement.verdict != "leak", (seed, judgement, measured.iterations)


@pytest.mark.slow
def test_999_of_1000_leaks_at_the_stated_sensitivity_are_found():
    source = random.Random(7)
    missed = 0
    for seed in range(10_000):
        size = source.choice([48, 64, 112, 1072])
        formula = scripted.at_random(10 ** source.uniform(-2.5, 0), size, seed)
        judgement, _ = judged(formula, seconds_per_step=QUICK, seed=seed)
        missed += judgement.verdict != "leak"
    assert missed <= 10


@pytest.mark.parametrize("seconds_per_step", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.3])
def test_the_stated_sensitivity_is_true(seconds_per_step):
    """A clean verdict names the smallest and rarest loss that it would have seen: planted, it is not clean."""
    clean, _ = judged(scripted.constant, seconds_per_step=seconds_per_step)
    assert clean.verdict == "clean"
    assert clean.detectable is not None
    planted = scripted.steady(clean.detectable.loss, every=clean.detectable.once_in)
    found, measured = judged(planted, seconds_per_step=seconds_per_step)
    assert found.verdict == "leak" or (measured.iterations < 2000 and found.verdict == "inconclusive")


BACKGROUNDS = {
    "nothing": lambda source: scripted.constant,
    "noise": lambda source: scripted.noise(10 ** source.uniform(2, 6), source.random()),
    "a buffer": lambda source: scripted.sawtooth(source.randrange(3, 3000), 10 ** source.uniform(1.5, 3)),
    "a cache": lambda source: scripted.fills(int(10 ** source.uniform(1, 4)), 10 ** source.uniform(1.5, 3)),
    "a step": lambda source: scripted.steps_once(int(10 ** source.uniform(0, 4)), 10 ** source.uniform(1.5, 6)),
}


def no_clean_verdict_is_false(seed: int, series: int) -> None:
    """Losses once in 2 to 1000 calls, on time or at random, in 10 to a million calls, with other things beside them."""
    source = random.Random(seed)
    for turn in range(series):
        every, size = int(10 ** source.uniform(0.31, 3)), 10 ** source.uniform(1.7, 6)
        phase = source.randrange(every)
        if turn % 2:
            leak = scripted.at_random(1 / every, size, source.random())
        else:
            leak = scripted.steady_from(size, every, phase)
        formula = scripted.together(leak, source.choice(list(BACKGROUNDS.values()))(source))
        judgement, measured = judged(formula, seconds_per_step=10 ** source.uniform(-5.5, 0.3), seed=turn)
        if judgement.verdict in ("clean", "bounded") and judgement.detectable is not None:
            seen = judgement.detectable
            assert size < seen.loss or every > seen.once_in, (turn, every, size, judgement, measured.iterations)


def test_no_clean_verdict_is_false_about_what_would_have_shown():
    no_clean_verdict_is_false(seed=1, series=300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_no_clean_verdict_of_20000_is_false_about_what_would_have_shown(seed):
    no_clean_verdict_is_false(seed, series=1000)


def test_a_slow_step_uses_the_budget_that_it_has():
    """Each 20th call of 0.3 s keeps 20 kB: after 16 calls nothing has been kept yet."""
    judgement, measured = judged(scripted.steady(20_000, every=20), seconds_per_step=0.3)
    assert measured.iterations > 30
    assert judgement.verdict == "inconclusive"


@pytest.mark.parametrize("seconds_per_step", [1e-6, 2e-5, 1e-3])
@pytest.mark.parametrize("factor", [1.5, 2, 4, 8])
def test_a_buffer_that_is_made_larger_by_a_factor_leaks_at_the_rate_at_which_it_is_touched(factor, seconds_per_step):
    size = 1000.0

    def taken(n: int) -> float:
        return size * 10 * factor ** math.ceil(math.log(max(n, 10) / 10, factor) - 1e-9)

    judgement, _ = judged(taken, seconds_per_step=seconds_per_step, others={"rss": lambda n: size * n})
    assert judgement.verdict == "leak"
    assert judgement.growth == pytest.approx(size, rel=0.1)


def test_what_is_touched_bit_by_bit_has_not_stopped():
    judgement, _ = judged(
        scripted.steps_once(100, 2**30), seconds_per_step=1e-4, others={"rss": lambda n: min(2.0**30, 5000.0 * n)}
    )
    assert judgement.verdict == "inconclusive"
    assert "rss grows in a straight line" in judgement.reason


@pytest.mark.parametrize("seconds_per_step", [1e-4, 1e-2, 0.1])
@pytest.mark.parametrize("size", [4e5, 1e6, 5e6, 2e7])
def test_growth_that_gets_worse_is_found_before_the_ceiling(size, seconds_per_step):
    judgement, _ = judged(lambda n: size * n * n, seconds_per_step=seconds_per_step)
    assert judgement.verdict == "leak"


@pytest.mark.parametrize("call", [1, 2, 3, 20])
def test_a_model_that_is_loaded_late_hides_no_leak(call):
    def formula(n: int) -> float:
        return 1.1 * 2**30 * (n >= call) + 1e5 * n

    judgement, measured = judged(formula, seconds_per_step=1e-3, others={"rss": formula})
    assert measured.ended_by is None or not measured.ended_by.is_ceiling or measured.iterations > 1000
    assert judgement.verdict == "leak"
    assert judgement.growth == pytest.approx(1e5, rel=0.05)


def test_reserved_address_space_takes_no_room():
    judgement, measured = judged(
        scripted.steady(100), seconds_per_step=1e-4, others={"mapped.bytes": scripted.steps_once(1, 17 * 2**30)}
    )
    assert judgement.verdict == "leak"
    assert measured.ended_by is None or not measured.ended_by.is_ceiling


def test_eight_gib_reserved_by_each_call_are_a_leak_of_mappings():
    _, measured = judged(
        scripted.constant,
        seconds_per_step=1e-3,
        others={"mapped.bytes": scripted.steady(8 * 2**30), "rss": scripted.constant},
    )
    assert measured.leaking == ["mapped.bytes"]


@pytest.mark.parametrize("gib", [0.1, 0.3, 1, 3])
def test_steady_growth_that_meets_a_ceiling_is_a_leak(gib):
    judgement, measured = judged(scripted.steady(gib * 2**30), seconds_per_step=0.01)
    assert judgement.verdict == "leak"
    assert measured.iterations <= 16


def test_a_clean_scenario_with_a_cheap_step_costs_a_fraction_of_a_second():
    _, measured = judged(scripted.constant, seconds_per_step=QUICK)
    assert measured.seconds < 0.5


def test_a_step_of_two_seconds_gets_a_verdict_from_some_dozen_calls():
    clean, calm = judged(scripted.constant, seconds_per_step=2.0)
    leak, leaking = judged(scripted.steady(1 << 20), seconds_per_step=2.0)
    assert clean.verdict == "clean"
    assert leak.verdict == "leak"
    assert calm.iterations <= 16
    assert leaking.iterations <= 16


def test_a_leak_of_100_mb_a_call_stops_early():
    judgement, measured = judged(scripted.steady(100 << 20), seconds_per_step=0.01)
    assert judgement.verdict == "leak"
    assert measured.iterations <= 16


def test_growth_beyond_the_budget_of_iterations_is_inconclusive_or_decided_but_never_clean():
    judgement, measured = judged(scripted.fills(10_000, 100), budget=Budget(max_iterations=6))
    assert measured.iterations == 6
    assert judgement.verdict == "inconclusive"


def test_bounded_says_the_size_at_which_it_stopped():
    judgement, _ = judged(scripted.fills(1000, 300))
    assert judgement.verdict == "bounded"
    assert judgement.limit == pytest.approx(300_000, rel=0.01)


def test_growth_before_the_first_fall_still_counts_for_bounded():
    """From a fall on, troughs are watched: here the cache is full by then, and each entry goes for another."""

    def formula(n: int) -> float:
        return 80.0 * min(n, 2**16) - (200 if n > 2**16 and n % 3 == 0 else 0)

    judgement, _ = judged(formula, seconds_per_step=QUICK)
    assert judgement.verdict == "bounded"


def test_what_has_no_end_is_not_called_bounded():
    """A square root grows ever more slowly, and without limit; a logarithm is a cache in all but name."""
    judgement, _ = judged(lambda n: 5000 * n**0.5)
    assert judgement.verdict in ("inconclusive", "leak")


def test_a_line_below_the_floor_is_waited_for_until_it_has_passed_it():
    """200 bytes a call touch 3.2 MiB in the doubling that ends at 32,768: less than malloc's own memory may move by."""
    process = scripted.ScriptedProcess(scripted.steady(200), seconds_per_step=1e-5, jitter=False, seed=1)
    measured = measure(process, [meters.of("anon.bytes", "B")], Budget(), scripted.Unsuspecting())
    assert measured.judgements["anon.bytes"].verdict == "leak"


def test_the_confidence_interval_holds_the_truth():
    judgement, _ = judged(scripted.steady(432))
    assert judgement.low <= 432 <= judgement.high
    assert judgement.high - judgement.low < 1


@pytest.mark.parametrize(
    ("series", "rate", "least", "most"),
    [
        (scripted.steady(64), 64, 0, 0),
        (scripted.steady(1 << 20, every=500), (1 << 20) / 500, 200, 500),
        (scripted.steady(64, every=100), 0.64, 50, 100),
        (scripted.sawtooth(1000, 100, left=640), 0.64, 0, 1000),
    ],
)
def test_how_far_the_events_of_a_growth_lie_apart(series, rate, least, most):
    samples = [Sample(iterations=n, value=series(n)) for n in (2**power for power in range(15))]
    assert least <= apart(samples, rate) <= most


def test_theil_sen_ignores_a_quarter_of_wild_samples():
    line = [Sample(n, 3.0 * n) for n in range(1, 41)]
    wild = [Sample(each.iterations, 1e6) if each.iterations % 5 == 0 else each for each in line]
    slope, low, high = theil_sen(wild)
    assert slope == pytest.approx(3.0)
    assert low <= 3.0 <= high


def test_the_right_minimum_is_the_level_that_is_never_left_downwards_again():
    samples = [Sample(n, v) for n, v in enumerate([1.0, 5.0, 2.0, 6.0, 3.0])]
    assert right_minimum(samples) == [1.0, 2.0, 2.0, 3.0, 3.0]


def test_too_few_samples_are_not_judged():
    early = [Sample(0, 0.0), Sample(1, 100.0)]
    assert judge(early, BYTES, Evidence(final=False)).verdict is None
    assert judge(early, BYTES, Evidence(final=True)).verdict == "inconclusive"


class NothingHoldsIt(scripted.Unsuspecting):
    def may_be_cached(self, _):
        return False


@pytest.mark.parametrize(("seconds_per_step", "iterations"), [(1e-7, 32_768), (2e-5, 32_768), (1.2e-4, 16_384)])
def test_a_line_that_nothing_holds_is_believed_sooner(seconds_per_step, iterations):
    judgement, measured = scripted.judged(
        scripted.steady(64), seconds_per_step=seconds_per_step, suspected=NothingHoldsIt()
    )
    assert judgement.verdict == "leak"
    assert measured.iterations == iterations


@pytest.mark.parametrize("seconds_per_step", [1e-7, 1e-6, 2e-5])
@pytest.mark.parametrize("capacity", [*range(2_000, 28_001, 2_000)])
def test_a_pool_of_native_code_is_seen_to_stop(capacity, seconds_per_step):
    formula = scripted.fills(capacity, 64)
    judgement, _ = scripted.judged(formula, seconds_per_step=seconds_per_step, suspected=NothingHoldsIt())
    assert judgement.verdict == "bounded"


@pytest.mark.parametrize("capacity", [2_000, 6_000, 10_000, 14_000])
def test_a_smaller_one_also_where_calls_are_slow(capacity):
    formula = scripted.fills(capacity, 64)
    judgement, _ = scripted.judged(formula, seconds_per_step=1.2e-4, suspected=NothingHoldsIt())
    assert judgement.verdict == "bounded"


@pytest.mark.parametrize("what", ["drawn at random", "a buffer"])
@pytest.mark.parametrize("size", [1_000, 3_000, 10_000, 30_000, 100_000])
def test_what_bends_or_falls_is_waited_for_also_where_nothing_is_seen_to_hold_it(what, size):
    formula = scripted.saturates(size, 64) if what == "drawn at random" else scripted.sawtooth(size // 4, 64)
    judgement, _ = scripted.judged(formula, suspected=NothingHoldsIt())
    assert judgement.verdict in ("clean", "bounded")
