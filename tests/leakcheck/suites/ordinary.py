"""Tests as they are everywhere, none of which leaks: what pytest keeps of each run is not theirs to pay for."""

import asyncio
import logging
import unittest
import warnings

import pytest


def test_nothing():
    pass


def test_log():
    logging.getLogger("service").warning("started %s", 1)


def test_caplog(caplog):
    logging.getLogger("service").warning("started")
    assert caplog.messages == ["started"]


def test_print():
    print("some output")


def test_capsys(capsys):
    print("some output")
    assert capsys.readouterr().out == "some output\n"


def test_tmp_path(tmp_path):
    (tmp_path / "file").write_text("content")


def test_monkeypatch(monkeypatch):
    monkeypatch.setenv("NAME", "value")


def test_warning():
    warnings.warn("old", stacklevel=1)


@pytest.mark.parametrize("value", ["plain", "a::b/[c]"])
def test_parameter(value):
    assert value


@pytest.fixture(scope="session")
def connection():
    return []


@pytest.fixture
def cursor(connection):
    yield object()
    connection.clear()


def test_fixtures_of_several_scopes(cursor, connection, record_property):
    record_property("key", "value")
    assert connection == []


class TestMethods:
    def test_method(self):
        self.attribute = bytes(1000)


class CaseTest(unittest.TestCase):
    def setUp(self):
        self.value = 1
        self.addCleanup(str)

    def test_case(self):
        with self.subTest("inner"):
            assert self.value == 1


@pytest.mark.asyncio
async def test_asyncio():
    await asyncio.sleep(0)


@pytest.mark.anyio
async def test_anyio():
    await asyncio.sleep(0)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    (folder / "file").write_text("text")
    return folder


def test_folders_of_the_factory(tmp_path_factory, shared):
    (tmp_path_factory.mktemp("own") / "file").write_text("text")
    assert (shared / "file").read_text() == "text"
