"""What the interpreter keeps for whoever registers it: the call as its documentation names it, and what undoes it."""

from __future__ import annotations

from typing import Final, NamedTuple


class Registration(NamedTuple):
    """One call that registers something with the interpreter."""

    name: str
    end: str
    """Until when what is registered stays."""


_FOR_EVER = "which cannot be undone"

REGISTRATIONS: Final = {
    "posix.register_at_fork": Registration("os.register_at_fork", _FOR_EVER),
    "sys.addaudithook": Registration("sys.addaudithook", _FOR_EVER),
    "_codecs.register": Registration("codecs.register", "which only codecs.unregister undoes"),
    "_codecs.register_error": Registration("codecs.register_error", _FOR_EVER),
    "atexit.register": Registration("atexit.register", "which only atexit.unregister undoes before the process ends"),
}
"""By the name that the C function has itself."""
