"""Memory outside malloc: mappings of the process, and what of it is resident."""

from __future__ import annotations

import os
from collections.abc import Callable

from leakcheck.agent.meters import Place, Read, Unavailable, reader
from leakcheck.agent.meters.heap import malloc_ledger
from leakcheck.agent.meters.pages import all_of_malloc_is_heap


def _statm() -> Callable[[int], float]:
    """A function that reads one field of /proc/self/statm in bytes: 0 all mappings, 1 resident, 2 shared of it."""
    try:
        descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Unavailable("needs /proc/self/statm (Linux)") from None
    page = os.sysconf("SC_PAGE_SIZE")
    return lambda field: int(os.pread(descriptor, 128, 0).split()[field]) * page


def _beyond_malloc(read: Read) -> Read:
    """What is read, less what malloc has from the system: again where malloc has taken some more meanwhile."""
    from_system = malloc_ledger()[1]

    def beyond() -> float:
        while True:
            before = from_system()
            total = read()
            if from_system() == before:
                return total - before

    return beyond


@reader("mapped.bytes")
def mapped_bytes(_: Place) -> Read:
    """Bytes mapped into the process, without those that malloc has (its free memory comes and goes)."""
    field = _statm()
    return _beyond_malloc(lambda: field(0))


@reader("private.bytes")
def private_bytes(_: Place) -> Read:
    """Private resident memory beyond what malloc has, where its pages cannot be told from others.

    Malloc's memory need not be resident, so the difference can be negative and it moves by megabytes.
    """
    if all_of_malloc_is_heap():
        raise Unavailable("anon.bytes has the same to the page")
    field = _statm()
    return _beyond_malloc(lambda: field(1) - field(2))


@reader("rss")
def resident_bytes(_: Place) -> Read:
    """Resident set size, what the operator sees: fragmentation and untouched memory make it secondary evidence."""
    field = _statm()
    return lambda: field(1)


@reader("peak")
def peak_bytes(_: Place) -> Read:
    """Highest resident set size so far."""
    import resource

    return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@reader("shm")
def shared_memory(_: Place) -> Read:
    """Resident shared memory: touched pages of shared anonymous mappings, of memory files, of /dev/shm.

    `RssShmem` of /proc/self/status, proc(5): it is in no other meter, for the resident size counts it as shared.
    """
    try:
        descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Unavailable("needs /proc/self/status (Linux)") from None
    buffer = bytearray(8192)

    def read() -> float:
        os.preadv(descriptor, [buffer], 0)
        start = buffer.index(b"RssShmem:") + 9
        return int(buffer[start : buffer.index(b"kB", start)]) * 1024

    try:
        read()
    except ValueError:
        raise Unavailable("the kernel does not tell RssShmem") from None
    return read


@reader("mappings")
def mapping_count(_: Place) -> Read:
    """Mappings, of which the system allows a process so many (vm.max_map_count): at the limit malloc fails too.

    They are counted where the size of all of them has changed; listing them takes 5 us each.
    """
    field = _statm()
    try:
        descriptor = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise Unavailable("needs /proc/self/maps (Linux)") from None
    buffer = bytearray(65536)
    counted = size = 0.0

    def read() -> float:
        nonlocal counted, size
        if field(0) != size:
            size = field(0)
            counted = position = 0
            while part := os.preadv(descriptor, [buffer], position):
                counted += buffer.count(b"\n", 0, part)
                position += part
        return counted

    return read
