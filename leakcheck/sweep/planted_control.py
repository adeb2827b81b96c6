"""Whether a sweep finds what is planted, and nothing else, in this interpreter on this machine now."""

from __future__ import annotations

from collections.abc import Iterable

from leakcheck.sweep import planted
from leakcheck.sweep.inside.messages import Asked, Suspect
from leakcheck.sweep.sweeper import sweep

_SECONDS = 4.0
"""For each planted target, of which one in Python has a quarter: the longest takes a third, most a twentieth."""


def control(python: str, jobs: int) -> str:
    """What is wrong with the sweep; empty where all that is planted was found, and nothing else."""
    asked = Asked([planted.__name__], [], [], _SECONDS, jobs, False, False, "", "", [], {})
    return wrong(message for message in sweep(asked, python) if isinstance(message, Suspect))


def wrong(suspects: Iterable[Suspect]) -> str:
    """What these suspects say of the sweep, in a sentence; empty where they are as planted."""
    prefix = f"{planted.__name__}."
    found = {(each.target.removeprefix(prefix).partition(".")[0], each.kind) for each in suspects}
    missed = [f"{name} ({kind})" for name, kind in planted.PLANTED.items() if (name, kind) not in found]
    accused = sorted({name for name, _ in found} - planted.PLANTED.keys())
    said = [f"not found: {', '.join(missed)}"] if missed else []
    return "; ".join(said + ([f"innocent, but suspected: {', '.join(accused)}"] if accused else []))
