"""A child process that will be a worker: started, with its pipes and folders, and nothing said to it yet.

Imports little: the first ones are started before the rest of the tool is there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from leakcheck.execution.environment import worker_environment

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Child:
    """The process and what belongs to it. Whoever has it ends the process, closes the pipes and calls `remove`.

    `wrapper` is put before the interpreter (`["valgrind", ...]`). Raises `OSError` where it cannot be started.
    """

    def __init__(
        self,
        python: str,
        allocator: str,
        cwd: str,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = python, allocator, cwd
        self.listing: str | None = None
        """The file that it has been told to import and list; the answer has not been read."""
        self.directory = tempfile.mkdtemp(prefix="leakcheck-")
        self.tmp_path = os.path.join(self.directory, "tmp_path")
        self.temporary = os.path.join(self.directory, "temporary")
        package_parent = os.path.join(self.directory, "package")
        for folder in (self.tmp_path, self.temporary, package_parent):
            os.mkdir(folder)
        os.symlink(_PACKAGE, os.path.join(package_parent, "leakcheck"))
        commands_read, self.commands = os.pipe()
        self.replies, replies_write = os.pipe()
        self.output, output_write = os.pipe()
        main = os.path.join(_PACKAGE, "worker", "__main__.py")
        try:
            self.process = subprocess.Popen(
                [*wrapper, python, main, str(commands_read), str(replies_write), package_parent],
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(commands_read, replies_write),
                env={**worker_environment(allocator, self.temporary), **(environment or {})},
                cwd=cwd,
                start_new_session=True,  # a terminal's Ctrl-C reaches the parent alone, which then decides
            )
        except OSError:
            for descriptor in (self.commands, self.replies, self.output):
                os.close(descriptor)
            self.remove()
            raise
        finally:
            for descriptor in (commands_read, replies_write, output_write):
                os.close(descriptor)

    def list(self, target: str) -> None:
        """Tell it to import a file and to answer what scenarios are in it."""
        os.write(self.commands, json.dumps({"do": "list", "target": target}).encode() + b"\n")
        self.listing = target

    def discard(self) -> None:
        """End a process that was not needed."""
        self.process.kill()
        self.process.wait()
        for descriptor in (self.commands, self.replies, self.output):
            os.close(descriptor)
        self.remove()

    def remove(self) -> None:
        """Remove its folders."""
        shutil.rmtree(self.directory, ignore_errors=True)
