"""Starlette: a table of sessions by number, async and in threads."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

sessions: dict[int, bytearray] = {}


async def leak(request: Request) -> PlainTextResponse:
    sessions[len(sessions)] = bytearray(1000)  # the leak
    return PlainTextResponse("fine")


def leak_in_a_thread(request: Request) -> PlainTextResponse:
    sessions[len(sessions)] = bytearray(1000)  # the leak
    return PlainTextResponse("fine")


async def mended(request: Request) -> PlainTextResponse:
    sessions[0] = bytearray(1000)
    return PlainTextResponse("fine")


app = Starlette(routes=[Route("/leak", leak), Route("/leak-in-a-thread", leak_in_a_thread), Route("/mended", mended)])
