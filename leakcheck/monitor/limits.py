"""What a process may use: a number, `2 GiB`, the control group's limit (both versions), else the machine's memory."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_UNITS = {
    "": 1, "B": 1, "K": 1 << 10, "KB": 1000, "KIB": 1 << 10, "M": 1 << 20, "MB": 1000**2, "MIB": 1 << 20,
    "G": 1 << 30, "GB": 1000**3, "GIB": 1 << 30, "T": 1 << 40, "TB": 1000**4, "TIB": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*\Z")
NO_LIMIT = 1 << 60
"""Version 1 means "no limit" by any number of bytes from about here on: the end of 64 bits, in pages."""


class Limit(NamedTuple):
    """A ceiling and who set it."""

    value: float
    source: str
    """`given`, `cgroup v2`, `cgroup v1`, `machine`, `rlimit`."""


def parse_size(text: str | float) -> float:
    """Bytes of `2 GiB`, `500M`, `1e9` or a number. Raises `ValueError` with what is wrong."""
    if isinstance(text, int | float):
        value = float(text)
    elif match := _SIZE.match(text):
        unit = match[2].upper()
        if unit not in _UNITS:
            raise ValueError(f"limit {text!r}: unknown unit {match[2]!r}; write it as '2 GiB', '500 MB' or in bytes")
        value = float(match[1]) * _UNITS[unit]
    else:
        raise ValueError(f"limit {text!r}: not a size; write it as '2 GiB', '500 MB' or in bytes")
    if not 0 < value < float("inf"):
        raise ValueError(f"limit {text!r}: must be more than nothing")
    return value


def memory_limit(given: str | float | None = "cgroup", root: str = "/", pid: str = "self") -> Limit | None:
    """The memory limit of a process.

    `given` is a size, `cgroup` (its control group's limit, else the machine's memory) or None for none.
    """
    if given is None:
        return None
    if given != "cgroup":
        return Limit(parse_size(given), "given")
    return _lowest([*_group_limits(root, pid, "memory"), *_machine(root)])


def process_limit(root: str = "/", pid: str = "self") -> Limit | None:
    """How many tasks (threads and processes) the control group of a process may have."""
    return _lowest(_group_limits(root, pid, "pids"))


def descriptor_limit() -> Limit | None:
    """How many descriptors this process may open (soft limit)."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft in (resource.RLIM_INFINITY, -1) else Limit(float(soft), "rlimit")


_FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "cgroup v2": {"memory": ("memory.max", "memory.high"), "pids": ("pids.max",)},
    "cgroup v1": {"memory": ("memory.limit_in_bytes",), "pids": ("pids.max",)},
}


def _group_limits(root: str, pid: str, controller: str) -> list[Limit]:
    return [
        Limit(value, version)
        for version, folder in _folders(root, pid, controller)
        for name in _FILES[version][controller]
        if (value := _number(os.path.join(folder, name))) is not None
    ]


def _lowest(limits: list[Limit]) -> Limit | None:
    return min(limits, key=lambda limit: limit.value, default=None)


def _folders(root: str, pid: str, controller: str) -> list[tuple[str, str]]:
    """Folders of the process's control group and of all above it: the tightest limit holds.

    Inside a container the path in /proc is often the host's, and only the mount's own root can be read.
    """
    found = []
    for line in _lines(os.path.join(root, f"proc/{pid}/cgroup")):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if not names:
            version, base = "cgroup v2", os.path.join(root, "sys/fs/cgroup")
        elif controller in names.split(","):
            version, base = "cgroup v1", os.path.join(root, "sys/fs/cgroup", controller)
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        found += [(version, os.path.join(base, *parts[:depth])) for depth in range(len(parts), -1, -1)]
    return found


def _machine(root: str) -> list[Limit]:
    for line in _lines(os.path.join(root, "proc/meminfo")):
        if line.startswith("MemTotal:"):
            return [Limit(float(line.split()[1]) * 1024, "machine")]
    return []


def _number(path: str) -> float | None:
    text = "".join(_lines(path)).strip()
    if not text.isdigit() or int(text) >= NO_LIMIT:
        return None
    return float(text)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
