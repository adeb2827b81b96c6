"""What a 64-bit little-endian ELF file says of itself: its sections, and the symbols that it defines."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_SYMBOL = "<IBBHQQ"
"""An entry of a symbol table: name, kind, visibility, section, value, size (System V ABI, `Elf64_Sym`)."""

_FUNCTION = 2
"""The kind of a symbol that is a function (`STT_FUNC`)."""
_NOTE_HEADER = 16
"""Bytes of a note before what it says: three numbers, and the name `GNU`."""


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


def functions(content: bytes) -> Iterator[tuple[int, int]]:
    """Where each function that has a symbol begins and ends, in any order. Raises `ValueError` for any other file."""
    for table in sections(content):
        if table.name not in (".symtab", ".dynsym"):
            continue
        whole = table.length - table.length % struct.calcsize(_SYMBOL)
        symbols = content[table.start : table.start + whole]
        for _name, kind, _visibility, section, value, size in struct.iter_unpack(_SYMBOL, symbols):
            if section and kind & 0xF == _FUNCTION:
                yield value, value + max(1, size)


def build_id(content: bytes) -> str:
    """What the linker noted to know this very build by; empty where it did not. Raises `ValueError` as `sections`."""
    note = next((each for each in sections(content) if each.name == ".note.gnu.build-id"), None)
    if note is None or note.length < _NOTE_HEADER:
        return ""
    name, length, _kind = struct.unpack_from("<III", content, note.start)
    start = note.start + 12 + (name + 3) // 4 * 4
    return content[start : start + length].hex()


def _text(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode(errors="replace")
