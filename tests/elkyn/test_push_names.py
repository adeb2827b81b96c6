"""The names that `push()` makes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from elkyn.paths import is_segment
from elkyn.push_names import ALPHABET, CHANCE_BITS, NAME_LENGTH, PushNames


def test_a_name_is_one_legal_segment_of_the_alphabet() -> None:
    name = PushNames().make()
    assert len(name) == NAME_LENGTH
    assert set(name) <= set(ALPHABET)
    assert is_segment(name)
    assert list(ALPHABET) == sorted(ALPHABET)


def test_a_name_begins_with_the_milliseconds_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    name = PushNames().make()
    after = time.time_ns() // 1_000_000
    number = 0
    for character in name[:8]:
        number = number * 64 + ALPHABET.index(character)
    assert before <= number <= after


def test_names_of_one_millisecond_count_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = PushNames()
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    made = [names.make() for _ in range(1000)]
    assert made == sorted(set(made))
    assert len({name[:8] for name in made}) == 1


def test_names_keep_their_order_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    names = PushNames()
    clock = iter([2_000_000_000, 1_000_000_000, 2_000_000_000, 3_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    made = [names.make() for _ in range(4)]
    assert made == sorted(set(made))


def test_chance_has_room_to_count_up_from_wherever_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbits", lambda bits: 2**bits - 1)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    names = PushNames()
    made = [names.make() for _ in range(100)]
    assert made == sorted(set(made))
    assert names._number >> CHANCE_BITS == 1000


def test_two_makers_do_not_meet() -> None:
    one, other = PushNames(), PushNames()
    assert {one.make() for _ in range(1000)}.isdisjoint({other.make() for _ in range(1000)})


def test_threads_share_one_maker() -> None:
    names, together = PushNames(), threading.Barrier(4)

    def make(_: int) -> list[str]:
        together.wait(10)
        return [names.make() for _ in range(500)]

    with ThreadPoolExecutor(4) as executor:
        made = list(executor.map(make, range(4)))
    assert all(some == sorted(some) for some in made)
    assert len({name for some in made for name in some}) == 2000
