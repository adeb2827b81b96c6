"""Start of a worker: `python .../leakcheck/agent/__main__.py COMMANDS_FD REPLIES_FD LIFELINE_FD PACKAGE_PARENT`.

Run by path and not with `-m`, so that an interpreter in which nothing of ours is installed can run it. `PACKAGE_PARENT`
is a folder that holds nothing but a link to this package; it is used only where `leakcheck` cannot be imported anyhow.
"""

import os
import signal
import sys
from importlib.util import find_spec
from typing import NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 - whichever interpreter the user has named
    sys.exit("leakcheck measures in Python 3.11 or newer")


def main() -> None:
    """Serve the parent until it has no more to say."""
    commands, replies, lifeline = map(int, sys.argv[1:4])
    package_parent = sys.argv[4]
    del sys.path[0]  # this file's own folder: it must not shadow anything of the user's
    sys.argv[1:] = []
    if find_spec("leakcheck") is None:
        sys.path.append(package_parent)
    import faulthandler

    faulthandler.enable()
    try:
        from importlib import import_module

        from leakcheck.agent.channel import Channel
        from leakcheck.agent.entry.resident import expect_children
        from leakcheck.agent.lifeline import hold
        from leakcheck.agent.meters.objects import put_aside
        from leakcheck.agent.meters.pages import in_small_pages
        from leakcheck.agent.protocol import ASKED_WHILE_MEASURING
        from leakcheck.agent.session import serve
    except ImportError as error:
        _refuse(replies, f"another version of elkyn-leakcheck is installed in {sys.executable} ({error})")

    hold(lifeline, signal.SIGKILL)
    in_small_pages()
    # Our own modules may be kept compiled; what the user's code imports leaves no file, in child processes neither.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    expect_children()
    for probe in ASKED_WHILE_MEASURING:
        import_module(probe)
    if sys.warnoptions:
        import warnings

        warnings.filterwarnings("ignore", module=r"leakcheck\.")  # the user's options are for the user's code
    put_aside()
    serve(Channel(commands, replies))
    sys.stdout.flush()


def _refuse(replies: int, why: str) -> NoReturn:
    """Answer the first request by hand, and end."""
    import json

    said = f"{why}: install the same version there, or none"
    failed = ["ProtocolError", said, "", None, "Hello", said, ""]
    os.write(replies, json.dumps({"failed": failed}).encode() + b"\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
