"""For how long what has keys is waited for, on a scripted process whose dict takes an entry in each call."""

from __future__ import annotations

import pytest
from scripted_process import Scripted

from leakcheck.agent.protocol import Held, HolderSizes, LimitedContainers, LimitedContainersFound
from leakcheck.meters import LEDGER
from leakcheck.verdict.caches import CacheSuspicion
from leakcheck.verdict.judge import AMPLE
from leakcheck.verdict.rounds import Progress

DICT = 7


@pytest.mark.parametrize(
    ("grown", "seconds", "needed"),
    [
        (AMPLE / 2, 2.0, 4 * 32_768),
        (AMPLE / 2, 0.5, 262_144),
        (AMPLE / 2, 60.0, 32_768),
        (AMPLE, 2.0, 0),  # it has taken more than is waited for
    ],
)
def test_how_long_keys_are_waited_for(grown: float, seconds: float, needed: int) -> None:
    def held() -> Held:
        return Held(True, 1, [(DICT, 32_768 + process.iterations)], 0, [DICT])

    process = Scripted([0.0], {HolderSizes: held, LimitedContainers: LimitedContainersFound([])})
    progress = Progress(32_768, seconds, seconds, {LEDGER: grown})
    assert CacheSuspicion(process).needed(progress) == needed
