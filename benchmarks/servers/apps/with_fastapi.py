"""FastAPI: a cache whose keys never come again."""

from fastapi import FastAPI

app = FastAPI()
cache: dict[object, list[str]] = {}


@app.get("/leak")
def leak() -> dict[str, int]:
    cache[object()] = ["of this request"] * 50  # the leak
    return {"cached": len(cache)}


@app.get("/mended")
def mended() -> dict[str, int]:
    cache["the same"] = ["of this request"] * 50
    return {"cached": len(cache)}
