"""The memory of another process, read word by word."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from leakcheck.execution.memory import WORD, ProcessMemory


@pytest.fixture
def memory() -> Iterator[ProcessMemory]:
    with ProcessMemory(os.getpid()) as opened:
        yield opened


def test_words_are_those_that_lie_there(memory: ProcessMemory) -> None:
    values = (ctypes.c_size_t * 3)(7, 8, 9)
    assert memory.words(ctypes.addressof(values), 3 * WORD) == (7, 8, 9)
    assert memory.words(ctypes.addressof(values), 2 * WORD + 1) == (7, 8), "a part of a word is none"


@pytest.mark.parametrize("address", [0, 8, 3, 1 << 62, (1 << 64) - 8])
def test_where_there_is_no_memory_there_are_no_words(memory: ProcessMemory, address: int) -> None:
    assert memory.words(address, 64) == ()


def test_an_object_has_the_address_of_its_type_in_it(memory: ProcessMemory) -> None:
    value = object()
    assert id(object) in memory.words(id(value), value.__sizeof__())


def test_a_block_is_found_by_an_address_at_its_beginning(memory: ProcessMemory) -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    address = library.malloc(200)
    try:
        ctypes.memset(address, 0, 200)
        assert [memory.block(address + n) for n in (0, WORD, 2 * WORD)] == [(address, 200)] * 3
        assert memory.block(address + 100) == (0, 0)
    finally:
        library.free(address)


def test_what_is_allocated_is_the_heaps_wherever_it_lies() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [library.malloc(size) for size in (24, 40 << 20)]  # the second has a mapping of its own
    try:
        with ProcessMemory(os.getpid()) as memory:
            assert all(memory.is_heap(address) for address in blocks)
            code = ctypes.cast(library.malloc, ctypes.c_void_p).value
            assert not any(memory.is_heap(address) for address in (0, WORD, code or 0, (1 << 64) - WORD))
    finally:
        for address in blocks:
            library.free(address)


def test_a_packed_structure_has_addresses_behind_half_a_word(memory: ProcessMemory) -> None:
    class Packed(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("letter", ctypes.c_uint32), ("child", ctypes.c_size_t), ("end", ctypes.c_uint32))

    value = Packed(1, 77, 2)
    assert 77 in memory.addresses(ctypes.addressof(value), ctypes.sizeof(value))
    assert 77 not in memory.words(ctypes.addressof(value), ctypes.sizeof(value))


def test_a_text_ends_with_a_zero_byte_and_is_printable(memory: ProcessMemory) -> None:
    texts = [ctypes.create_string_buffer(each) for each in (b"native.Handle", b"\x01\x02", b"x" * 300)]
    assert [memory.text(ctypes.addressof(each)) for each in texts] == ["native.Handle", "", ""]
    assert memory.text(8) == ""


def test_a_process_that_is_gone_cannot_be_read() -> None:
    with pytest.raises(OSError, match="No such file"):
        ProcessMemory((1 << 22) + 1)
