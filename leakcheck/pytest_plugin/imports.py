"""What a module of the project imports, and what that imports: read from the sources of what is loaded."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path


class Imports:
    """The files of the project that loaded modules are made from, by who imports whom.

    Of an import that a function makes the module counts where it is loaded by now. What is found by a name that is made
    while the program runs is not seen.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._installed = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
        self._names: dict[Path, str] = {}
        self._direct: dict[Path, frozenset[Path]] = {}

    def of(self, file: Path) -> set[Path]:
        """The file itself, and the project's files that it imports, directly or not."""
        found: set[Path] = set()
        waiting = [file]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += self._imported_by(each)
        return found

    def _imported_by(self, file: Path) -> frozenset[Path]:
        if file not in self._direct:
            names = self._names_in(file) if file.suffix == ".py" else ()
            files = {self._file(name) for name in names}
            self._direct[file] = frozenset(each for each in files if each is not None)
        return self._direct[file]

    def _file(self, name: str) -> Path | None:
        """Where a loaded module of the project comes from."""
        source = getattr(sys.modules.get(name), "__file__", None)
        if not source:
            return None
        path = Path(source)
        ours = path.is_relative_to(self._root) and not any(map(path.is_relative_to, self._installed))
        return path if ours else None

    def _names_in(self, file: Path) -> Iterator[str]:
        """All modules that the statements of a file may load, with the packages above them."""
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from _with_parents(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node, file)
                yield from _with_parents(module)
                for alias in node.names:
                    yield f"{module}.{alias.name}"

    def _absolute(self, node: ast.ImportFrom, file: Path) -> str:
        if not node.level:
            return node.module or ""
        if not self._names:
            modules = list(sys.modules.items())
            self._names = {Path(source): name for name, each in modules if (source := getattr(each, "__file__", None))}
        package = self._names.get(file, "").split(".")
        above = package[: len(package) - node.level + (file.name == "__init__.py")]
        return ".".join([*above, *filter(None, [node.module])])


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])
