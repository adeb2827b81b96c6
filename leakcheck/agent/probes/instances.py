"""Whether the references that a type has too many are those of its instances, which kept them when they ended.

An instance of a type that is made at run time refers to it, and the type's `tp_dealloc` has to give that reference back
(since Python 3.8). Widespread builds of native types do not. A type that stays anyway loses nothing by it, so this is
told apart from a function that takes a reference.

Nobody sees an instance that native code makes and ends within one call. So for some calls no instance ends: in the
place of `tp_dealloc` stands a function that gives it a new reference. Where an instance's end gives the type's
reference back, these calls leave more references than others did; where it does not, as many.
"""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from leakcheck.agent.probes.hidden import HAVE_GC
from leakcheck.agent.probes.newborn import only_new
from leakcheck.agent.probes.sizes import HEAP_TYPE, type_flags

if TYPE_CHECKING:
    from leakcheck.agent.step import Driver

_DEALLOC = object.__basicsize__ + 4 * ctypes.sizeof(ctypes.c_void_p)
"""Where a type keeps `tp_dealloc`: behind the object's own header the 5th word, in all of Python 3 (`PyTypeObject`)."""
_REFERENCES = 11
"""References that must come in the calls that are looked at."""
_UNEVEN = 0.2
"""Part by which two numbers of references may differ that are the same: a cache may fill or be emptied meanwhile."""


async def keep_theirs(driver: Driver, kind: Any, rate: float) -> bool:
    """Run the step some more, and say whether instances of `kind` that end explain `rate` more references a call.

    The instances that do not end meanwhile are lost, so this is nothing to be done before something is measured.
    """
    if rate <= 0 or not isinstance(kind, type) or not type_flags(kind) & HEAP_TYPE:
        return False
    calls = math.ceil(_REFERENCES / rate)
    expected = rate * calls
    endless = await _stretch(driver, kind, calls, "Py_IncRef")
    if abs(endless.references - expected) > _UNEVEN * expected:
        return False
    ended = endless.instances
    if not type_flags(kind) & HAVE_GC:  # nobody lists them: a function that counts each of them stands in
        ended = (await _stretch(driver, kind, calls, "PyObject_Type")).references - endless.references
    return ended >= (1 - _UNEVEN) * expected


class _Stretch(NamedTuple):
    """What some calls have left behind, in which no instance of a type has ended."""

    references: int
    """To the type."""
    instances: int
    """As far as the collector knows them."""


async def _stretch(driver: Driver, kind: type, calls: int, instead: str) -> _Stretch:
    with only_new(), _instead_of_ending(kind, instead):
        before = sys.getrefcount(kind)
        await driver.run(calls)
        gc.collect()
        return _Stretch(sys.getrefcount(kind) - before, sum(type(each) is kind for each in gc.get_objects()))


@contextmanager
def _instead_of_ending(kind: type, function: str) -> Iterator[None]:
    """Call a function of the interpreter's with each instance that nobody refers to any more.

    `Py_IncRef` gives it a reference: for the collector it is an object as any other. `PyObject_Type` gives one to its
    type, and leaves the instance as it is; only the collector could stumble over it.
    """
    slot = ctypes.c_void_p.from_address(id(kind) + _DEALLOC)
    usual = slot.value
    slot.value = ctypes.cast(getattr(ctypes.pythonapi, function), ctypes.c_void_p).value
    try:
        yield
    finally:
        slot.value = usual
