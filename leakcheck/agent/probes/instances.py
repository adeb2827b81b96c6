"""Whether the references that a type has too many are those of its instances, which kept them when they ended.

An instance of a type that is made at run time refers to it, and the type's `tp_dealloc` has to give that reference back
(since Python 3.8). Widespread builds of native types do not. A type that stays anyway loses nothing by it, so this is
told apart from a function that takes a reference: there it comes while an instance lives, or without one.
"""

from __future__ import annotations

import gc
import sys
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from leakcheck.agent.probes.newborn import only_new
from leakcheck.agent.probes.takers import variables
from leakcheck.agent.probes.watch import Ledger

if TYPE_CHECKING:
    from leakcheck.agent.step import Driver

_TURNS = 11
"""Calls that are watched: each line is a look at all that they have made."""
_MOST_S = 2.0
"""Seconds that the watching may take; what has not been seen by then is not explained."""
_MOST_SHARE = 0.8
"""Part of the references that must come as instances end: some instances end between two lines, and are not seen."""


async def keep_theirs(driver: Driver, kind: Any, rate: float) -> bool:
    """Run the step some more, and say whether instances of `kind` that end explain `rate` more references a call."""
    if rate <= 0 or not isinstance(kind, type):
        return False
    there = gc.get_objects()
    old = {id(each) for each in chain(there, gc.get_referents(*there)) if type(each) is kind}
    del there
    account = _Account(kind, old)
    with only_new():
        with Ledger(account):
            await driver.run(_TURNS)
        gc.collect()
        account()
    return account.by_ends >= _MOST_SHARE * rate * _TURNS


class _Account:
    """References to a type beyond those of its living instances; each rise is put down to what came with it."""

    def __init__(self, kind: type, old: set[int]) -> None:
        self._kind = kind
        self._old = old
        self._until = time.monotonic() + _MOST_S
        self._counted = self._living = 0
        self.by_ends = 0
        """Those that came as there were fewer instances than before."""

    def __call__(self) -> float:
        """Look, as `Ledger` asks it to: an instance that comes brings a reference; one that ends need not take it."""
        counted = sys.getrefcount(self._kind)
        if (counted != self._counted or self._living) and time.monotonic() < self._until:
            living = self._instances()
            if living < self._living:
                self.by_ends += (counted - living) - (self._counted - self._living)
            self._counted, self._living = counted, living
        return 0.0

    def _instances(self) -> int:
        """The new ones that new objects and local variables lead to."""
        new = gc.get_objects()
        things = chain(new, gc.get_referents(*new), variables())
        return len({id(each) for each in things if type(each) is self._kind} - self._old)
