"""The agent in a process of a measured program: a thread that waits until somebody measures, and answers then.

Each process of the program loads this before the user's code, so it loads next to nothing itself: what answers is
loaded when the first question comes, and a process that ends before has paid for a thread. The user's code may
replace sockets and threads by others of its own (gevent does): so what the thread needs is bound here. A process that
forks lets the thread end before, and both sides start one of their own after: a fork beside a thread is warned of, and
could meet that thread while it holds a lock.

A fresh interpreter loads this file by its path, as a module without a package: it imports nothing of ours at first.
"""

from __future__ import annotations

import os
import select
import sys
import time
from _thread import get_native_id, start_new_thread

TYPE_CHECKING = False  # of `typing`, which takes longer to import than an interpreter to start
if TYPE_CHECKING:
    import types
    from collections.abc import Callable, MutableMapping
    from typing import Any

VARIABLE = "LEAKCHECK_AGENTS"
"""Environment variable of a measured program: the socket where its processes are waited for, and when to go there."""
PRELOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "preload")
"""Folder of the module that loads this one into a fresh interpreter."""
_AT_ONCE = "at once"
_TRY_APART_S = 0.05
"""Seconds before a process looks for the first time whether it is measured: most that start and end within one call of
a step do not live to that. The next looks are twice as far apart each."""
_MOST_APART_S = 0.2
"""A look is a refused connection, some 20 us: several of them a second are nothing."""
_MOST_WAITING = 4096
"""Connections that are not accepted yet: one a process."""
_THREAD_ENDS_S = 1.0
"""Seconds that a fork waits for the thread to end, which takes some 0.1 ms, and 30 ms where it is just loading."""
_LOOK_APART_S = 0.0001
"""Seconds between two looks at whether it has."""

_sleep, _now, _poll = time.sleep, time.monotonic, select.poll


