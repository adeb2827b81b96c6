"""Whose code a file is: the tool's own, the interpreter's, an installed package's, or the user's.

It is decided by where packages lie in the measured interpreter, never by what a folder is called: a user's project may
be named `memray` or `leakcheck/agent`. The measured process finds the roots out, and reports them when it is opened.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from leakcheck.agent.protocol import Roots

if TYPE_CHECKING:
    import types

_SITES = ("site-packages", "dist-packages")


class Origin:
    """Answers for the files of one interpreter."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self._probes = tuple(f"{root}probes{os.sep}" for root in roots.own)
        self._parents: list[tuple[str, int]] = []

    def own(self, file: str) -> bool:
        """The tool's part in the measured process, which no diagnosis names."""
        return file.startswith(self.roots.own)

    def calls_the_step(self, file: str) -> bool:
        """The tool's part that runs the user's code, as opposed to the probes, which look at it."""
        return self.own(file) and not file.startswith(self._probes)

    def installed(self, file: str) -> bool:
        """An installed package."""
        return file.startswith(self.roots.packages)

    def library(self, file: str) -> bool:
        """The standard library."""
        return (file.startswith(self.roots.library) and not self.installed(file)) or file.startswith("<frozen ")

    def standard(self, file: str) -> bool:
        """The interpreter's own: the standard library, frozen modules, code without a file."""
        return not file or file.startswith("<") or self.library(file)

    def rank(self, file: str) -> int:
        """0 for the user's own code, 1 for installed packages, 2 for the interpreter: the order of naming things."""
        return 2 if self.standard(file) else 1 if self.installed(file) else 0

    def was_forked_in(self, frame: types.FrameType | None) -> None:
        """Of a process that was forked while `frame` ran: what called that was its parent's work, and not its own."""
        while frame is not None and frame.f_back is not None:
            frame = frame.f_back
            self._parents.append((frame.f_code.co_filename, frame.f_lineno))

    def _without_parents(self, stack: tuple[Any, ...]) -> tuple[Any, ...]:
        for index in range(1, len(stack) if self._parents else 0):
            outside = [place[:2] for place in stack[index:]]
            if outside == self._parents[: len(outside)]:
                return stack[:index]
        return stack

    def inside(self, stack: tuple[Any, ...]) -> tuple[Any, ...]:
        """A stack of `(file, line, ...)`, the innermost first, without what lies outside of the user's outermost frame.

        That is the test runner or event loop by which the user's code was called: the same for whatever it does. Where
        no frame is the user's, all of it.
        """
        stack = self._without_parents(stack)
        for index in range(len(stack) - 1, -1, -1):
            if self.rank(stack[index][0]) == 0:
                return stack[: index + 1]
        return stack

    def module_name(self, file: str) -> str:
        """How an importer names a file, as far as its path shows: below a root with its folders, else its name."""
        for root in (*self.roots.packages, *self.roots.library):
            if file.startswith(root):
                return file[len(root) :]
        return file.rpartition("/")[2]


def _roots() -> Roots:
    """The roots of this process's interpreter."""
    own = os.path.dirname(os.path.abspath(__file__)) + os.sep
    tool = os.path.dirname(own[:-1]) + os.sep
    library = os.path.dirname(os.path.abspath(os.__file__))
    archives = [each for each in sys.path if each.endswith(".zip")]
    sites = [os.path.abspath(each) for each in sys.path if os.path.basename(each) in _SITES]
    sites += [os.path.join(library, name) for name in _SITES]
    scripts = os.path.join(sys.prefix, "bin")  # what starts a server there is no code of the user's
    packages = [f"{each}{os.sep}" for each in dict.fromkeys([*sites, scripts])]
    return Roots((own,), (*packages, tool), tuple(f"{each}{os.sep}" for each in (library, *archives)))


HERE = Origin(_roots())
"""Of this process."""
