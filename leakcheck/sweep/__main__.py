"""`python -m leakcheck.sweep` makes the published schema anew after the records have changed."""

from __future__ import annotations

from leakcheck.results import atomic
from leakcheck.sweep import records

atomic.write(records.PUBLISHED, records.schema_text().encode())
