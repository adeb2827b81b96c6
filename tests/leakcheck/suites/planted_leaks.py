"""One planted leak for each way in which Python programs keep what they should not."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import itertools
import os
import threading
import weakref
from collections import deque
from typing import Any

from leakcheck import scenario


class Hub:
    def __init__(self) -> None:
        self.listeners: list[Any] = []

    def on(self, listener: Any) -> None:
        self.listeners.append(listener)


class Listener:
    def handle(self, event: Any) -> None:
        pass


hub = Hub()


@scenario(expect="leak")
def bound_method_in_an_event_hub():
    yield lambda: hub.on(Listener().handle)


def make_remember() -> Any:
    seen: list[Any] = []

    def remember(value: Any) -> None:
        seen.append(value)

    return remember


remember = make_remember()


@scenario(expect="leak")
def closure():
    yield lambda: remember(object())


local = threading.local()


@scenario(expect="leak")
def thread_local():
    local.items = []

    def step():
        local.items.append([1])

    yield step


class Registry(type):
    known: list[type] = []  # noqa: RUF012 - planted

    def __new__(cls, *arguments: Any) -> Any:
        made = super().__new__(cls, *arguments)
        Registry.known.append(made)
        return made


@scenario(expect="leak")
def class_registry():
    yield lambda: Registry("Made", (), {})


class Thing:
    pass


thing = Thing()
references: list[Any] = []


@scenario(expect="leak")
def weakref_callbacks():
    def step():
        references.append(weakref.ref(thing, lambda gone, payload=[0] * 20: None))

    yield step


@scenario(expect="leak")
async def asyncio_task():
    never = asyncio.Event()

    async def wait_for_ever():
        await never.wait()

    async def step():
        asyncio.create_task(wait_for_ever())  # noqa: RUF006 - planted
        await asyncio.sleep(0)

    yield step


errors: dict[int, Exception] = {}


def fail() -> None:
    payload = bytearray(500)
    raise ValueError(len(payload))


@scenario(expect="leak")
def exception_traceback():
    def step():
        try:
            fail()
        except ValueError as error:
            errors[len(errors)] = error

    yield step


first: list[Any] = []
second: dict[int, Any] = {}


@scenario(expect="leak")
def two_at_once():
    def step():
        first.append(bytearray(100))
        second[len(second)] = (1, bytearray(300))

    yield step


_malloc = ctypes.CDLL(None).malloc
_malloc.restype = ctypes.c_void_p
_malloc.argtypes = [ctypes.c_size_t]


@scenario(expect="leak")
def container_and_malloc():
    def step():
        first.append(bytearray(100))
        _malloc(200)

    yield step


@scenario(expect="leak")
def variable_of_the_set_up():
    cache = {}

    def step():
        cache[len(cache)] = [1]

    yield step


class Node:
    def __init__(self, following: Any) -> None:
        self.following = following


class Chain:
    head: Any = None


@scenario(expect="leak")
def linked_list():
    def step():
        Chain.head = Node(Chain.head)

    yield step


class Copied:
    handlers: tuple[Any, ...] = ()


@scenario(expect="leak")
def tuple_that_is_replaced():
    def step():
        Copied.handlers = (*Copied.handlers, object())

    yield step


class User:
    __slots__ = ("history",)

    def __init__(self) -> None:
        self.history: list[Any] = []


users = [User() for _ in range(100)]


@scenario(expect="leak")
def lists_of_many_objects():
    turn = 0

    def step():
        nonlocal turn
        turn += 1
        users[turn % 100].history.append([turn])

    yield step


def with_default(value: Any, seen: list[Any] = []) -> None:  # noqa: B006 - planted
    seen.append(value)


@scenario(expect="leak")
def default_argument():
    yield lambda: with_default(object())


generators: list[Any] = []


@scenario(expect="leak")
def suspended_generators():
    def numbers():
        yield bytearray(100)

    def step():
        generator = numbers()
        next(generator)
        generators.append(generator)

    yield step


@scenario(expect="leak")
def finalizers():
    yield lambda: weakref.finalize(thing, print, bytearray(50))


variable: contextvars.ContextVar[list[Any]] = contextvars.ContextVar("variable")


@scenario(expect="leak")
def context_variable():
    variable.set([])

    def step():
        variable.get().append([1])

    yield step


class Event:
    def __init__(self, previous):
        self.previous = previous


recent: deque[Event] = deque([Event(None)], maxlen=100)


@scenario(expect="leak")
def events_of_which_each_knows_the_last():
    recent.append(Event(recent[-1]))


by_tenant: dict[str, dict[int, float]] = {}


@scenario(expect="leak")
def twelve_tenants():
    number = itertools.count(1000)

    def step():
        request = next(number)
        by_tenant.setdefault(f"tenant{request % 12}", {})[request] = 0.25

    yield step


adapters: dict[type, Any] = {str: {bytes: {int: {}}}}


@scenario(expect="leak")
def mappings_in_mappings():
    number = itertools.count(1000)
    yield lambda: adapters[str][bytes][int].setdefault(next(number), 0.25)


class Basket:
    def __init__(self):
        self.items = []


baskets = [Basket() for _ in range(300)]


@scenario(expect="leak")
def many_baskets():
    number = itertools.count()

    def step():
        basket = baskets[next(number) * 7 % 300]
        basket.items.append(("put", object()))

    yield step


@scenario(expect="leak")
def context_variable_of_each_call():
    contextvars.ContextVar("request").set([1])


_incref = ctypes.pythonapi.Py_IncRef
_incref.argtypes = [ctypes.py_object]


@scenario(expect="leak")
def missing_decref():
    def step():
        value = {"listener": Listener()}
        _incref(value)

    yield step


@scenario(expect="leak")
def descriptor():
    def step():
        os.dup(0)

    yield step


@scenario(expect="leak")
def thread():
    never = threading.Lock()
    never.acquire()

    def step():
        threading.Thread(target=never.acquire, daemon=True).start()

    yield step


@scenario(expect="leak")
def children():
    def step():
        os.posix_spawn("/bin/true", ["true"], {})

    yield step


@scenario(expect="leak")
def one_in_fifty():
    turn = 0

    def step():
        nonlocal turn
        turn += 1
        if turn % 50 == 0:
            first.append(bytearray(10))

    yield step
