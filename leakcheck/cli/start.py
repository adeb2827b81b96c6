"""What `run` and `snippet` start before they know what will run. Imports little: its processes are under way sooner."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from threading import Thread

from leakcheck.execution.job import Job
from leakcheck.run.control import BackgroundControl

_SWITCH_S = 0.0002
"""How long an import may keep the thread waiting that has a round's answer to read: by default 5 ms, for each round."""


def begin(template: Job, *, control: bool) -> AbstractContextManager[BackgroundControl | None]:
    """Start the control, if there is to be one, and import the rest of the tool while the first processes start."""
    sys.setswitchinterval(_SWITCH_S)
    Thread(target=_import_the_rest, daemon=True).start()
    return BackgroundControl(template) if control else nullcontext()


def _import_the_rest() -> None:
    from leakcheck import report
    from leakcheck.report import folder

    import_module("leakcheck.cli.finish")
    report.prepare(folder.FORMATS)
