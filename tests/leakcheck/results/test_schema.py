"""The published schema is the schema of the records, and what is written is valid by it."""

from __future__ import annotations

import json

import jsonschema
import sample_run

from leakcheck import results
from leakcheck.results import schema


def test_the_published_schema_is_current():
    assert schema.published() == json.loads(schema.current()), (
        "write what `schema.current()` returns into it, and commit it"
    )


def test_the_published_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema.published())


def test_a_result_file_is_valid_by_the_published_schema():
    jsonschema.Draft202012Validator(schema.published()).validate(json.loads(results.encode(sample_run.run())))
