"""An environment that is made from a lock by uv, where a node has none like this machine's."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from leakcheck.errors import LeakcheckError, UsageError
from leakcheck.execution.workspace import Workspace

_MAKING_S = 1800.0
"""Seconds that it may take to fetch and build what a lock names."""
_PROJECT_LOCK = "uv.lock"
"""It names a project's packages for all platforms, and is no list that can be installed as it is."""


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """Exact versions of all packages of an environment."""

    name: str
    """`requirements.txt`, or a name of the form `pylock.toml`: uv goes by it."""
    text: str
    python: str
    """Version of the interpreter."""


def read(path: Path, python: str) -> Lock:
    """The lock in a file. Raises `UsageError`."""
    try:
        if path.name == _PROJECT_LOCK:
            options = ["--frozen", "--no-emit-project", "--quiet", "--directory", str(path.absolute().parent)]
            return Lock(name="requirements.txt", text=_uv("export", *options), python=python)
        name = "pylock.toml" if path.suffix == ".toml" else "requirements.txt"
        return Lock(name=name, text=path.read_text("utf-8"), python=python)
    except (OSError, UnicodeDecodeError, LeakcheckError) as error:
        raise UsageError(f"--lock {path}: it cannot be read: {error}") from error


def interpreter(lock: Lock) -> str:
    """The interpreter of the environment that a lock describes, made once. Raises `LeakcheckError`. Thread-safe."""
    digest = hashlib.sha256(msgspec.json.encode(lock)).hexdigest()
    with _MAKING:
        if digest not in _MADE:
            workspace = Workspace()
            try:
                _make(lock, workspace.path)
            except BaseException:
                workspace.close()
                raise
            atexit.register(workspace.close)
            _MADE[digest] = str(workspace.path / "environment" / "bin" / "python")
    return _MADE[digest]


_MAKING = threading.Lock()
_MADE: dict[str, str] = {}
"""The interpreters of this process's environments, by the hash of their locks."""


def _make(lock: Lock, folder: Path) -> None:
    (folder / lock.name).write_text(lock.text, "utf-8")
    environment = folder / "environment"
    _uv("venv", "--quiet", "--python", lock.python, str(environment))
    _uv("pip", "sync", "--quiet", "--python", str(environment / "bin" / "python"), str(folder / lock.name))


def _uv(*words: str) -> str:
    """What uv prints. Raises `LeakcheckError` with the last line of what it says."""
    program = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise LeakcheckError("there is no uv, which makes environments; pip install uv")
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=_MAKING_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeakcheckError(f"uv {words[0]}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise LeakcheckError(f"uv {words[0]}: {said[-1].strip()}")
    return done.stdout
