"""Which descriptors, threads, tasks, children, mappings and files stay, and after which line each of them came.

Each kind that grows is watched line by line over a short stretch. What has gone again by its end is forgotten; what
stays is described by what the system and the interpreter say of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

from leakcheck.agent.children import child_pids
from leakcheck.agent.inquiry import Arrival, KeptResource, Resources, Stack, Thing, WatchResources
from leakcheck.agent.meters.system import named_memory
from leakcheck.agent.origin import HERE
from leakcheck.agent.probes import waiting
from leakcheck.agent.probes.touched import after_faults
from leakcheck.agent.probes.watch import Addition, Callees, Ledger, Watch, in_time, lasting

if TYPE_CHECKING:
    from leakcheck.agent.session import Conversation

_MOST_DESCRIBED = 5
"""Things of one line that are described."""
_MOST_STACKS = 6
"""Lines of one meter that are reported."""
_WAIT = ("threads", "tasks")
"""Kinds of things that may wait for ever."""
_SYSTEM = ("/dev/", "/lib", "/proc/", "/sys/", "/usr/")
"""Where files lie that are not the program's data."""
_LONGEST_ENDING = 8
"""Characters of a file's ending, with its dot, that names a kind of file: `.sqlite`."""


async def answer(conversation: Conversation, question: WatchResources) -> Resources:
    """What stayed, by meter."""
    driver, settler = conversation.driver, conversation.settler
    await driver.run(question.warm)
    found: dict[str, KeptResource] = {}
    for kind, iterations in question.kinds.items():
        await settler.settle()
        reader = _reader(conversation, kind)
        if reader is None:
            continue
        before = reader()
        sizes = _sizes(conversation, kind)
        if isinstance(before, frozenset):
            with Watch(reader) as watch:
                iterations = await in_time(driver, iterations)
            await settler.settle()
            after = reader()
            kept = _kept_things(watch.additions, before, after)
            describe = _describer(kind, question.values, waiting.of_step(conversation) if kind in _WAIT else {})
            found[kind] = KeptResource(_grouped(kept, iterations, describe))
        else:
            with Ledger(reader) as ledger:
                await driver.run(3)
                ledger.clear()
                iterations = await in_time(driver, iterations)
                sums = ledger.sums()
            grown = _grown(sizes, _sizes(conversation, kind))
            names = grown if question.values else dict.fromkeys(map(_outline_of_file, grown))
            with Callees(reader) as callees:
                await driver.run(iterations)
            arrivals = tuple(
                each._replace(function=callees.at(each.stack[0])) if each.stack else each
                for each in _net(sums, iterations)
            )
            found[kind] = KeptResource(arrivals, tuple(names))
    return Resources(found)


def _reader(conversation: Conversation, kind: str) -> Callable[[], Any] | None:
    """A set of what is there where things can be told apart, else the meter's own number."""
    directories = conversation.directories
    sets: dict[str, Callable[[], frozenset[Any]]] = {
        "fds": _descriptors,
        "threads": lambda: frozenset(os.listdir("/proc/self/task")),
        "py.threads": lambda: frozenset(threading._active),  # type: ignore[attr-defined]
        "children": lambda: frozenset(child_pids()),
        "tasks": _tasks,
        "disk.files": lambda: _files(directories),
    }
    if kind in sets:
        return sets[kind]
    read = conversation.readings.reader(kind)
    return after_faults(read) if kind == "anon.bytes" and read is not None else read


def _descriptors() -> frozenset[int]:
    """Open descriptors. The one that lists them is gone when the list is looked at, but for its number."""
    listing = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return frozenset(int(name) for name in os.listdir(listing)) - {listing} - _duplicate_of(listing)
    finally:
        os.close(listing)


def _duplicate_of(listing: int) -> set[int]:
    """`os.listdir` reads through a copy of the descriptor, the lowest number that is free."""
    probe = os.dup(listing)
    os.close(probe)
    return {probe}


