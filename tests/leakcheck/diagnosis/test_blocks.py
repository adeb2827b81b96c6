"""What surviving blocks are, in a made-up memory that counts how much of it is read."""

from __future__ import annotations

from collections import Counter
from typing import Self

import pytest

from leakcheck.diagnosis import blocks
from leakcheck.diagnosis.blocks import contents


class Memory:
    """Of blocks without any object, each of which leads to the next."""

    def __init__(self, following: dict[int, int]) -> None:
        self.following = following
        self.looked_through: Counter[int] = Counter()
        self.read: Counter[int] = Counter()

    def __call__(self, _pid: int) -> Memory:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def addresses(self, address: int, _size: int) -> tuple[int, ...]:
        self.looked_through[address] += 1
        return (self.following[address],)

    def words(self, address: int, _size: int) -> tuple[int, ...]:
        self.read[address] += 1
        return ()

    def text(self, _address: int) -> str:
        return ""


def look(monkeypatch: pytest.MonkeyPatch, number: int, size: int) -> Memory:
    """At so many blocks in a ring, each the only one of its site."""
    memory = Memory({1000 * index: 1000 * ((index + 1) % number) for index in range(number)})
    monkeypatch.setattr(blocks, "ProcessMemory", memory)
    found = contents({address: ((0, address, 0), size) for address in memory.following}, 1)
    assert len(found) == number
    assert not any(each.type or each.cycle for each in found.values())
    return memory


def test_each_block_is_read_once_however_many_lead_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = look(monkeypatch, number=500, size=100)
    assert set(memory.looked_through.values()) == {1}
    assert max(memory.read.values()) == 1


def test_large_blocks_are_looked_through_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = look(monkeypatch, number=500, size=1 << 20)
    assert memory.looked_through.total() == blocks._MOST_BYTES >> 20
