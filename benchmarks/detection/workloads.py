"""Loads the workload that the environment names: the same module for our tool and for its peers."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

PATH, FUNCTION = "DETECTION_WORKLOAD", "DETECTION_FUNCTION"


def load() -> ModuleType:
    """Import the file in `DETECTION_WORKLOAD` as the module `workload`; `call` is `DETECTION_FUNCTION` where set."""
    spec = importlib.util.spec_from_file_location("workload", os.environ[PATH])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["workload"] = module
    spec.loader.exec_module(module)
    if os.environ.get(FUNCTION):
        module.call = getattr(module, os.environ[FUNCTION])  # type: ignore[attr-defined]
    return module