def _tasks() -> frozenset[int]:
    import asyncio

    return frozenset(map(id, asyncio.all_tasks()))


def _files(directories: list[str]) -> frozenset[str]:
    found = []
    for directory in directories:
        for folder, folders, files in os.walk(directory):
            found += [os.path.join(folder, name) for name in (*folders, *files)]
    return frozenset(found + named_memory())


def _kept_things(additions: list[Addition], before: frozenset[Hashable], after: frozenset[Hashable]) -> list[Addition]:
    there = after - before
    kept = [each for each in lasting(additions) if each.thing in there]
    seen = {each.thing for each in kept}
    return kept + [Addition(thing, 1, ()) for thing in there - seen]


def _grouped(kept: list[Addition], iterations: int, describe: Callable[[Any], Thing]) -> tuple[Arrival, ...]:
    groups: dict[Any, list[Addition]] = {}
    for each in kept:
        groups.setdefault(each.stack, []).append(each)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))[:_MOST_STACKS]
    return tuple(
        Arrival(stack, len(members) / iterations, tuple(describe(each.thing) for each in members[-_MOST_DESCRIBED:]))
        for stack, members in ordered
    )


def _net(sums: list[tuple[Stack, float]], iterations: int) -> tuple[Arrival, ...]:
    """Numbers: what each line brought, less what it took; lines that the user's code leads to come first.

    A test runner takes on one line what it gives back on another, and more of it than a leak brings.
    """
    ordered = sorted(sums, key=lambda each: not any(HERE.rank(place[0]) == 0 for place in each[0]))
    return tuple(Arrival(stack, amount / iterations) for stack, amount in ordered[:_MOST_STACKS] if amount > 0)


def _describer(kind: str, values: bool, for_ever: Mapping[int, str]) -> Callable[[Any], Thing]:
    """How a thing is told: with what the program's data name it by, or without; and what it waits for in vain."""
    described = _describe_task(values) if kind == "tasks" else _describer_of(kind, values)

    def describe(thing: Any) -> Thing:
        found, awaited = described(thing), for_ever.get(int(thing)) if kind in _WAIT else None
        return found._replace(text=f"{found.text}{waiting.IN_VAIN.format(awaited)}") if awaited else found

    return describe


def _describer_of(kind: str, values: bool) -> Callable[[Any], Thing]:
    describers: dict[str, Callable[[Any, bool], Thing]] = {
        "fds": _describe_descriptor,
        "threads": _describe_thread,
        "py.threads": _describe_python_thread,
        "children": _describe_child,
    }
    describe = describers.get(kind, _describe_file)
    return lambda thing: describe(thing, values)


def _describe_file(path: str, values: bool) -> Thing:
    return Thing("", path if values else _outline_of_file(path))


def _outline_of_file(path: str) -> str:
    """A file that belongs to the system or to a package by its path, another by the ending of its name."""
    known = path.startswith(_SYSTEM) and not path.startswith("/dev/shm/")  # noqa: S108 - shared memory is the program's
    if not path.startswith("/") or known or HERE.rank(path):
        return path
    ending = os.path.splitext(path.removesuffix(" (deleted)"))[1]
    kind = f" *{ending}" if ending[1:].isalpha() and len(ending) <= _LONGEST_ENDING else ""
    ours = os.path.dirname(os.environ.get("TMPDIR", ""))
    return f"a file{kind}{' in the temporary folder' if ours and path.startswith(f'{ours}/') else ''}"


def _describe_descriptor(number: int, values: bool) -> Thing:
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return Thing("descriptor", f"descriptor {number}")
    kind = target.partition(":")[0] if ":[" in target else "anonymous" if target.startswith("anon_inode") else "file"
    if kind == "socket":
        target = _socket_of(target.partition("[")[2].rstrip("]"), values) or target
    elif not values:
        target = _outline_of_file(target)
    return Thing(kind, target)


