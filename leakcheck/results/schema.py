"""The published JSON Schema of `results.json`, as package data beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE_NAME = "leakcheck-1.schema.json"


def published() -> dict[str, Any]:
    """The schema as it ships."""
    text = Path(__file__).with_name(FILE_NAME).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def current() -> str:
    """The text that the schema must have, made from the records of `leakcheck.records`."""
    from leakcheck import records

    return json.dumps(records.json_schema(), indent=1) + "\n"
