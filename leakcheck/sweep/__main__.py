"""`python -m leakcheck.sweep` makes the published schema anew after the records have changed."""

from __future__ import annotations

from leakcheck.results import atomic
from leakcheck.sweep import outcome

atomic.write(outcome.PUBLISHED, outcome.schema_text().encode())
