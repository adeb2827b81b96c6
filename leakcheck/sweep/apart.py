"""Folders of a command that runs isolated, and how it is started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self

from leakcheck.execution.workspace import Workspace
from leakcheck.sweep import isolation


class Apart:
    """A place for isolated commands, as a context manager: it is gone afterwards."""

    def __init__(self) -> None:
        self._workspace = Workspace()
        self.work = self._workspace.path / "work"
        """What lies here can be written by the command, and is gone when it has ended."""
        self.results = self._workspace.path / "results"
        """What the command writes here stays until the end of the block."""
        self.package = self._workspace.path / "package"
        """A folder that holds nothing but a link to this package."""
        for folder in (self.work, self.results, self.package):
            folder.mkdir()
        (self.package / "leakcheck").symlink_to(Path(__file__).parent.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workspace.close()

    def before(self, results: Path | None = None) -> list[str]:
        """The words before a command whose first word is an absolute path; `results` can be written to as well."""
        return [sys.executable, "-I", isolation.__file__, str(self.work), str(results or self.results)]
