"""`TransactionScope`: a `with` block made of a generator, entered and left by native code."""

import traceback
import weakref
from collections.abc import Generator
from typing import Any

import pytest

from elkyn._native import TransactionScope


def _recorded(steps: list[str]) -> Generator[str, None, None]:
    steps.append("entered")
    try:
        yield "what is yielded"
    except BaseException as error:
        steps.append(type(error).__name__)
        raise
    finally:
        steps.append("left")


def test_it_gives_what_the_generator_yields_and_goes_on_with_it_at_the_end() -> None:
    steps: list[str] = []
    with TransactionScope(_recorded(steps)) as entered:
        assert entered == "what is yielded"
        assert steps == ["entered"]
    assert steps == ["entered", "left"]


@pytest.mark.parametrize("kind", [ValueError, StopIteration, RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_an_error_of_the_block_passes_the_generator_and_comes_out_as_it_was(kind: type[BaseException]) -> None:
    steps: list[str] = []
    raised = kind("of the block")
    with pytest.raises(kind) as caught, TransactionScope(_recorded(steps)):
        raise raised
    assert caught.value is raised
    assert raised.__cause__ is None
    assert steps == ["entered", kind.__name__, "left"]
    lines = [frame.name for frame in traceback.extract_tb(raised.__traceback__)]
    assert "_recorded" not in lines


def test_a_generator_may_swallow_the_error_or_raise_another() -> None:
    def swallowing() -> Generator[None, None, None]:
        try:
            yield
        except ValueError:
            pass

    def other() -> Generator[None, None, None]:
        try:
            yield
        except ValueError as error:
            raise KeyError("another") from error

    with TransactionScope(swallowing()):
        raise ValueError
    with pytest.raises(KeyError, match="another") as caught, TransactionScope(other()):
        raise ValueError("the first")
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_of_the_generator_itself_comes_out() -> None:
    def failing_first() -> Generator[None, None, None]:
        raise OSError("before the block")
        yield

    def failing_last() -> Generator[None, None, None]:
        yield
        raise OSError("after the block")

    with pytest.raises(OSError, match="before the block"), TransactionScope(failing_first()):
        pytest.fail("the block was run")
    with pytest.raises(OSError, match="after the block"), TransactionScope(failing_last()):
        pass


def test_a_generator_that_does_not_yield_once_is_refused() -> None:
    def never() -> Generator[None, None, None]:
        return
        yield

    def twice() -> Generator[None, None, None]:
        yield
        yield

    def again() -> Generator[None, None, None]:
        try:
            yield
        except ValueError:
            yield

    with pytest.raises(RuntimeError, match="did not yield"), TransactionScope(never()):
        pytest.fail("the block was run")
    with pytest.raises(RuntimeError, match="did not stop"), TransactionScope(twice()):
        pass
    with pytest.raises(RuntimeError, match="did not stop"), TransactionScope(again()):
        raise ValueError


@pytest.mark.parametrize("arguments", [(), (1,), (iter([1]),), (_recorded([]), 2)])
def test_it_takes_one_generator(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        TransactionScope(*arguments)
    with pytest.raises(TypeError):
        TransactionScope(steps=_recorded([]))  # type: ignore[call-arg]


def test_nothing_of_it_stays() -> None:
    class Kept:
        pass

    def holding(kept: Kept) -> Generator[Kept, None, None]:
        yield kept

    kept = Kept()
    gone = weakref.ref(kept)
    with pytest.raises(ValueError, match="x"), TransactionScope(holding(kept)):
        raise ValueError("x")
    with TransactionScope(holding(kept)):
        pass
    del kept
    assert gone() is None
