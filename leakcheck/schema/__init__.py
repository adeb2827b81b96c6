"""The published JSON Schema of `results.json`, as package data beside this file."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

FILE_NAME = "leakcheck-1.schema.json"


def published() -> dict[str, Any]:
    """The schema as it ships."""
    text = resources.files(__name__).joinpath(FILE_NAME).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def current() -> str:
    """The text that the schema must have, made from the records of `leakcheck.model`."""
    from leakcheck import model

    return json.dumps(model.json_schema(), indent=1) + "\n"
