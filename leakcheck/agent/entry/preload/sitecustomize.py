"""Loads the agent into each Python process of a measured program, before any of its code runs.

The interpreter imports a module of this name when it starts, from the first folder that has one. This one steps aside
for the user's own, and starts the agent, whose thread waits until it is asked something.
"""

import os
import sys


def _step_aside() -> None:
    """Import the user's module of this name, as if this one were not there; where there is none, this one stays."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != folder]
    ours = sys.modules.pop(__name__)
    try:
        __import__(__name__)
    except ModuleNotFoundError as error:
        if error.name != __name__:
            raise
        sys.modules[__name__] = ours


def _start_agent(said: str) -> None:
    """By the file's path: the package it is a part of need not be one that can be imported here, and is not loaded."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        resident = __import__("resident")
    finally:
        del sys.path[0]
    del sys.modules["resident"]  # the user may have a module of this name
    resident.begin(said)


if "LEAKCHECK_AGENTS" in os.environ and sys.version_info >= (3, 11):
    try:
        _start_agent(os.environ["LEAKCHECK_AGENTS"])
    except (ImportError, OSError):  # then the process is read from outside
        pass
_step_aside()
