"""`elkyn`: a store from the command line. All but `set`, `load` and `compact` work beside a process that writes."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import click

from elkyn import tools
from elkyn.errors import ElkynError
from elkyn.opening import open as open_store
from elkyn.paths import pattern_segments
from elkyn.readonly import ReadOnlyStore
from elkyn.values import encode

LOOK_EVERY_S = 0.1
"""Seconds between two looks of `watch` at the revision: a look costs microseconds."""
WRITES_PER_TRANSACTION = 1000
"""Leaves that `load` commits together: enough that syncing costs little beside them."""

_directory = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (ElkynError, ValueError, TypeError) as error:
        raise click.ClickException(str(error)) from error


def _said(value: Any) -> str:
    """A value as JSON; bytes and numbers that JSON has not as Python writes them."""
    return json.dumps(value, ensure_ascii=False, default=repr)


@click.group()
def main() -> None:
    """Look into an Elkyn store, and look after it."""


@main.command()
@_directory
def info(directory: Path) -> None:
    """Say how large a store is, at which revision, and who reads it."""
    with _reported(), ReadOnlyStore(directory) as store:
        env = store._environment()
        used, page = env.info()["last_pgno"] + 1, env.stat()["psize"]
        click.echo(f"directory   {store.path}")
        click.echo(f"revision    {store.rev}")
        click.echo(f"leaves      {env.stat()['entries'] - 1}")
        click.echo(f"file        {(store.path / 'data.mdb').stat().st_size} bytes, {used * page} in use or free inside")
        for reader in store.readers():
            click.echo(f"reader      process {reader.pid}" + ("" if reader.rev is None else f" at {reader.rev}"))


@main.command()
@_directory
@click.argument("path", default="/")
def get(directory: Path, path: str) -> None:
    """Print the value at PATH as JSON. Exit code 1 where there is none."""
    with _reported(), ReadOnlyStore(directory) as store:
        if not store.exists(path):
            raise click.ClickException(f"there is nothing at {path}")
        click.echo(_said(store.get(path)))


@main.command("set")
@_directory
@click.argument("path")
@click.argument("value")
def set_(directory: Path, path: str, value: str) -> None:
    """Store VALUE, which is JSON, at PATH and print the revision."""
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise click.ClickException(f"the value is no JSON: {error}; a text needs quotes of its own") from error
    with _reported(), open_store(directory) as store:
        click.echo(store.set(path, parsed))


@main.command()
@_directory
@click.argument("to", type=click.File("w", encoding="utf-8"), default="-")
def dump(directory: Path, to: Any) -> None:
    """Write all leaves as JSON lines to the file TO, or to the standard output."""
    with _reported(), ReadOnlyStore(directory) as store:
        for line in tools.dump(store):
            click.echo(line, to)


@main.command()
@_directory
@click.argument("source", type=click.File("r", encoding="utf-8"), default="-")
def load(directory: Path, source: Any) -> None:
    """Store the leaves of a dump, over what is there."""
    count = 0
    with _reported(), open_store(directory) as store:
        leaves = tools.load(source)
        while part := list(islice(leaves, WRITES_PER_TRANSACTION)):
            with store.transaction() as tx:
                for path, value in part:
                    tx.set(path, value)
            count += len(part)
    click.echo(f"{count} leaves")


@main.command()
@_directory
def verify(directory: Path) -> None:
    """Look at every page and value. Exit code 1 where something is wrong."""
    with _reported():
        found = tools.verify(directory)
    for sentence in found:
        click.echo(sentence)
    if found:
        sys.exit(1)
    click.echo("sound")


@main.command()
@_directory
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--compact", is_flag=True, help="Leave the free pages out.")
def backup(directory: Path, to: Path, compact: bool) -> None:
    """Copy a store as it is now to the new directory TO."""
    with _reported():
        rev = tools.backup(directory, to, compact=compact)
    click.echo(f"revision {rev}")


@main.command()
@_directory
def compact(directory: Path) -> None:
    """Write the file anew without its free pages. The store must be closed."""
    with _reported():
        before, after = tools.compact(directory)
    click.echo(f"{before} bytes before, {after} now")


@main.command()
@_directory
@click.argument("pattern", default="/**")
@click.option("--initial", is_flag=True, help="First print what is there.")
def watch(directory: Path, pattern: str, initial: bool) -> NoReturn:
    """Print each change of the nodes that PATTERN names, as JSON lines, until interrupted.

    By looking at what is there ten times a second: of several changes within that the latest is printed, and memory
    holds one number for each node. `/x/**` prints leaves.
    """
    with _reported(), ReadOnlyStore(directory) as store:
        before: dict[str, int] = {}
        rev = -1
        try:
            while True:
                now_rev = store.rev
                if now_rev != rev:
                    now = {}
                    for path, value in _nodes(store, pattern):
                        now[path] = digest = hash(encode(value))
                        if before.get(path) != digest and (initial or rev >= 0):
                            click.echo(_said({"type": "change", "path": path, "value": value}))
                    for path in before.keys() - now.keys():
                        click.echo(_said({"type": "delete", "path": path}))
                    before, rev = now, now_rev
                time.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:
            sys.exit(0)


def _nodes(store: ReadOnlyStore, pattern: str) -> Iterator[tuple[str, Any]]:
    segments = pattern_segments(pattern)
    if segments[-1:] != ("**",):
        yield from store.matching(segments)
        return
    for path, _ in list(store.matching(segments[:-1])):
        yield from store.walk(path)
