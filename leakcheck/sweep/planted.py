"""The control of a sweep: leaks of 24 kinds, and for each an innocent that looks like it, in Python alone.

Every sweep is made of this module first. What is planted must be found, and of the innocents nothing. Each takes as few
arguments as its kind allows, since a sweep tries some fifty values for each.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self
from weakref import WeakSet

_lost: list[object] = []
_known: WeakSet[type] = WeakSet()
_cached: dict[str, bytes] = {}
_ADD, _DROP = ctypes.pythonapi.Py_IncRef, ctypes.pythonapi.Py_DecRef
_ADD.argtypes, _DROP.argtypes = [ctypes.py_object], [ctypes.py_object]
_TAKE, _GIVE_BACK = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
_TAKE.argtypes, _TAKE.restype, _GIVE_BACK.argtypes = [ctypes.c_size_t], ctypes.c_void_p, [ctypes.c_void_p]


def _lose() -> None:
    _lost.append(bytearray(100))


# A call that returns


def loses_on_return() -> None:
    """Each call keeps something."""
    _lose()


def innocent_return(text: str) -> str:
    """Keeps a value, the same one each time."""
    _cached[str(len(text) % 3)] = text.encode("utf-8", "replace")
    return text * 2


def loses_block() -> None:
    """Native memory that nobody gives back."""
    _TAKE(100)


def innocent_block() -> None:
    """Native memory that is given back."""
    _GIVE_BACK(_TAKE(100))


def loses_reference(value: object) -> None:
    """One reference too many to what it is given."""
    _ADD(value)


def innocent_reference(value: object) -> None:
    """A reference that is given back."""
    _ADD(value)
    _DROP(value)


def loses_descriptor() -> None:
    """A descriptor that is not closed."""
    os.dup(0)


def innocent_descriptor() -> None:
    """Closes what it opens."""
    os.close(os.dup(0))


# A call that fails


def loses_on_error(text: Any) -> int:
    """A call that fails keeps something."""
    if not isinstance(text, str):
        _lose()
        raise TypeError
    return len(text)


def innocent_error(text: Any) -> int:
    """Fails, and keeps nothing."""
    held = [bytearray(100)]
    if not isinstance(text, str):
        raise TypeError(held)
    return len(text)


def loses_on_keyword(**options: Any) -> None:
    """A keyword that it does not know."""
    if options:
        _lose()
        raise TypeError


def innocent_keyword(**options: Any) -> None:
    """Lets go of what it had made when it sees that keyword."""
    made = bytearray(100)
    if options:
        raise TypeError(made)


def loses_half_built(items: Any) -> int:
    """What is half built when an item turns out to be wrong."""
    if not isinstance(items, list):
        raise TypeError
    for item in items:
        if not isinstance(item, int | float | str | bytes):
            _lose()
            raise TypeError
    return len(items)


def innocent_half_built(items: Any) -> int:
    """Lets go of what is half built."""
    if not isinstance(items, list):
        raise TypeError
    made = []
    for item in items:
        if not isinstance(item, int | float | str | bytes):
            raise TypeError
        made.append([item])
    return len(made)


def loses_on_short_buffer(data: Any) -> int:
    """A buffer that ends too soon."""
    size = len(memoryview(data).cast("B"))
    if size < 4:
        _lose()
        raise ValueError
    return size


def innocent_short_buffer(data: Any) -> int:
    """Says so, and keeps nothing."""
    size = len(memoryview(data).cast("B"))
    if size < 4:
        raise ValueError(bytearray(100))
    return size


# What it is given raises


def loses_where_callback_raises(function: Callable[[], object]) -> None:
    """A callback that raises leaves something behind."""
    if not callable(function):
        raise TypeError
    try:
        function()
    except ValueError:
        _lose()
        raise


def innocent_callback(function: Callable[[], object]) -> None:
    """Lets a callback raise."""
    held = bytearray(100)
    function()
    del held


def loses_where_iterator_raises(items: Iterable[object]) -> int:
    """An iterable that raises in the middle leaves something behind."""
    count = 0
    try:
        for _ in items:
            count += 1
    except ValueError:
        if count:
            _lose()
        raise
    return count


def innocent_iterable(items: Iterable[object]) -> int:
    """Lets an iterable raise."""
    return len([[item] for item in items])


class LosesWhereHeldRaises:
    """What a method has made is lost where the callback raises that the object was made with."""

    def __init__(self, callback: Callable[[int], object]) -> None:
        self._callback = callback

    def run(self) -> None:
        """Use it some times."""
        block = _TAKE(100)
        for number in range(3):
            self._callback(number)
        _GIVE_BACK(block)


class InnocentWhereHeldRaises:
    """Lets it raise."""

    def __init__(self, callback: Callable[[int], object]) -> None:
        self._callback = callback

    def run(self) -> None:
        """Use it some times."""
        made = [bytearray(100)]
        for number in range(3):
            made.append(bytearray(number))
            self._callback(number)


# What can be called on an object that was used before


class LosesOnceFed:
    """Takes something, and keeps something where it is given out."""

    def __init__(self) -> None:
        self._taken: list[object] = []

    def feed(self, value: object) -> None:
        """Take it."""
        self._taken.append(value)

    def give(self) -> object:
        """The last that was taken, once there are two."""
        taken = self._taken[-2]
        _lose()
        return taken


class InnocentOnceFed:
    """Takes something and gives it out."""

    def __init__(self) -> None:
        self._taken: list[object] = []

    def feed(self, value: object) -> None:
        """Take it."""
        self._taken.append(value)

    def give(self) -> object:
        """The last that was taken, once there are two."""
        return self._taken[-2]


# What is begun and not ended


def loses_where_abandoned() -> Iterator[int]:
    """An iterator that loses something where it is not run to its end."""
    try:
        yield from range(1000)
    except GeneratorExit:
        _lose()


def innocent_iterator() -> Iterator[int]:
    """Can be left at any time."""
    held = bytearray(100)
    yield from range(len(held))


class LosesWhenNotLeft:
    """What `__enter__` takes is given back by `__exit__` alone."""

    def __enter__(self) -> Self:
        self._block = _TAKE(100)
        return self

    def __exit__(self, *_: object) -> None:
        _GIVE_BACK(self._block)


class InnocentWhenNotLeft:
    """What `__enter__` takes goes with the object."""

    def __enter__(self) -> Self:
        self._block = bytearray(100)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to be done."""


