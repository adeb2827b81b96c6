"""A store that does not wait for the disk, and one whose dispatcher is held up."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stalling import Stall

import elkyn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[elkyn.Store]:
    """An open store in a fresh directory."""
    with elkyn.open(tmp_path / "data", durability="none") as opened:
        yield opened


@pytest.fixture
def stalled(store: elkyn.Store) -> Iterator[Stall]:
    """A handler on the dispatcher thread that waits until it is released."""
    stall = Stall(store)
    yield stall
    stall.release()
