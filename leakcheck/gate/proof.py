"""Whether a leak is mended: it was there in BASE, it is gone in HEAD, and HEAD was looked at closely enough."""

from __future__ import annotations

from collections.abc import Sequence

from leakcheck import units
from leakcheck.gate.compare import by_name
from leakcheck.records import Record, RunResult, ScenarioResult
from leakcheck.results.problems import leaking_meters


class Proof(Record, frozen=True, kw_only=True):
    """What two measurements say of one scenario."""

    scenario: str
    proven: bool
    sentence: str


def prove(bases: Sequence[RunResult], heads: Sequence[RunResult]) -> list[Proof]:
    """A proof, or what is missing for one, of each scenario; each side may have been measured repeatedly."""
    before, after = by_name(bases), by_name(heads)
    return [_proof(name, before.get(name, []), after.get(name, [])) for name in dict.fromkeys([*before, *after])]


def exit_code(proofs: Sequence[Proof], runs: Sequence[RunResult]) -> int:
    """0 all are proven, 1 one is not, 3 a control failed, 5 nothing was run."""
    if any(run.control.status == "failed" for run in runs):
        return 3
    if not proofs:
        return 5
    return 0 if all(proof.proven for proof in proofs) else 1


def _proof(name: str, before: Sequence[ScenarioResult], after: Sequence[ScenarioResult]) -> Proof:
    def missing(sentence: str) -> Proof:
        return Proof(scenario=name, proven=False, sentence=sentence)

    for side, results in (("BASE", before), ("HEAD", after)):
        if not results:
            return missing(f"it was not measured in {side}")
    for result in before:
        if result.verdict != "leak":
            return missing(f"it does not leak in BASE, which is {result.verdict}: {result.reason}")
    for result in after:
        if result.verdict not in ("clean", "bounded"):
            return missing(f"it is {result.verdict} in HEAD: {result.reason}")
    seen = []
    for meter in (each for result in before for each in leaking_meters(result)):
        rate = units.rate(meter.growth, meter.unit)
        for result in after:
            noticed = result.detectable.get(meter.name)
            if noticed is None:
                return missing(f"BASE leaks {rate} of {meter.name}, which was not read in HEAD")
            if noticed > meter.low:
                least = units.rate(noticed, meter.unit)
                return missing(f"BASE leaks {rate} of {meter.name}, and in HEAD only {least} would have shown")
        seen.append(f"{rate} of {meter.name}")
    told = " and ".join(dict.fromkeys(seen))
    sentence = f"BASE leaks {told}; HEAD is {after[0].verdict}, and would have shown it"
    return Proof(scenario=name, proven=True, sentence=sentence)
