"""Many objects, sorted out by their types without running any code of theirs, in some 0.02 us for each."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import compress
from operator import not_
from types import ModuleType
from typing import Any


class ByType:
    """Objects, found by their very type; types are compared by identity, for a metaclass may have another `==`."""

    def __init__(self, objects: list[Any]) -> None:
        self.objects = objects
        self._types = list(map(id, map(type, objects)))

    def let_go(self) -> None:
        """Forget them.

        All that is alive may contain the cell of the variable that this is in, and so itself: garbage that only a whole
        collection frees, and as large as all that is alive.
        """
        self.objects.clear()

    def of(self, *kinds: type[Any]) -> compress[Any]:
        """Those of one of the kinds."""
        return compress(self.objects, map(set(map(id, kinds)).__contains__, self._types))

    def referents(self) -> list[Any]:
        """What they refer to.

        Modules are left out: what they have is in their dicts, and `_asyncio` of Python 3.12 also shows the objects of
        its free list, which are freed a second time when they are let go.
        """
        modules = set(map(id, derived(ModuleType)))
        return gc.get_referents(*compress(self.objects, map(not_, map(modules.__contains__, self._types))))


def derived(kind: type[Any]) -> Iterator[type[Any]]:
    """The type and all that derive from it."""
    yield kind
    for each in type.__subclasses__(kind):
        yield from derived(each)