# Objects that are made in other ways, or twice


class LosesWhenInitializedTwice:
    """The second `__init__` forgets what the first has made."""

    def __init__(self) -> None:
        if hasattr(self, "made"):
            _lose()
        self.made = bytearray(10)


class LosesWithoutInit:
    """What `__new__` takes is given back by those only that have been initialized."""

    block: int
    ready = False

    def __new__(cls) -> Self:
        """Take it."""
        self = super().__new__(cls)
        self.block = _TAKE(100)
        return self

    def __init__(self) -> None:
        self.ready = True

    def __reduce__(self) -> Any:
        raise TypeError

    def __del__(self) -> None:
        if self.ready:
            _GIVE_BACK(self.block)


class LosesByCopy:
    """A copy that keeps something."""

    def __copy__(self) -> LosesByCopy:
        _lose()
        return LosesByCopy()


class LosesByState:
    """A state that is set keeps what was there."""

    def __getstate__(self) -> list[int]:
        return [1]

    def __setstate__(self, state: object) -> None:
        _lose()


class InnocentWhenInitializedTwice:
    """Can be initialized as often as one likes."""

    def __init__(self) -> None:
        self.made = bytearray(10)


class InnocentWithoutInit:
    """What `__new__` takes goes with the object."""

    made: bytearray

    def __new__(cls) -> Self:
        """Take it."""
        self = super().__new__(cls)
        self.made = bytearray(100)
        return self


class InnocentCopy:
    """A copy that keeps nothing."""

    def __copy__(self) -> InnocentCopy:
        return InnocentCopy()


class InnocentState:
    """Takes a state, and keeps nothing."""

    def __getstate__(self) -> list[int]:
        return [1]

    def __setstate__(self, state: object) -> None:
        """Nothing is set."""


