"""The budget has the last word: after the challenges, on the growth that they have left."""

from __future__ import annotations

from scripted_process import Scripted, judgement, suspicion

from leakcheck import meters
from leakcheck.meters import LEDGER
from leakcheck.verdict.budget import applied
from leakcheck.verdict.challenges import Leaks, Ruling, challenge
from leakcheck.verdict.residue import Residue

HEAP = [meters.of(LEDGER, "B")]


def test_a_growth_that_a_challenge_lowers_below_the_budget_is_no_leak():
    process = Scripted([0.0])
    lowered = Ruling({LEDGER: Leaks(Residue(10.0, 9.0, 11.0), "that much stays")})
    left = challenge(suspicion(process, growth=432.0), process, [lambda *_: lowered])
    assert left.judgements[LEDGER].verdict == "leak"
    assert applied(left.judgements, HEAP, {LEDGER: 64})[LEDGER].verdict == "clean"


def test_growth_within_its_confidence_interval_is_within_the_budget():
    grown = judgement("leak", 65.0)._replace(low=63.0, high=67.0)
    assert applied({LEDGER: grown}, HEAP, {LEDGER: 64})[LEDGER].verdict == "clean"


def test_growth_beyond_its_budget_is_a_leak_and_says_so():
    held = applied({LEDGER: judgement("leak", 100.0)}, HEAP, {LEDGER: 64})[LEDGER]
    assert (held.verdict, held.reason) == ("leak", "grows beyond its budget of 64 B per iteration")


def test_what_is_no_leak_needs_no_budget():
    bounded = judgement("bounded")
    assert applied({LEDGER: bounded}, HEAP, {LEDGER: 0})[LEDGER] is bounded
