"""aiohttp: connections are kept in a list after they are closed."""

import sys

from aiohttp import web


class Connection:
    def __init__(self) -> None:
        self.buffer = bytearray(800)


connections: list[Connection] = []


async def leak(request: web.Request) -> web.Response:
    connections.append(Connection())  # the leak
    return web.Response(text="fine")


async def mended(request: web.Request) -> web.Response:
    connections.append(Connection())
    connections.pop()
    return web.Response(text="fine")


app = web.Application()
app.add_routes([web.get("/leak", leak), web.get("/mended", mended)])
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None)