def _socket_of(inode: str, values: bool) -> str:
    """Protocol and peer of a socket, from the tables of the kernel; without values the peer's port alone."""
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for fields in _table(f"/proc/self/net/{protocol}"):
            if len(fields) > 9 and fields[9] == inode:
                if not values:
                    return f"{protocol} socket to port {_address(fields[2]).rpartition(':')[2]}"
                return f"{protocol} socket {_address(fields[1])} to {_address(fields[2])}"
    for fields in _table("/proc/self/net/unix"):
        if len(fields) > 6 and fields[6] == inode:
            if len(fields) <= 7:
                return "unix socket without a name"
            return f"unix socket {fields[7]}" if values else "unix socket with a name"
    return ""


def _table(path: str) -> list[list[str]]:
    try:
        with open(path) as file:
            return [line.split() for line in file]
    except OSError:
        return []


def _address(text: str) -> str:
    host, _, port = text.partition(":")
    if len(host) == 8:
        octets = [str(int(host[index : index + 2], 16)) for index in (6, 4, 2, 0)]
        host = ".".join(octets)
    return f"{host}:{int(port, 16)}"


def _describe_thread(tid: str, values: bool) -> Thing:
    for thread in threading.enumerate():
        if str(thread.native_id) == tid:
            return _named_thread(thread, values)
    try:
        with open(f"/proc/self/task/{tid}/comm") as file:
            name = file.read().strip() if values else ""
    except OSError:
        name = ""
    return Thing("of native code", f"thread {tid} {name}".strip())


def _describe_python_thread(ident: int, values: bool) -> Thing:
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    return _named_thread(thread, values) if thread is not None else Thing("", f"thread {ident}")


def _named_thread(thread: threading.Thread, values: bool) -> Thing:
    target = getattr(thread, "_target", None)
    name = getattr(target, "__qualname__", "") or type(thread).__qualname__
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and HERE.standard(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    where = (
        "" if frame is None else f", now in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    )
    return Thing(f"running {name}", f"{thread.name if values else 'thread'}: {name}{where}")


def _describe_child(pid: int, values: bool) -> Thing:
    try:
        with open(f"/proc/{pid}/stat") as file:
            after = file.read().rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
    except OSError:
        return Thing("child", f"process {pid}")
    state = after[2].split()[0]
    command = " ".join(words).strip() if values else os.path.basename(words[0])
    name = command or after[0].partition("(")[2]
    kind = "zombie, ended but not waited for" if state == "Z" else "running"
    return Thing(kind, f"{name} ({kind})")


def _describe_task(values: bool) -> Callable[[Any], Thing]:
    import asyncio

    tasks = {id(task): task for task in asyncio.all_tasks()}

    def describe(identity: int) -> Thing:
        task = tasks.get(identity)
        coroutine = task.get_coro() if task is not None else None
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        if task is None or code is None:
            return Thing("task", "a task")
        where = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
        return Thing(code.co_qualname, f"{task.get_name() if values else 'task'}: {code.co_qualname} ({where})")

    return describe


def _sizes(conversation: Conversation, kind: str) -> dict[str, int]:
    """The parts of a number of bytes that have names."""
    if kind == "mapped.bytes":
        return _mappings()
    if kind != "disk.bytes":
        return {}
    sizes = {}
    for path in _files(conversation.directories):
        with contextlib.suppress(OSError):
            sizes[path] = os.stat(path).st_size
    return sizes


def _mappings() -> dict[str, int]:
    """Bytes mapped, by file (or by what the kernel calls it)."""
    sizes: dict[str, int] = {}
    with open("/proc/self/maps") as file:
        for line in file:
            fields = line.split(None, 5)
            first, _, last = fields[0].partition("-")
            name = fields[5].strip() if len(fields) > 5 else "anonymous"
            sizes[name] = sizes.get(name, 0) + int(last, 16) - int(first, 16)
    return sizes


def _grown(before: dict[str, int], after: dict[str, int]) -> tuple[str, ...]:
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    return tuple(name for name, more in sorted(grown.items(), key=lambda item: -item[1])[:3] if more > 0)
