"""Whether the references that a type has too many are those of its instances, which kept them when they ended.

An instance of a type that is made at run time refers to it, and the type's `tp_dealloc` has to give that reference back
(since Python 3.8). Widespread builds of native types do not. A type that stays anyway loses nothing by it, so this is
told apart from a function that takes a reference: some instances are held, and it is seen what goes when they end.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

from leakcheck.agent.probes.newborn import only_new
from leakcheck.agent.probes.takers import variables
from leakcheck.agent.probes.watch import Ledger

if TYPE_CHECKING:
    from leakcheck.agent.step import Driver

_TURNS = 11
"""Calls that are watched: each instruction is a look at all that they have made."""
_MOST_HELD = 8
"""Instances that are held, for it is not known how much each has."""
_MOST_S = 2.0
"""Seconds that the watching may take; what has not been seen by then is not explained."""
_LEAST_SHARE = 0.6
"""Part of the references that must come as instances end: some instances end within one call of native code,
and are not seen."""


async def keep_theirs(driver: Driver, kind: Any, rate: float) -> bool:
    """Run the step some more, and say whether instances of `kind` that end explain `rate` more references a call."""
    if rate <= 0 or not isinstance(kind, type):
        return False
    there = gc.get_objects()
    old = {id(each) for each in chain(there, gc.get_referents(*there)) if type(each) is kind}
    del there
    account = _Account(kind, old, driver.clock)
    with only_new():
        with Ledger(account, instructions=True):
            await driver.run(_TURNS)
        account()
        gc.collect()
        account()
        ended, given_back = account.let_go()
    return ended > 0 == given_back and account.by_ends + ended >= _LEAST_SHARE * rate * _TURNS


class _Account:
    """References to a type beyond those of its living instances; each rise is put down to what came with it.

    The first instances are held, so that they are there when it is over.
    """

    def __init__(self, kind: type, old: set[int], clock: Callable[[], float]) -> None:
        self._kind = kind
        self._old = old
        self._clock = clock
        self._until = clock() + _MOST_S
        self._counted = 0
        self._living: set[int] = set()
        self._held: list[Any] = []
        self.by_ends = 0
        """Those that came as instances ended, one each at most."""

    def __call__(self) -> float:
        """Look, as `Ledger` asks it to: an instance that comes brings a reference; one that ends need not take it."""
        if self._clock() < self._until:
            counted = sys.getrefcount(self._kind)
            living = self._instances()
            if ended := len(self._living - living):
                came = (counted - len(living)) - (self._counted - len(self._living))
                self.by_ends += min(came, ended)
            self._counted, self._living = counted, living
        return 0.0

    def let_go(self) -> tuple[int, int]:
        """End the instances that were held: how many have ended, in cycles too, and how many references came back."""
        held, before = set(map(id, self._held)), sys.getrefcount(self._kind)
        self._held.clear()
        gc.collect()
        after = sys.getrefcount(self._kind)
        return len(held - self._instances()), before - after

    def _instances(self) -> set[int]:
        """The new ones that new objects and local variables lead to."""
        new = gc.get_objects()
        things = chain(new, gc.get_referents(*new), variables())
        found = {id(each): each for each in things if type(each) is self._kind and id(each) not in self._old}
        known = set(map(id, self._held))
        self._held += [each for key, each in found.items() if key not in known][: _MOST_HELD - len(known)]
        return set(found)
