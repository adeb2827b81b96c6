"""Which of the collected tests are measured: those whose files have changed, or the suspects of the last run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from leakcheck.errors import UsageError
from leakcheck.pytest_plugin.imports import Imports
from leakcheck.versions import git

SUSPECTS = "leakcheck/suspects"
"""Where pytest's cache keeps the node ids that the last screening did not find flat."""
GREEN = "leakcheck/green"
"""Where it keeps what each file of tests looked like, with all that it imports, when its tests were last measured."""

_DOCUMENTATION = (".md", ".rst", ".txt")
"""Endings of files that no test depends on."""


class Choice:
    """Says of a test whether the options leave it to be measured. Raises `pytest.UsageError`."""

    def __init__(self, config: pytest.Config) -> None:
        self._suspects: list[str] | None = None
        if config.option.leakcheck_last_suspects:
            self._suspects = _cache(config, "--leakcheck-last-suspects").get(SUSPECTS, None)
            if self._suspects is None:
                raise pytest.UsageError("--leakcheck-last-suspects: nothing was screened yet: use --leakcheck=screen")
        self._changed = Changed(config) if config.option.leakcheck == "changed" else None

    def has(self, item: pytest.Item) -> bool:
        """Whether it is one of them."""
        if self._suspects is not None and item.nodeid.partition("@")[0] not in self._suspects:
            return False
        return self._changed is None or self._changed.has(item)

    @property
    def prints(self) -> dict[str, str]:
        """What the files look like that were asked about; see `Changed`."""
        return {} if self._changed is None else self._changed.prints


def remember_suspects(config: pytest.Config, nodeids: Iterable[str]) -> None:
    """For `--leakcheck-last-suspects`; nothing where pytest keeps no cache."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        cache.set(SUSPECTS, sorted(set(nodeids)))


class Changed:
    """The files of tests that have changed, or of which something that they import has."""

    def __init__(self, config: pytest.Config) -> None:
        self._root = config.rootpath
        self._settings = config.inipath
        self._imports = Imports(self._root)
        self.prints: dict[str, str] = {}
        """Of each file of tests that was asked about: what it and all that it imports looks like."""
        self._since: set[Path] | None = None
        self._green: dict[str, str] = {}
        if config.option.leakcheck_since:
            self._since = _changed_since(config.option.leakcheck_since, config.invocation_params.dir)
        else:
            self._green = _cache(config, "--leakcheck=changed").get(GREEN, {})

    def has(self, item: pytest.Item) -> bool:
        """Whether the test is to be measured again."""
        file = item.nodeid.partition("::")[0]
        if file not in self.prints:
            self.prints[file] = self._print(item.path)
        if self._since is None:
            return self._green.get(file) != self.prints[file]
        others = {each for each in self._since if each.suffix != ".py"}
        return bool(others or self._since & self._seen_by(item.path))

    def _seen_by(self, test: Path) -> set[Path]:
        files = self._imports.of(test)
        for folder in test.parents:
            conftest = folder / "conftest.py"
            if conftest.is_file():
                files |= self._imports.of(conftest)
            if folder == self._root:
                break
        return files

    def _print(self, test: Path) -> str:
        files = self._seen_by(test) | ({self._settings} if self._settings else set())
        digest = hashlib.sha256(sys.version.encode())
        for file in sorted(files):
            digest.update(f"{file}\0".encode(errors="replace"))
            digest.update(file.read_bytes() if file.is_file() else b"")
        return digest.hexdigest()


def remember_green(config: pytest.Config, prints: dict[str, str], red: set[str]) -> None:
    """For `--leakcheck=changed`: the files whose tests have all passed and do not leak look as they do now."""
    cache = getattr(config, "cache", None)
    if cache is not None and prints:
        known = {file: text for file, text in cache.get(GREEN, {}).items() if file not in red}
        cache.set(GREEN, known | {file: text for file, text in prints.items() if file not in red})


def _cache(config: pytest.Config, option: str) -> Any:
    cache = getattr(config, "cache", None)
    if cache is None:
        raise pytest.UsageError(f"{option} needs what pytest keeps of earlier runs: leave out -p no:cacheprovider")
    return cache


def _changed_since(revision: str, folder: Path) -> set[Path]:
    """Files that differ from a revision, new ones among them, without documentation."""
    try:
        root = git.root(folder)
        commit = git.commit_of(root, revision)
    except UsageError as error:
        raise pytest.UsageError(f"--leakcheck-since: {error}") from None
    found: set[Path] = set()
    for arguments in (["diff", "--name-only", "-z", commit], ["ls-files", "--others", "--exclude-standard", "-z"]):
        ended = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise pytest.UsageError(f"--leakcheck-since {revision}: git says {ended.stderr.strip()[-300:]}")
        found |= {root / name for name in ended.stdout.split("\0") if name}
    return {file for file in found if file.suffix not in _DOCUMENTATION}
