"""Which Python object lies at an address of another process."""

from __future__ import annotations

from typing import NamedTuple

from leakcheck.agent.probes.hidden import HAVE_GC
from leakcheck.execution.memory import WORD, ProcessMemory

GC_HEADER_BYTES = 16
"""What lies before an object that the collector knows."""
_NAME, _FLAGS = 3, 21
"""Where a type keeps its name and its flags, in words (`PyTypeObject`, in all of Python 3)."""
_TYPE_SUBCLASS = 1 << 31
"""`Py_TPFLAGS_TYPE_SUBCLASS`: instances of such a type are types."""
_MOST_REFERENCES = 1 << 40
"""What is more is no count of references; that of an immortal object is less."""
_LEAVES = frozenset({"str", "bytes", "int", "float", "complex", "bool"})
"""Objects that the collector need not know, for they refer to nothing."""


class Object(NamedTuple):
    """What is known of an object by its type."""

    type: str
    flags: int
    """Of the type, as in `PyTypeObject.tp_flags`."""

    @property
    def is_hidden(self) -> bool:
        """Whether it may refer to others though the collector knows nothing of it."""
        return not self.flags & HAVE_GC and self.type not in _LEAVES


def object_at(address: int, memory: ProcessMemory) -> Object | None:
    """The object in the block at an address, with the collector's header before it or without; None for other memory.

    An object begins with its count of references and its type.
    """
    for start in (address, address + GC_HEADER_BYTES):
        words = memory.words(start, 2 * WORD)
        if len(words) == 2 and 0 < words[0] < _MOST_REFERENCES and _is_type(words[1], memory):
            fields = memory.words(words[1], (_FLAGS + 1) * WORD)
            if name := memory.text(fields[_NAME]):
                return Object(name.removeprefix("builtins."), fields[_FLAGS])
    return None


def _is_type(address: int, memory: ProcessMemory) -> bool:
    """Whether an object is a type: its own type says that its instances are."""
    header = memory.words(address, 2 * WORD)
    fields = memory.words(header[1], (_FLAGS + 1) * WORD) if len(header) == 2 else ()
    return len(fields) > _FLAGS and bool(fields[_FLAGS] & _TYPE_SUBCLASS) and bool(memory.text(fields[_NAME]))
