"""The pages of an LMDB file, looked at without LMDB, which follows what is in them also where it leads out of the file.

The layout is that of LMDB 0.9 (mdb.c: MDB_page, MDB_meta, MDB_node) on a 64-bit little-endian machine. Two meta pages
stand in front, of which the one with the higher transaction number is in force; it names the roots of two trees, the
free list and the data. Everything read here is checked against the file's size before it is used.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from elkyn.errors import StorageError

_MAGIC, _VERSION = 0xBEEFC0DE, 1  # by which LMDB knows its own
_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, lower, upper
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct(
    "<IHHQQQQQ"
)  # padding (of the first one: bytes of a page), flags, depth, pages of 3 kinds, entries, root
_TAIL = struct.Struct("<QQ")  # last page, transaction
_NODE = struct.Struct("<HHHH")  # size or page (low and high half), flags or page, bytes of the key
_NOWHERE = 2**64 - 1  # the root of an empty tree
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8  # flags of a page
_BIG = 1  # a node's value lies in pages of its own
_SMALLEST, _LARGEST = 512, 65536  # bytes of a page
_MOST_LEVELS = 32  # of a tree, by LMDB's own limit


class Meta(NamedTuple):
    """What a file says of itself."""

    page_size: int
    roots: tuple[int, int]  # of the free list and of the data
    last_page: int
    transaction: int


def read_meta(file: Path) -> Meta | None:
    """Return the meta page in force; None where the file is missing, empty or no LMDB database."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_LARGEST + _SMALLEST)
    except FileNotFoundError:
        return None
    metas = [meta for meta in (_meta_at(head, 0), *_second(head)) if meta is not None]
    return max(metas, key=lambda meta: meta.transaction, default=None)


def _second(head: bytes) -> Iterator[Meta | None]:
    first = _meta_at(head, 0)
    sizes = [first.page_size] if first is not None else [4096]
    for size in sizes:
        yield _meta_at(head, size)


def _meta_at(head: bytes, at: int) -> Meta | None:
    need = _PAGE.size + _META.size + 2 * _TREE.size + _TAIL.size
    if len(head) < at + need:
        return None
    _, _, flags, _, _ = _PAGE.unpack_from(head, at)
    at += _PAGE.size
    magic, version, _, _ = _META.unpack_from(head, at)
    at += _META.size
    page_size, *_, free = _TREE.unpack_from(head, at)
    *_, data = _TREE.unpack_from(head, at + _TREE.size)
    last, transaction = _TAIL.unpack_from(head, at + 2 * _TREE.size)
    known = flags & _META_PAGE and magic == _MAGIC and version & 0xFFFF == _VERSION
    if not known or not _SMALLEST <= page_size <= _LARGEST or page_size & (page_size - 1):
        return None
    return Meta(page_size, (free, data), last, transaction)


