"""pytest in the measured process as it runs for the user: same arguments, folder, configuration and conftest files.

Only what writes files, prints, selects, or would start more processes is silenced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from leakcheck.agent.entry.resident import expect_children, expect_no_children
from leakcheck.agent.protocol import PytestRequest, SuiteRequest

_SILENT: dict[str, Any] = {
    # pytest-xdist: this process is the only one
    "numprocesses": None, "maxprocesses": None, "dist": "no", "tx": [], "distload": False, "looponfail": False,
    # what is written, printed, remembered or selected
    "xmlpath": None, "report_log": None, "htmlpath": None, "json_report": False, "allure_report_dir": None,
    "lf": False, "failedfirst": False, "newfirst": False, "stepwise": False, "stepwise_skip": False, "cacheshow": None,
    "keyword": "", "markexpr": "", "deselect": None, "pyargs": False, "pastebin": None, "durations": None,
    "collectonly": False, "setuponly": False, "setupshow": False, "setupplan": False, "usepdb": False, "trace": False,
    "maxfail": 0, "reruns": 0, "leakcheck": "", "leakcheck_report": None,
    "leakcheck_last_suspects": False,
}  # fmt: skip
_UNWATCHED = ("-o", "faulthandler_timeout=0")
"""pytest's own watchdog is a thread for each repetition; who hangs here is found by the tool."""
_BLOCKED = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin")


def run_pytest(request: PytestRequest | SuiteRequest, runner: Any, paths: Sequence[str] | None = None) -> None:
    """Run pytest with the plugin `runner` in the place of its main loop, for `paths` or what the user has named."""
    os.environ.update(request.environment)
    if isinstance(request, SuiteRequest):
        expect_no_children()
    else:
        expect_children()
    sys.argv[:] = ["pytest", *request.arguments]
    sys.path[:] = request.sys_path
    from _pytest.config import _prepareconfig

    plugin = import_module(request.plugin)
    config = _prepareconfig(
        # The plugin is given as a module: it need not be installed here, and must not be registered twice.
        ["-p", "no:leakcheck", *request.arguments, "--capture=no", *request.more_arguments, *_UNWATCHED],
        [plugin, runner],
    )
    try:
        for name in _BLOCKED:
            config.pluginmanager.set_blocked(name)
        for name, value in _SILENT.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        if paths is not None:
            config.args = list(paths)
        config.stash[plugin.HOST] = runner
        config.hook.pytest_cmdline_main(config=config)
    finally:
        config._ensure_unconfigure()