# Two calls


class LosesWhenClosedTwice:
    """The second `close` loses something."""

    def __init__(self) -> None:
        self.closed_before = False

    def close(self) -> None:
        """Close it."""
        if self.closed_before:
            _lose()
        self.closed_before = True


class LosesWhenBegunTwice:
    """What is begun again before it was ended."""

    def __init__(self) -> None:
        self.open = False

    def begin(self) -> None:
        """Begin, and forget what was open."""
        if self.open:
            _lose()
        self.open = True


class InnocentWhenClosedTwice:
    """Can be closed as often as one likes."""

    def __init__(self) -> None:
        self.made = bytearray(100)

    def close(self) -> None:
        """Let go of what was made."""
        self.made = bytearray()


class InnocentWhenBegunTwice:
    """Lets go of what was open."""

    def begin(self) -> None:
        """Begin anew."""
        self.open = bytearray(100)


# Attributes


class LosesBySetting:
    """An attribute that is refused keeps something."""

    @property
    def size(self) -> int:
        """A number."""
        return 1

    @size.setter
    def size(self, value: Any) -> None:
        if not isinstance(value, int):
            _lose()
            raise TypeError


class InnocentBySetting:
    """Refuses, and keeps nothing."""

    @property
    def size(self) -> int:
        """A number."""
        return 1

    @size.setter
    def size(self, value: Any) -> None:
        if not isinstance(value, int):
            raise TypeError(bytearray(100))


# Cycles


class _Unseen:
    """Holds an object without telling the collector, as a type in C does that has no `tp_traverse`."""

    __slots__ = ("_held",)

    def _hold(self, held: Any) -> None:
        _ADD(held)
        self._held = id(held)

    def __reduce__(self) -> Any:
        raise TypeError  # as a type in C is copied that says nothing of it: not at all

    def __del__(self) -> None:
        if hasattr(self, "_held"):
            _DROP(ctypes.cast(self._held, ctypes.py_object).value)


class LosesCycle(_Unseen):
    """What it is made of leads back to it."""

    def __init__(self, held: Any) -> None:
        self._hold(held)


class LosesCycleByAttribute(_Unseen):
    """What it has been given since leads back to it."""

    @property
    def held(self) -> None:
        """Never told."""
        return None

    @held.setter
    def held(self, value: Any) -> None:
        self.__del__()
        self._hold(value)


class InnocentCycle:
    """Holds what it is given as any object does."""

    def __init__(self, held: Any) -> None:
        self.held = held


class InnocentCycleByAttribute:
    """Holds what it is given since as any object does."""

    _held: Any = None

    @property
    def held(self) -> None:
        """Never told."""
        return None

    @held.setter
    def held(self, value: Any) -> None:
        self._held = value


# Subclasses


class KeepsSubclasses:
    """Keeps every class that is made of it."""

    def __init_subclass__(cls) -> None:
        _lost.append(cls)


class InnocentSubclasses:
    """Knows its subclasses as long as they are there."""

    def __init_subclass__(cls) -> None:
        _known.add(cls)


PLANTED = {
    "loses_on_return": "call",
    "loses_block": "call",
    "loses_reference": "call",
    "loses_descriptor": "call",
    "loses_on_error": "error",
    "loses_on_keyword": "error",
    "loses_half_built": "error",
    "loses_on_short_buffer": "error",
    "loses_where_callback_raises": "callback raises",
    "loses_where_iterator_raises": "callback raises",
    "LosesWhereHeldRaises": "callback raises",
    "LosesOnceFed": "call",
    "loses_where_abandoned": "abandoned",
    "LosesWhenNotLeft": "abandoned",
    "LosesWhenInitializedTwice": "initialized twice",
    "LosesWithoutInit": "without initialization",
    "LosesByCopy": "copied",
    "LosesByState": "copied",
    "LosesWhenClosedTwice": "closed twice",
    "LosesWhenBegunTwice": "two calls",
    "LosesBySetting": "error",
    "LosesCycle": "cycle",
    "LosesCycleByAttribute": "cycle",
    "KeepsSubclasses": "subclass",
}
"""What must be found, and in which way."""
