"""A fix is proven only where the leak was there, is gone, and would have shown."""

from __future__ import annotations

import sample_run

from leakcheck.gate.proof import exit_code, prove
from leakcheck.records import Control


def side(verdict, rate=0.0, **more):
    meter = sample_run.meter("heap.bytes", "B", rate, verdict=verdict)
    return sample_run.run([sample_run.scenario("a.py::b", verdict, meters=[meter], **more)])


LEAKS = side("leak", 400.0)


def test_a_leak_that_is_gone_and_would_have_shown_is_proven():
    proofs = prove([LEAKS, LEAKS], [side("clean", detectable={"heap.bytes": 48.0})])
    assert [each.proven for each in proofs] == [True]
    assert proofs[0].sentence == "BASE leaks +400 B/iteration of heap.bytes; HEAD is clean, and would have shown it"
    assert exit_code(proofs, []) == 0


def test_what_would_not_have_shown_is_not():
    (blunt,) = prove([LEAKS], [side("clean", detectable={"heap.bytes": 4000.0})])
    assert not blunt.proven
    assert "in HEAD only +3.9 KiB/iteration would have shown" in blunt.sentence
    (unread,) = prove([LEAKS], [side("clean", detectable={})])
    assert "which was not read in HEAD" in unread.sentence
    assert exit_code([blunt], []) == 1


def test_what_did_not_leak_or_is_not_decided_is_not():
    clean = side("clean", detectable={"heap.bytes": 48.0})
    assert "does not leak in BASE" in prove([clean], [clean])[0].sentence
    assert "does not leak in BASE" in prove([LEAKS, clean], [clean])[0].sentence
    assert "is inconclusive in HEAD" in prove([LEAKS], [side("inconclusive")])[0].sentence
    assert "is leak in HEAD" in prove([LEAKS], [clean, LEAKS])[0].sentence
    assert "not measured in HEAD" in prove([LEAKS], [sample_run.run([])])[0].sentence


def test_a_failed_control_and_an_empty_run_prove_nothing():
    failed = sample_run.replace(LEAKS, control=Control(status="failed"))
    assert exit_code(prove([failed], [LEAKS]), [failed]) == 3
    assert exit_code([], []) == 5