def check_pages(file: Path) -> int:
    """Look at every page in use and return their number; raise `StorageError` at the first that cannot be one."""
    meta = read_meta(file)
    if meta is None:
        raise StorageError(f"{file} is damaged: neither of its meta pages is one")
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        pages = size // meta.page_size
        seen = {0, 1}

        def take(number: int, count: int, what: str) -> None:
            if number < 2 or number + count > pages or number + count > meta.last_page + 1:
                raise _damaged(file, number, f"{what} lies outside the file of {size} bytes")
            for each in range(number, number + count):
                if each in seen:
                    raise _damaged(file, each, "it is used twice")
                seen.add(each)

        def read(number: int) -> bytes:
            opened.seek(number * meta.page_size)
            return opened.read(meta.page_size)

        for root in meta.roots:
            waiting = [(root, 1)] if root != _NOWHERE else []
            while waiting:
                number, level = waiting.pop()
                take(number, 1, "a page")
                page = read(number)
                own, _, flags, lower, upper = _PAGE.unpack_from(page)
                if own != number or flags & (_BRANCH | _LEAF) not in (_BRANCH, _LEAF) or level > _MOST_LEVELS:
                    raise _damaged(file, number, "its head is no page's of a tree")
                if not _PAGE.size <= lower <= upper <= meta.page_size:
                    raise _damaged(file, number, "its bounds cross each other")
                for node in _nodes(file, number, page, lower, upper):
                    if flags & _BRANCH:
                        waiting.append((node.child, level + 1))
                    elif node.flags & _BIG:
                        count = -(-(_PAGE.size + node.size) // meta.page_size)
                        take(node.page, count, "a large value")
                        head = read(node.page)
                        if not _PAGE.unpack_from(head)[2] & _OVERFLOW:
                            raise _damaged(file, node.page, "it is no page of a large value")
        return len(seen)


class _Node(NamedTuple):
    child: int  # of a branch: the page below
    size: int  # of a leaf: bytes of the value
    flags: int
    page: int  # of a large value: where it begins


def _nodes(file: Path, number: int, page: bytes, lower: int, upper: int) -> Iterator[_Node]:
    is_leaf = bool(_PAGE.unpack_from(page)[2] & _LEAF)
    for (offset,) in struct.iter_unpack("<H", page[_PAGE.size : lower - (lower - _PAGE.size) % 2]):
        if not upper <= offset <= len(page) - _NODE.size:
            raise _damaged(file, number, "an entry lies outside it")
        low, high, flags, key_size = _NODE.unpack_from(page, offset)
        at = offset + _NODE.size + key_size
        size = low | high << 16
        if at + (8 if is_leaf and flags & _BIG else size if is_leaf else 0) > len(page):
            raise _damaged(file, number, "an entry reaches over its end")
        where = struct.unpack_from("<Q", page, at)[0] if is_leaf and flags & _BIG else 0
        yield _Node(size | flags << 32, size, flags, where)


def _damaged(file: Path, number: int, what: str) -> StorageError:
    return StorageError(f"{file} is damaged at page {number}: {what}; restore it from a backup")


def check_file(directory: Path) -> None:
    """Raise `StorageError` where a database cannot be opened without danger: read behind its end, it ends the process.

    A file that was closed by us is compared with what it was then. Another one, of a process that was killed, is looked
    at page by page, where it is short or not large.
    """
    file = directory / "data.mdb"
    meta = read_meta(file)
    if check_sum(directory) or meta is None:
        return
    size = file.stat().st_size
    # Short need not be cut: pages at the end that nobody uses may never have been written.
    if size <= WALKED_BYTES or size < (meta.last_page + 1) * meta.page_size:
        check_pages(file)


# --- a sum of the whole file, left by who closes it

SUM_FILE = "elkyn.sum"
SUMMED_BYTES = 64 << 20
"""Files up to this size are summed when they are closed, and looked at when they are opened: some 30 ms each."""
WALKED_BYTES = 16 << 20
"""Files up to this size are looked at page by page where there is no sum: some 0.2 s after a process was killed."""
_CHUNK_BYTES = 1 << 20  # read at a time: a larger one is no faster


def checksum(file: Path) -> int:
    """Return the CRC-32 of a file."""
    total = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            total = zlib.crc32(chunk, total)
    return total


def leave_sum(directory: Path, *, limit: int | None = SUMMED_BYTES) -> None:
    """Write down the sum of a database that nobody writes to. Best effort: without it nothing can be compared."""
    file, meta = directory / "data.mdb", read_meta(directory / "data.mdb")
    try:
        if meta is None or (limit is not None and file.stat().st_size > limit):
            return
        new = directory / f"{SUM_FILE}.new"
        # Of one length: a file that grew with its numbers would look like something that is kept.
        new.write_text(f"{meta.transaction:20} {file.stat().st_size:20} {checksum(file):08x}\n")
        new.replace(directory / SUM_FILE)
    except OSError:
        return


def drop_sum(directory: Path) -> None:
    """Take the sum away, because the database is to be written to."""
    (directory / SUM_FILE).unlink(missing_ok=True)


def check_sum(directory: Path, *, limit: int | None = SUMMED_BYTES) -> bool:
    """Raise `StorageError` where the database is not as it was closed; False where nothing tells how that was."""
    file, meta = directory / "data.mdb", read_meta(directory / "data.mdb")
    try:
        transaction, size, total = (directory / SUM_FILE).read_text().split()
    except (OSError, ValueError):
        return False
    if meta is None:
        raise StorageError(f"{file} is damaged: neither of its meta pages is one; restore it from a backup")
    if str(meta.transaction) != transaction or (limit is not None and file.stat().st_size > limit):
        return False
    if str(file.stat().st_size) != size or f"{checksum(file):08x}" != total:
        raise StorageError(
            f"{file} is damaged: it is not as it was when it was closed; restore it from a backup, or delete "
            f"{SUM_FILE} beside it to open it all the same"
        )
    return True
