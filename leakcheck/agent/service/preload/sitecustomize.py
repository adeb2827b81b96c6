"""Loads the agent into each Python process of a measured service, before any of its code runs.

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


def _start_agent(address: str) -> None:
    """From the package that this file is a part of, whether that can be imported here or not."""
    from importlib.util import module_from_spec, spec_from_file_location

    package = __file__
    for _ in range(4):
        package = os.path.dirname(package)
    found = sys.modules.get("leakcheck")
    if found is None:
        spec = spec_from_file_location("leakcheck", os.path.join(package, "__init__.py"))
        if spec is None or spec.loader is None:
            return
        found = module_from_spec(spec)
        sys.modules["leakcheck"] = found
        spec.loader.exec_module(found)
    from leakcheck.agent.processes.resident import begin

    begin(address)


if "LEAKCHECK_SERVICE" in os.environ and sys.version_info >= (3, 11):
    try:
        _start_agent(os.environ["LEAKCHECK_SERVICE"])
    except (ImportError, OSError):  # then the process is read from outside
        pass
_step_aside()
