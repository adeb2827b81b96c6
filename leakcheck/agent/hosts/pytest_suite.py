"""The tests of a suite in the measured process, a few calls of each: what leaves nothing need not be judged.

pytest collects once. Each file then has a process of its own, a copy of this one, so that what one has changed is
nothing to the next. Fixtures of module and session scope are made once in it. Where threads run already, which a copy
would not have, all files share this process.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import sys
import threading
import time
import warnings
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from leakcheck.agent.channel import Channel
from leakcheck.agent.children import has_children
from leakcheck.agent.clock import own_clock
from leakcheck.agent.hosts.not_reached import TestNotReachedError
from leakcheck.agent.hosts.pytest_forgetting import Forgetting
from leakcheck.agent.hosts.pytest_protocol import Repeater, Step
from leakcheck.agent.hosts.pytest_start import run_pytest
from leakcheck.agent.meters import Place
from leakcheck.agent.meters.heap import plug_holes
from leakcheck.agent.meters.reading import Readings
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes.limited import emptying
from leakcheck.agent.probes.touched import PagesOfCalls
from leakcheck.agent.protocol import Open, Opened, ScreenTest, SuiteRequest, TestScreened
from leakcheck.agent.scenario import Context
from leakcheck.agent.screen import Meters, Screened, screen
from leakcheck.agent.session import describe_error
from leakcheck.agent.settle import Settler, resource_counts
from leakcheck.agent.step import run_plain

Request = tuple[str, list[Any]]

_PAGES = "anon.bytes"
_SLOW = (_PAGES, "disk.files")
"""Meters that are read before and after some calls, for they take as long as a test."""


def hold(channel: Channel, opening: Open, request_text: str) -> None:
    """Collect the suite of the request, and screen the tests that the parent names."""
    request = SuiteRequest(*json.loads(request_text))
    suite = _Suite(channel, opening, request.meters)
    run_pytest(request, suite)
    if suite.error is not None:
        raise suite.error
    if not suite.served:
        raise TestNotReachedError(*(suite.why_not or ("pytest did not collect the tests again",)))


class _Suite(Repeater):
    """The plugin that takes the place of pytest's main loop."""

    def __init__(self, channel: Channel, opening: Open, meters: Sequence[str]) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.served = False
        self.why_not: tuple[str, str] | None = None
        self._channel = channel
        self._opening = opening
        self._meters = meters
        self._items: dict[str, Any] = {}
        self._pid = 0
        """Of the process whose meters these are."""
        self._names: list[str] = []
        self._quick: list[Callable[[], float]] = []
        self._slow_before: list[Callable[[], float]] = []
        self._slow_after: list[Callable[[], float]] = []

    def pytest_internalerror(self, excrepr: Any) -> None:
        """Remember what broke."""
        self.why_not = "pytest failed", str(excrepr)[-4000:]

    def pytest_runtestloop(self, session: Any) -> bool:
        """Instead of running all tests once, run those for which the parent asks."""
        try:
            self._session = session
            self._items = {item.nodeid.partition("@")[0]: item for item in session.items}
            self.served = True
            self._serve()
        except BaseException as error:  # noqa: BLE001 - pytest would print it; it is for the parent
            self.error = error
        return True

    def _serve(self) -> None:
        channel = self._channel
        channel.send(Opened([], {}, sys.version, None, HERE.roots))
        gc.collect()
        gc.freeze()
        plug_holes()
        request = channel.receive()
        while request is not None and request[0] == ScreenTest.__name__:
            request = self._file(request) if threading.active_count() > 1 else self._in_a_copy(request)

    def _in_a_copy(self, request: Request) -> Request | None:
        """Screen the tests of one file in a copy of this process; returns the request that came after them.

        A copy that ends otherwise takes this process with it, in the same way: so the parent learns of it.
        """
        reads, writes = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if not pid:
            code = 1
            try:
                left = json.dumps(self._file(request))
                sys.stdout.flush()
                os.write(writes, left.encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writes)
        with open(reads, "rb") as pipe:
            left = pipe.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            os.kill(os.getpid(), -code)
        if code or not left:
            os._exit(code or 1)
        after: Request | None = json.loads(left)
        return after

    def _file(self, request: Request | None) -> Request | None:
        """Screen tests as long as they are of one file; returns the request that came after them."""
        path, item = None, None
        self._make_meters()
        while request is not None and request[0] == ScreenTest.__name__:
            wanted = ScreenTest(*request[1])
            item = self._items.get(wanted.nodeid)
            if item is not None and path not in (None, item.path):
                break
            try:
                path = path if item is None else item.path
                self._channel.send(self._screened(wanted, item))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a test raises becomes a result
                self._channel.fail(describe_error(error, "step"))
            request = self._channel.receive()
        self._tear_down(None)
        return request

    def _screened(self, wanted: ScreenTest, item: Any) -> TestScreened:
        if item is None:
            raise TestNotReachedError(f"pytest did not collect {wanted.nodeid} again")
        began = time.perf_counter()
        self._tear_down(item)
        forget = Forgetting(item, [item._fixtureinfo.name2fixturedefs])
        found: list[tuple[Screened, bool]] = []
        meters = self._meters_of_a_test()

        def work(run_once: Step) -> None:
            def step() -> None:
                run_once()
                forget({})

            found.append((screen(step, meters, emptying, own_clock()), has_children()))

        try:
            self.inside(item, copy.copy(item), work)
        finally:
            forget.end()
        ((seen, may_grow_elsewhere),) = found
        return TestScreened(
            flat=seen.flat and not may_grow_elsewhere,
            calls=seen.calls,
            growth={name: rate for name, rate in zip(self._names, seen.growth, strict=True) if rate},
            masked=dict(zip(self._names, seen.masked, strict=True)),
            seconds=time.perf_counter() - began,
        )

    def _make_meters(self) -> None:
        """Once in each process, for some of them hold files of /proc/self."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        context = Context(self._opening.directory)
        self._settler = Settler(context, "collect", resource_counts(False), False)
        readings = Readings(self._meters, context, Place(self._opening.directories, False))
        slow = [name for name in readings.readers if name in _SLOW]
        quick = [name for name in readings.readers if name not in _SLOW]
        self._names = [*quick, *slow]
        self._quick = [readings.readers[name] for name in quick]
        pages = {_PAGES: PagesOfCalls(readings.readers[_PAGES])} if _PAGES in slow else {}
        self._slow_before = [pages[name].begin if name in pages else readings.readers[name] for name in slow]
        self._slow_after = [pages[name].end if name in pages else readings.readers[name] for name in slow]

    def _tear_down(self, following: Any) -> None:
        """End fixtures of wider scope that the test that comes now does not need; what they raise is nobody's here."""
        with suppress(Exception):  # the user has seen it in the plain run
            self._session._setupstate.teardown_exact(following)

    def _meters_of_a_test(self) -> Meters:
        """Settle and read; from the first reading on, all that was there by then is out of the collector's way."""
        settler, first = self._settler, True
        settler.begin()

        def read_before(into: array[float], at: int) -> None:
            nonlocal first
            run_plain(settler.settle(give_back=False))
            if first:
                gc.freeze()
                first = False
            for index, each in enumerate(self._slow_before, at):
                into[index] = each()

        def read_after(into: array[float], at: int) -> None:
            for index, each in enumerate(self._slow_after, at):
                into[index] = each()

        def read(into: array[float], at: int) -> None:
            run_plain(settler.settle(give_back=False))
            for index, each in enumerate(self._quick, at):
                into[index] = each()

        return Meters(len(self._quick), read, len(self._slow_before), read_before, read_after)
