"""What a 64-bit little-endian ELF file says of itself: its sections, and the symbols that it defines."""

from __future__ import annotations

import struct
from typing import NamedTuple

_SYMBOL = "<IBBHQQ"
"""An entry of a symbol table: name, kind, visibility, section, value, size (System V ABI, `Elf64_Sym`)."""


class Section(NamedTuple):
    """One section of a file."""

    name: str
    link: int
    """Another section that belongs to it: of symbols, their names."""
    start: int
    length: int


def sections(content: bytes) -> list[Section]:
    """The sections in their order. Raises `ValueError` for any other file."""
    if content[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit ELF program")
    try:
        (offset,) = struct.unpack_from("<Q", content, 0x28)
        size, count, names_at = struct.unpack_from("<HHH", content, 0x3A)
        headers = [struct.unpack_from("<IIQQQQI", content, offset + number * size) for number in range(count)]
        names = headers[names_at][4]
        return [
            Section(_text(content, names + name), link, start, length)
            for name, _kind, _flags, _address, start, length, link in headers
        ]
    except (struct.error, IndexError, OverflowError):
        raise ValueError("a damaged ELF file") from None


def defines(content: bytes, symbol: bytes) -> bool:
    """Whether a shared library has a symbol of its own, for others to use. Raises `ValueError` for any other file."""
    found = sections(content)
    table = next((each for each in found if each.name == ".dynsym"), None)
    if table is None:
        return False
    names = found[table.link].start
    for start in range(table.start, table.start + table.length, struct.calcsize(_SYMBOL)):
        name, _kind, _visibility, section, _value, _size = struct.unpack_from(_SYMBOL, content, start)
        if section and content.startswith(symbol + b"\0", names + name):
            return True
    return False


def _text(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode(errors="replace")
