"""Which descriptors, threads, tasks, children, mappings and files stay, and after which line each of them came.

Each kind that grows is watched line by line over a short stretch. What has gone again by its end is forgotten; what
stays is described by what the system and the interpreter say of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any

from leakcheck.agent import origin
from leakcheck.agent.meters.disk import named_memory
from leakcheck.agent.meters.system import child_pids
from leakcheck.agent.probes.watch import Addition, Ledger, Place, Watch, lasting

_MOST_DESCRIBED = 5
_MOST_STACKS = 6


async def probe(conversation: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: `warm`, and `kinds`: a number of iterations for each meter. Answers what stayed, by meter."""
    driver, settler = conversation.driver, conversation.settler
    await driver.run(arguments["warm"])
    found: dict[str, Any] = {}
    for kind, iterations in arguments["kinds"].items():
        await settler.settle()
        reader = _reader(conversation, kind)
        if reader is None:
            continue
        before = reader()
        sizes = _sizes(conversation, kind)
        if isinstance(before, frozenset):
            with Watch(reader, origin.standard, origin.own) as watch:
                await driver.run(iterations)
            await settler.settle()
            after = reader()
            kept = _kept_things(watch.additions, before, after)
            entry = {"count": len(after - before) / iterations, "stacks": _grouped(kept, kind, iterations)}
        else:
            with Ledger(reader, origin.standard, origin.own) as ledger:
                await driver.run(3)
                ledger.clear()
                await driver.run(iterations)
                sums = ledger.sums()
            entry = {"stacks": _net(sums, iterations)}
            entry["grown"] = _grown(sizes, _sizes(conversation, kind))
        found[kind] = entry
    return {"kinds": found, "iterations": driver.iterations}


def _reader(conversation: Any, kind: str) -> Callable[[], Any] | None:
    """A set of what is there where things can be told apart, else the meter's own number."""
    directories = conversation.options["directories"]
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
    return next((meter.read for meter in conversation.readings.meters if meter.name == kind), None)


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


def _grouped(kept: list[Addition], kind: str, iterations: int) -> list[dict[str, Any]]:
    groups: dict[Any, list[Addition]] = {}
    for each in kept:
        groups.setdefault(each.stack, []).append(each)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))[:_MOST_STACKS]
    describe = _describer(kind)
    return [
        {
            "stack": list(map(list, stack)),
            "count": len(members) / iterations,
            "things": [describe(each.thing) for each in members[-_MOST_DESCRIBED:]],
        }
        for stack, members in ordered
    ]


def _net(sums: list[tuple[tuple[Place, ...], float]], iterations: int) -> list[dict[str, Any]]:
    """Numbers: what each line brought, less what it took; lines that the user's code leads to come first.

    A test runner takes on one line what it gives back on another, and more of it than a leak brings.
    """
    ordered = sorted(sums, key=lambda each: not any(origin.rank(place[0]) == 0 for place in each[0]))
    return [
        {"stack": list(map(list, stack)), "count": amount / iterations, "things": []}
        for stack, amount in ordered[:_MOST_STACKS]
        if amount > 0
    ]


def _describer(kind: str) -> Callable[[Any], dict[str, str]]:
    if kind == "tasks":
        return _describe_task()
    describers: dict[str, Callable[[Any], dict[str, str]]] = {
        "fds": _describe_descriptor,
        "threads": _describe_thread,
        "py.threads": _describe_python_thread,
        "children": _describe_child,
    }
    return describers.get(kind, lambda thing: {"kind": "", "text": str(thing)})


def _describe_descriptor(number: int) -> dict[str, str]:
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return {"kind": "descriptor", "text": f"descriptor {number}"}
    kind = target.partition(":")[0] if ":[" in target else "anonymous" if target.startswith("anon_inode") else "file"
    if kind == "socket":
        target = _socket_of(target.partition("[")[2].rstrip("]")) or target
    return {"kind": kind, "text": target}


def _socket_of(inode: str) -> str:
    """Protocol and peer of a socket, from the tables of the kernel."""
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for fields in _table(f"/proc/self/net/{protocol}"):
            if len(fields) > 9 and fields[9] == inode:
                return f"{protocol} socket {_address(fields[1])} to {_address(fields[2])}"
    for fields in _table("/proc/self/net/unix"):
        if len(fields) > 6 and fields[6] == inode:
            return f"unix socket {fields[7]}" if len(fields) > 7 else "unix socket without a name"
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


def _describe_thread(tid: str) -> dict[str, str]:
    for thread in threading.enumerate():
        if str(thread.native_id) == tid:
            return _named_thread(thread)
    try:
        with open(f"/proc/self/task/{tid}/comm") as file:
            name = file.read().strip()
    except OSError:
        name = ""
    return {"kind": "of native code", "text": f"thread {tid} {name}".strip()}


def _describe_python_thread(ident: int) -> dict[str, str]:
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    return _named_thread(thread) if thread is not None else {"kind": "", "text": f"thread {ident}"}


def _named_thread(thread: threading.Thread) -> dict[str, str]:
    target = getattr(thread, "_target", None)
    name = getattr(target, "__qualname__", "") or type(thread).__qualname__
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and origin.standard(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    where = (
        "" if frame is None else f", now in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    )
    return {"kind": f"running {name}", "text": f"{thread.name}: {name}{where}"}


def _describe_child(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            after = file.read().rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return {"kind": "child", "text": f"process {pid}"}
    state = after[2].split()[0]
    name = command or after[0].partition("(")[2]
    kind = "zombie, ended but not waited for" if state == "Z" else "running"
    return {"kind": kind, "text": f"{name} ({kind})"}


def _describe_task() -> Callable[[int], dict[str, str]]:
    import asyncio

    tasks = {id(task): task for task in asyncio.all_tasks()}

    def describe(identity: int) -> dict[str, str]:
        task = tasks.get(identity)
        coroutine = task.get_coro() if task is not None else None
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        if task is None or code is None:
            return {"kind": "task", "text": "a task"}
        where = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
        return {"kind": code.co_qualname, "text": f"{task.get_name()}: {code.co_qualname} ({where})"}

    return describe


def _sizes(conversation: Any, kind: str) -> dict[str, int]:
    """The parts of a number of bytes that have names."""
    if kind == "mapped.bytes":
        return _mappings()
    if kind != "disk.bytes":
        return {}
    sizes = {}
    for path in _files(conversation.options["directories"]):
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


def _grown(before: dict[str, int], after: dict[str, int]) -> list[str]:
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    return [name for name, more in sorted(grown.items(), key=lambda item: -item[1]) if more > 0][:3]
