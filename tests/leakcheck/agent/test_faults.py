"""A failure strikes where it is meant to, once a call, and leaves the interpreter as it was."""

from __future__ import annotations

import asyncio
import errno
import sys

import pytest

from leakcheck.agent.faults import exceptions, finding, injecting
from leakcheck.agent.protocol import Fault
from leakcheck.agent.scenario import Context, Options, Scenario
from leakcheck.agent.step import Driver, StepRaisedError, run_plain


class Told(Exception):
    """An exception that wants more than a message."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(one, other)


class Log:
    """What a step has done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, text: str) -> None:
        self.done.append(text)


log = Log()


def rows():
    yield 1
    yield 2


def key(number):
    return -number


def step():
    log("before")
    for _ in range(2):
        log("turn")
    log("after")


def called_back():
    log("before")
    sorted([1, 2, 3], key=key)
    list(rows())
    log("after")


async def waits():
    log("before")
    await asyncio.sleep(0)
    try:
        await asyncio.sleep(0)
        log("done")
    finally:
        log("finally")


def opened(function) -> Driver:
    """A driver with that step, and an empty log."""
    log.done.clear()
    driver = Driver(Scenario(function.__name__, function, {}, Options()), Context(""))
    asyncio.run(driver.open())
    return driver


def points(driver: Driver, kind: str):
    found = asyncio.run(finding.find(driver, 3))
    log.done.clear()
    return [each for each in found if each.kind == kind]


def fault(point, turn=1, exception="OSError", after=False) -> Fault:
    return Fault(point.kind, point.file, point.function, point.first_line, point.offset, turn, exception, after)


@pytest.fixture(autouse=True)
def _this_file_is_the_users(monkeypatch):
    monkeypatch.setattr(finding.places, "is_users", lambda code: code.co_filename == __file__)


def test_each_call_is_a_point_with_its_turns():
    found = points(opened(step), "call")
    assert [(each.function, each.turns) for each in found][:4] == [
        ("step", 1), ("Log.__call__", 4), ("step", 1), ("step", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("turn", "after", "done"),
    [
        (1, False, ["before"]),
        (2, False, ["before", "turn"]),
        (1, True, ["before", "turn"]),
        (2, True, ["before", "turn", "turn"]),
    ],
)
def test_a_call_fails_before_it_is_made_or_once_it_has_returned(turn, after, done):
    driver = opened(step)
    in_loop = next(each for each in points(driver, "call") if each.turns == 2)
    injecting.inject(driver, fault(in_loop, turn, after=after))
    run_plain(driver.run(3))
    assert log.done == done * 3
    assert injecting.inject(driver) == (3, 3)
    log.done.clear()
    run_plain(driver.run(1))
    assert log.done == ["before", "turn", "turn", "after"]


def test_the_trace_function_of_whoever_was_there_is_there_again():
    driver = opened(step)
    injecting.inject(driver, fault(points(driver, "call")[0]))
    before, seen = sys.gettrace(), []
    sys.settrace(lambda frame, event, _: seen.append(frame.f_code.co_name))
    try:
        run_plain(driver.run(2))
    finally:
        sys.settrace(before)
    injecting.inject(driver)
    assert seen.count("step") == 2


def test_what_is_called_back_fails_as_it_begins_or_goes_on():
    driver = opened(called_back)
    entries = {each.function: each for each in points(driver, "entry")}
    assert {"key": 3, "rows": 3}.items() <= {name: each.turns for name, each in entries.items()}.items()
    for name in ("key", "rows"):
        log.done.clear()
        injecting.inject(driver, fault(entries[name], 2, "ValueError"))
        run_plain(driver.run(1))
        assert log.done == ["before"]
        assert injecting.inject(driver) == (1, 1)


def test_what_a_step_raises_before_it_is_struck_is_its_own():
    broken: list[str] = []

    def breaks() -> None:
        if broken:
            raise KeyError(broken[0])
        log("done")

    driver = opened(breaks)
    injecting.inject(driver, fault(points(driver, "call")[-1]))
    run_plain(driver.run(1))
    broken.append("by itself")
    with pytest.raises(StepRaisedError) as caught:
        run_plain(driver.run(1))
    assert isinstance(caught.value.__cause__, KeyError)
    assert injecting.inject(driver) == (2, 1)


def test_a_wait_is_cancelled_and_the_step_cleans_up():
    async def go() -> tuple[list[str], list[str], tuple[int, int]]:
        driver = Driver(Scenario("waits", waits, {}, Options()), Context(""))
        await driver.open()
        first, second = [each for each in await finding.find(driver, 3) if each.kind == "await"]
        done = []
        for each in (first, second):
            log.done.clear()
            injecting.inject(driver, fault(each, exception="asyncio:CancelledError"))
            await driver.run(1)
            done.append(list(log.done))
        return *done, injecting.inject(driver)  # type: ignore[return-value]

    assert asyncio.run(go()) == (["before"], ["before", "finally"], (1, 1))


def test_an_operation_below_a_librarys_code_is_a_point(tmp_path):
    path = tmp_path / "file"
    path.write_text("text")

    def reads() -> None:
        log(path.read_text())

    (read,) = (each for each in points(opened(reads), "operation") if each.called == "read")
    assert read.function.endswith(".read_text")


def test_exceptions_are_made_as_the_system_makes_them():
    assert exceptions.made(OSError).errno == errno.EIO
    assert isinstance(exceptions.made(exceptions.named("TimeoutError")), TimeoutError)
    assert isinstance(exceptions.made(Told), Told)
    assert exceptions.named("json:JSONDecodeError").__name__ == "JSONDecodeError"
