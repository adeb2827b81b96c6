"""A scenario file made of what production saw, with the step left to be filled in."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import NamedTuple


class Seen(NamedTuple):
    """What production saw of one growth."""

    meter: str
    at: str
    """UTC, ISO 8601."""
    pid: int
    uptime_hours: float
    sentences: Sequence[str]
    """What grew and what was seen of its cause, the most telling first."""


def scenario_stub(seen: Seen, name: str) -> str:
    """Python source of one scenario; `name` is its function's. Raises `ValueError` where that is no name."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"scenario_stub: {name!r} is not a name for a function")
    comments = "\n".join(f"# * {' '.join(each.split())}" for each in seen.sentences)
    return f'''"""What grew in production on {seen.at}, to be reproduced.

Run it with: elkyn-leakcheck run THIS_FILE
"""

from leakcheck import scenario

# Seen in process {seen.pid} after {seen.uptime_hours:.1f} hours:
{comments}


@scenario(expect="leak")  # once it is fixed: expect="clean", and it guards the fix
def {name}(ctx):
    """Grows by {seen.meter} in production."""
    # Set-up: make what the service makes once (clients, stores, applications).

    def step():
        raise NotImplementedError("do here what the service does once for each request or message")

    yield step
    # Tear-down: close what the set-up opened.
'''
