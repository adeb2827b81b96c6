"""An allocation fails where it is meant to, once a call, and where allocations are made is found."""

from __future__ import annotations

import asyncio
import dis
import gc
import json

import pytest

from leakcheck.agent.faults import allocations, places, shortage
from leakcheck.agent.faults.messages import FaultSet
from leakcheck.agent.protocol import Fault
from leakcheck.agent.scenario import Context, Options, Scenario
from leakcheck.agent.step import Driver, StepRaisedError, run_plain

pytestmark = pytest.mark.skipif(bool(shortage.why_not()), reason="this interpreter lets no allocation fail")

TEXT = json.dumps({"a": [1, 2.5, "b"], "c": {"d": "x" * 50}})
came: list[str] = []


def step():
    came.append("before")
    json.loads(TEXT)
    came.append("after")


def hides():
    try:
        came.append(TEXT + "!")
    except MemoryError:
        came.append("hidden")


async def waits():
    await asyncio.sleep(0)
    came.append(TEXT + "!")
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _this_file_is_the_users(monkeypatch):
    monkeypatch.setattr(places, "is_users", lambda code: code.co_filename == __file__)
    came.clear()
    gc.freeze()  # free lists are emptied by a collection: it need not walk what the test runner has
    yield
    gc.unfreeze()


def opened(function) -> Driver:
    driver = Driver(Scenario(function.__name__, function, {}, Options()), Context(""))
    asyncio.run(driver.open())
    asyncio.run(driver.run(3))
    return driver


def points(driver: Driver):
    found = asyncio.run(allocations.find(driver))
    came.clear()
    return found


def fault(point, number: int = 1, numbers: int = 1) -> Fault:
    at = point.file, point.function, point.first_line, point.offset
    return Fault("allocation", *at, turn=number, exception="MemoryError", turns=numbers)


def under(driver: Driver, faults: list[Fault], calls: int) -> FaultSet:
    injected = allocations.Allocations(faults)
    driver.step = injected.struck(driver.step, is_async=driver.has_async_step)
    try:
        asyncio.run(driver.run(calls))
    finally:
        driver.step = driver.plain_step
        done = injected.close()
    return done


def test_instructions_of_any_python_code_are_found_with_what_they_allocate():
    found = points(opened(step))
    parsing = next(each for each in found if each.function == "JSONDecoder.raw_decode")
    assert parsing.turns > 8  # containers, numbers and texts
    assert parsing.called == "JSONDecoder.raw_decode"
    assert [function for _, _, function in parsing.stack][-1] == "step"


def test_each_call_fails_there_and_the_next_one_does_not():
    driver = opened(step)
    parsing = next(each for each in points(driver) if each.function == "JSONDecoder.raw_decode")
    assert under(driver, [fault(parsing, 2)], 3) == FaultSet(3, 3)
    assert came == ["before"] * 3
    run_plain(driver.run(1))
    assert came[3:] == ["before", "after"]


def test_several_fail_in_turn_and_one_that_is_never_made_does_not():
    driver = opened(hides)
    text = next(each for each in points(driver) if each.function == "hides")
    assert under(driver, [fault(text), fault(text, 100)], 4) == FaultSet(4, 2)
    assert came == ["hidden", TEXT + "!"] * 2


def test_an_async_step_has_all_memory_while_it_waits():
    driver = opened(waits)
    text = next(each for each in points(driver) if each.function == "waits" and each.span[0] == text_line())
    assert under(driver, [fault(text)], 2).hits == 2
    assert came == []


def text_line() -> int:
    return waits.__code__.co_firstlineno + 2


def test_what_a_step_raises_by_itself_is_its_own():
    broken: list[int] = []

    def breaks():
        if broken:
            raise LookupError
        came.append(TEXT + "!")

    driver = opened(breaks)
    text = next(each for each in points(driver) if each.turns == 1)
    broken.append(1)
    with pytest.raises(StepRaisedError) as told:
        under(driver, [fault(text)], 1)
    assert isinstance(told.value.__cause__, LookupError)


def leaves_three_blocks(call, one):
    with one:
        call(None, None, None)
    with one as two, two(None, None, None):
        pass


def test_the_calls_that_leave_blocks_are_told_from_those_that_are_written():
    found = places.leaving_blocks(leaves_three_blocks.__code__)
    names = [each.opname for each in dis.get_instructions(leaves_three_blocks) if each.offset in found]
    assert sorted(names) == 3 * ["CALL"] + 3 * ["WITH_EXCEPT_START"]
