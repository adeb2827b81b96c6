"""A store for asyncio: opened and closed off the loop, which nothing here blocks."""

import asyncio
import os
from typing import Any

from elkyn.opening import open as open_store
from elkyn.store import Store


class AsyncOpening:
    """What `open_async()` returns: `async with` opens the store and closes it, or `await` opens it."""

    def __init__(self, path: str | os.PathLike[str], options: dict[str, Any]) -> None:
        self._path = path
        self._options = options
        self._store: Store | None = None

    def __await__(self) -> Any:
        return self._open().__await__()

    async def _open(self) -> Store:
        return await asyncio.to_thread(lambda: open_store(self._path, **self._options))

    async def __aenter__(self) -> Store:
        self._store = await self._open()
        return self._store

    async def __aexit__(self, *_: object) -> None:
        assert self._store is not None, "entered"
        # Not on the loop: handlers that run there are still to be served.
        await asyncio.shield(asyncio.to_thread(self._store.close))


def open_async(path: str | os.PathLike[str], **options: Any) -> AsyncOpening:
    """Open a store for `async with`, with the options of `open()`. Write by `aset()`, `aupdate()` and `adelete()`.

    Reads take microseconds and are the plain ones; so are `watch()` and all that follows from it.
    """
    return AsyncOpening(path, options)
