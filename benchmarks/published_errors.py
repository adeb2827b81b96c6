"""Steps with published packages that are made to fail: what stays is theirs, for the steps themselves clean up.

Run with `--errors`; see docs/errors.md for the versions and for what was found. A scenario whose package is not
installed is an error of its own, so choose by `-k`.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import functools
import gzip
import io
import itertools
import json
import os
import pickle
import re
import sqlite3
import subprocess
import tarfile
import xml.etree.ElementTree as ET
import xml.parsers.expat
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from leakcheck import scenario

AsyncStep = AsyncIterator[Callable[[], Any]]
Steps = Iterator[Callable[[], Any]]


class Source:
    """A file of the user's, whose methods make calls that can fail."""

    def __init__(self, data: bytes = b"") -> None:
        self.inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.inner.read(size)

    def readline(self) -> bytes:
        return self.inner.readline()

    def write(self, data: bytes) -> int:
        return self.inner.write(data)


class Plain:
    """An object whose operations make calls that can fail."""

    def __lt__(self, other: object) -> bool:
        return bool(str(other))

    def __hash__(self) -> int:
        return int("1")

    def __eq__(self, other: object) -> bool:
        return bool(str(self))


def lines() -> Iterator[str]:
    for number in range(3):
        yield f"{number},x\n"


def same(value: Any) -> Any:
    return type(value)() + value


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            await writer.drain()


async def serve_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            writer.write(b"$1\r\nx\r\n" if words[0].upper() == b"GET" else b"+OK\r\n")
            await writer.drain()


@contextlib.asynccontextmanager
async def server(handler: Callable[..., Any]) -> AsyncIterator[int]:
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


@scenario
async def httpx_get() -> AsyncStep:
    import httpx

    async with server(serve_http) as port, httpx.AsyncClient() as client:

        async def step() -> None:
            (await client.get(f"http://127.0.0.1:{port}/")).raise_for_status()

        yield step


@scenario
async def aiohttp_get() -> AsyncStep:
    import aiohttp

    async with server(serve_http) as port, aiohttp.ClientSession() as session:

        async def step() -> None:
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                await response.read()

        yield step


@scenario
async def websockets_echo() -> AsyncStep:
    import websockets

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]

        async def step() -> None:
            async with websockets.connect(f"ws://127.0.0.1:{port}") as socket:
                await socket.send("hi")
                await socket.recv()

        yield step


@scenario
async def anyio_groups() -> AsyncStep:
    import anyio

    async def child(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await anyio.sleep(0)

    lock, limiter = anyio.Lock(), anyio.CapacityLimiter(5)

    async def step() -> None:
        send, receive = anyio.create_memory_object_stream(1)
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(child, 5)
            group.start_soon(send.send, 1)
            await receive.receive()
            async with lock, limiter:
                await anyio.sleep(0)
            await anyio.to_thread.run_sync(int)

    yield step


@scenario
async def aiosqlite_connect() -> None:
    import aiosqlite

    async with aiosqlite.connect(":memory:") as database, database.execute("select 1") as cursor:
        await cursor.fetchone()


@scenario
async def redis_get() -> AsyncStep:
    import redis.asyncio

    async with server(serve_redis) as port:
        client = redis.asyncio.Redis(port=port)

        async def step() -> None:
            await client.get("key")

        yield step
        await client.connection_pool.disconnect()


@scenario
def sqlite_callbacks() -> Steps:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table t (a, b)")
        database.create_function("f", 1, same)
        database.create_collation("c", lambda one, other: int(one > other))

        def step() -> None:
            with database:
                database.execute("delete from t")
            with database:
                database.executemany("insert into t values (?, ?)", ((int("1"), str(n)) for n in range(3)))
            list(database.execute("select f(b), a from t order by b collate c"))

        yield step


@scenario
def lxml_callbacks() -> None:
    from lxml import etree

    document = b"<a x='1'><b>t</b><c/></a>"
    etree.parse(Source(document))
    list(etree.iterparse(Source(document)))
    tree = etree.fromstring(document)
    etree.ElementTree(tree).write(Source())
    tree.xpath("f(string(b))", extensions={(None, "f"): lambda _, value: str(value)})
    with etree.xmlfile(Source()) as file, file.element("a"):
        file.write("x")


@scenario
def ijson_events() -> None:
    import ijson

    list(ijson.items(Source(b'{"a": [1, {"b": "x"}]}'), "a.item"))


@scenario
def bson_codec() -> None:
    import bson

    data = bson.encode({"a": 1, "b": [1, "x"]})
    bson.decode(data)
    list(bson.decode_file_iter(Source(data)))


@scenario
def expat_and_etree() -> None:
    document = b"<a x='1'><b>t</b><c/></a>"
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: str(name)
    parser.CharacterDataHandler = lambda data: str(data)
    parser.ParseFile(Source(document))
    ET.parse(Source(document))
    list(ET.iterparse(Source(document)))


@scenario
def csv_json_pickle() -> None:
    list(csv.reader(lines()))
    json.dumps({"a": Plain()}, default=lambda value: str(value)[:1])
    json.loads('{"a": [1, 2.5]}', object_hook=lambda value: dict(value))
    pickle.load(Source(pickle.dumps([1, "x" * 100])))
    pickle.Pickler(Source()).dump([1, "x" * 100])


@scenario
def built_in_callbacks() -> None:
    sorted([3, 1, 2], key=same)
    sorted([Plain(), Plain()])
    list(itertools.groupby([1, 1, 2], key=same))
    functools.reduce(lambda one, other: int(one + other), [1, 2, 3])
    re.sub("a", lambda match: str(match[0]), "banana")
    list(zip(map(same, [1, 2]), lines(), strict=False))
    list(itertools.product(lines(), itertools.islice(lines(), 2)))
    {Plain(): 1, Plain(): 2}
    b"".join(bytes(number) for number in range(2))


@scenario
def files_and_archives(ctx: Any) -> Steps:
    path = str(ctx.tmp_path / "archive")

    def step() -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", "hello")
        with zipfile.ZipFile(path) as archive:
            archive.read("x")
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
        with gzip.open(path, "wb") as file:
            file.write(b"hello")
        os.unlink(path)

    yield step


@scenario
def subprocess_run() -> None:
    subprocess.run(["true"], capture_output=True, check=True)
