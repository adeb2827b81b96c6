"""Flask: each sign-in is remembered, and none is forgotten."""

from flask import Flask

app = Flask(__name__)


class Session:
    def __init__(self) -> None:
        self.basket = bytearray(1000)


sessions: list[Session] = []


@app.get("/leak")
def leak() -> str:
    sessions.append(Session())  # the leak
    return "fine"


@app.get("/mended")
def mended() -> str:
    sessions.append(Session())
    sessions.pop()
    return "fine"
