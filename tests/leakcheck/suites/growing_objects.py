"""Leaks that are not a list with ever more elements: one object, a namespace, a chain, and one that begins late."""

from __future__ import annotations

import array
import functools
import io
import random
import signal
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from leakcheck import scenario

text = ""
mask = 1
log = io.BytesIO()
raw = bytearray()
samples = array.array("d")
chain: Any = int
numbers = count()


class Settings:
    pass


class Document:
    def __init__(self) -> None:
        self.body = ""


settings = Settings()
document = Document()


@scenario(expect="leak")
def text_of_a_module():
    def step() -> None:
        global text
        text += "a line of the log"

    yield step


@scenario(expect="leak")
def text_of_an_object():
    def step() -> None:
        document.body += "a line of the text"

    yield step


@scenario(expect="leak")
def numbers_of_an_array():
    yield lambda: samples.append(1.0)


@scenario(expect="leak")
def bits_of_a_number():
    def step() -> None:
        global mask
        mask <<= 80

    yield step


@scenario(expect="leak")
def stream_in_memory():
    yield lambda: log.write(b"one line more of the log")


@scenario(expect="leak")
def buffer_in_place():
    yield lambda: raw.extend(b"one packet more of the stream")


@scenario(expect="leak")
def attributes_of_an_object():
    yield lambda: setattr(settings, f"option_{next(numbers)}", True)


@scenario(expect="leak")
def attributes_of_a_class():
    yield lambda: setattr(Settings, f"option_{next(numbers)}", [])


@scenario(expect="leak")
def variables_of_a_module():
    def step() -> None:
        globals()[f"variable_{next(numbers)}"] = None

    yield step


@scenario(expect="leak")
def chain_of_two_kinds_of_links():
    def step() -> None:
        global chain
        inner = functools.partial(chain)
        chain = lambda wrapped=inner: wrapped  # noqa: E731

    yield step


def chained(before: Any) -> Any:
    return lambda number, frame: before(number, frame)


@scenario(expect="leak")
def chain_of_signal_handlers():
    yield lambda: signal.signal(signal.SIGUSR1, chained(signal.getsignal(signal.SIGUSR1)))


size_that_comes_and_goes = b""
small: list[Any] = []


@scenario(expect="leak")
def leak_beside_a_size_that_comes_and_goes():
    sizes = random.Random(1)

    def step() -> None:
        global size_that_comes_and_goes
        size_that_comes_and_goes = bytes(sizes.randrange(300, 1_000_000))
        small.append(object())

    yield step


@scenario(expect="leak")
def file_that_gets_longer():
    log = Path(tempfile.mkdtemp()) / "log"

    def step() -> None:
        with log.open("a") as file:
            file.write("a line\n")

    yield step


ring: list[Any] = [None] * 3000
kept: list[Any] = []


@scenario(expect="leak")
def leak_behind_a_ring_that_fills():
    turn = 0

    def step() -> None:
        nonlocal turn
        old = ring[turn % len(ring)]
        if old is not None:
            kept.append(old)
        ring[turn % len(ring)] = [turn]
        turn += 1

    yield step


bursts: list[Any] = []


@scenario(expect="leak")
def leak_that_comes_in_bursts():
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        if turn % 1500 == 0:
            bursts.extend([number] for number in range(150))

    yield step


seldom: list[Any] = []


@scenario(expect="leak")
def rare_leak_of_a_step_that_allocates_all_the_time():
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        sum(range(5000))
        if turn % 500 == 0:
            seldom.append({"turn": turn})

    yield step
