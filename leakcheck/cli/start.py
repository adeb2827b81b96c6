"""What `run` and `snippet` start before they know what will run. Imports little: its processes are under way sooner."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from threading import Thread
from typing import Any

from leakcheck.execution.job import Job
from leakcheck.run.control import BackgroundControl

_SWITCH_S = 0.0002
"""How long an import may keep the thread waiting that has a round's answer to read: by default 5 ms, for each round."""


def begin(template: Job, options: Mapping[str, Any]) -> AbstractContextManager[BackgroundControl | None]:
    """Start the control, and import the rest of the tool while the first processes start."""
    sys.setswitchinterval(_SWITCH_S)
    Thread(target=_import_the_rest, daemon=True).start()
    return nullcontext() if options["no_control"] else BackgroundControl(template)


def _import_the_rest() -> None:
    from leakcheck import report
    from leakcheck.report import folder

    import_module("leakcheck.cli.finish")
    report.prepare(folder.FORMATS)