class _Resident:
    """One process's connection to whoever measures, and the thread that serves it."""

    def __init__(self, address: str, *, at_once: bool, once: bool, forked_in: types.FrameType | None = None) -> None:
        self._address = address
        self._once = once
        """Whether it ends when whoever measures has gone, and does not wait for another."""
        self._forked_in = forked_in
        """What ran when this process was forked; None where it was not."""
        self._socket: Any = None
        self._answering: Any = None
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._inode = os.fstat(self._wake_read).st_ino
        self._busy = self._paused = False
        self._thread = 0
        """As the kernel numbers it; 0 while it has not begun."""
        if at_once:
            self._connect()

    def start(self) -> None:
        """Wait for questions from now on."""
        self._thread = 0
        start_new_thread(self._serve, ())

    def pause(self) -> None:
        """End the thread, unless it is answering: then it is itself the one that forks, or is not waited for."""
        if self._busy or self._paused or self._was_closed():
            return
        self._paused = True
        os.write(self._wake, b"x")
        until = _now() + _THREAD_ENDS_S
        while (not self._thread or os.path.exists(f"/proc/self/task/{self._thread}")) and _now() < until:
            _sleep(_LOOK_APART_S)

    def resume(self) -> None:
        """Start the thread again that `pause` has ended."""
        if not self._paused:
            return
        self._paused = False
        try:
            os.read(self._wake_read, 1)  # it has not come to see that it should end: now it need not
        except BlockingIOError:
            self.start()

    def drop(self) -> None:
        """Close what a child has inherited; the connection is its parent's."""
        if self._was_closed():
            return
        if self._socket is not None:
            self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake)

    def _serve(self) -> None:
        self._thread = get_native_id()
        waiting = _poll()
        waiting.register(self._wake_read, select.POLLIN)
        if self._socket is not None:
            waiting.register(self._socket.fileno(), select.POLLIN)
        apart = _TRY_APART_S
        while True:
            ready = dict(waiting.poll(apart * 1000 if self._socket is None else None))
            if self._was_closed():
                return
            if self._wake_read in ready:
                try:
                    os.read(self._wake_read, 1)
                except BlockingIOError:  # it was taken back
                    continue
                except OSError:  # closed since it was looked at
                    pass
                return
            if self._socket is not None:
                descriptor = self._socket.fileno()
                if not self._answer():
                    if self._once:
                        return
                    waiting.unregister(descriptor)
                continue
            try:
                if _main_thread_is_known():
                    waiting.register(self._connect(), select.POLLIN)
            except OSError:  # nobody measures yet, or too many come at once
                apart = min(2 * apart, _MOST_APART_S)

    def _connect(self) -> int:
        """Returns the descriptor. Raises `OSError` where nobody waits for it."""
        from _socket import AF_UNIX, SOCK_STREAM, socket

        connection = socket(AF_UNIX, SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect("\0" + self._address)
            connection.setblocking(True)
            connection.send(f"[{os.getpid()}, {'false' if self._forked_in is None else 'true'}]\n".encode())
        except OSError:
            connection.close()
            raise
        self._socket = connection
        return int(connection.fileno())

    def _answer(self) -> bool:
        """Answer one question; false where no more will come."""
        more = False
        try:
            if self._answering is None:
                self._answering = _loaded()(self._socket.fileno(), self._forked_in)
            self._busy = True
            more = bool(self._answering.next())
        except (OSError, ImportError, SystemExit):
            pass  # whoever measured has gone, or the program has another version of ours
        finally:
            self._busy = False
        if not more:
            if self._answering is not None:
                self._answering.close()
            self._socket.close()
            self._socket = self._answering = None
        return more

    def _was_closed(self) -> bool:
        """Whether the program has closed all descriptors, as a daemon does; then the numbers may be other files'."""
        try:
            return os.fstat(self._wake_read).st_ino != self._inode
        except OSError:
            return True


def _main_thread_is_known() -> bool:
    """Whether `threading` has been imported; where it has not, the main thread will import it as soon as it runs.

    Before Python 3.13 it takes whichever thread imports it for the main thread, for whose end the interpreter waits.
    """
    if sys.version_info >= (3, 13) or "threading" in sys.modules:
        return True
    if not _in_main_thread:
        import ctypes

        def import_it(_: object) -> int:
            __import__("threading")
            return 0

        _in_main_thread.append(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(import_it))
        ctypes.pythonapi.Py_AddPendingCall(_in_main_thread[0], None)
    return False


_in_main_thread: list[Any] = []
"""Keeps alive what the interpreter will call."""


def _loaded() -> Any:
    """What answers, from the package that this file is a part of, whether that can be imported here or not."""
    if "leakcheck" not in sys.modules:
        from importlib.util import module_from_spec, spec_from_file_location

        package = __file__
        for _ in range(3):
            package = os.path.dirname(package)
        spec = spec_from_file_location("leakcheck", os.path.join(package, "__init__.py"))
        if spec is None or spec.loader is None:
            raise ImportError(package)
        found = module_from_spec(spec)
        sys.modules["leakcheck"] = found
        spec.loader.exec_module(found)
    from importlib import import_module

    return import_module("leakcheck.agent.processes.answering").Answering


_resident: _Resident | None = None
_address = ""
"""Where the children of this process are waited for; empty where they are not."""
_at_once = False
_hooked = False
"""Whether forks are followed: such hooks stay for ever."""
dropped_in_child: list[Callable[[], object]] = []
"""Called in a child that was forked, once: what it has inherited and is no use to it."""


def listen(address: str) -> Any:
    """A socket at which processes of that address are waited for. Its name is no file, and gone with this process."""
    from _socket import AF_UNIX, SOCK_STREAM, socket

    listening = socket(AF_UNIX, SOCK_STREAM)
    listening.bind("\0" + address)
    listening.listen(_MOST_WAITING)
    listening.setblocking(False)
    return listening


def listen_for_children() -> Any:
    """A socket at which the children of this process come, which look now and then whether somebody listens."""
    return listen(_address)


def announce(environment: MutableMapping[str, str], address: str, *, at_once: bool = False) -> None:
    """Have the agent in each Python process that is started with this environment."""
    path = environment.get("PYTHONPATH", "")
    if PRELOAD not in path.split(os.pathsep):
        environment["PYTHONPATH"] = os.pathsep.join([PRELOAD, path] if path else [PRELOAD])
    environment[VARIABLE] = f"{address} {_AT_ONCE}" if at_once else address


def conceal(environment: MutableMapping[str, str]) -> None:
    """Take back what `announce` has done: Python processes with this environment are nobody's to measure."""
    environment.pop(VARIABLE, None)
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    if PRELOAD in path:
        path.remove(PRELOAD)
        environment["PYTHONPATH"] = os.pathsep.join(path)
        if not any(path):
            del environment["PYTHONPATH"]


def expect_children() -> None:
    """Have the agent in all processes that this one forks or starts from now on, and not in itself."""
    if not _address:
        _follow(f"leakcheck-{os.urandom(16).hex()}", at_once=False)
    announce(os.environ, _address)


def expect_no_children() -> None:
    """Take that back: what this process forks is a copy of it, and what is started then is nobody's to measure."""
    global _address
    _address = ""
    conceal(os.environ)


def begin(said: str) -> None:
    """Serve whoever measures from now on, in the children of this process too; `said` is the variable's value."""
    global _resident
    address, _, when = said.partition(" ")
    if when == _AT_ONCE:
        _loaded().put_aside()
    _resident = _Resident(address, at_once=when == _AT_ONCE, once=when == _AT_ONCE)
    _resident.start()
    _follow(address, at_once=when == _AT_ONCE)


def join(address: str) -> None:
    """Serve whoever waits at an address now, until that has gone; children of this process are left alone."""
    global _resident
    first = _resident is None
    _resident = _Resident(address, at_once=False, once=True)
    _resident.start()
    if first:
        _follow("", at_once=False)


def _follow(address: str, *, at_once: bool) -> None:
    global _address, _at_once, _hooked
    _address, _at_once = address, at_once
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _before_fork() -> None:
    if _resident is not None:
        _resident.pause()


def _after_fork() -> None:
    if _resident is not None:
        _resident.resume()


def _in_child() -> None:
    global _resident, _address
    if _resident is not None:
        _resident.drop()
    while dropped_in_child:
        dropped_in_child.pop()()
    if not _address:
        return
    try:
        _resident = _Resident(_address, at_once=_at_once, once=_at_once, forked_in=sys._getframe().f_back)
        _resident.start()
    except OSError:  # nobody measures any more
        _resident, _address = None, ""
