"""What several tests of suites share."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from benchmarks.detection import planting


@pytest.fixture(scope="session")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an extension that has one planted fault of each kind."""
    folder = tmp_path_factory.mktemp("planted")
    planting.build_c("plain", folder)
    return folder


@pytest.fixture
def suite(tmp_path):
    """An empty project; returns a function that writes a file of tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def write(source: str, name: str = "test_it.py") -> Path:
        (tmp_path / name).write_text(textwrap.dedent(source))
        return tmp_path

    write.folder = tmp_path
    return write
