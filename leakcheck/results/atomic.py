"""Write files whole or not at all: readers see the old content or the new, also after a crash."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from leakcheck.errors import LeakcheckError


class WriteError(LeakcheckError):
    """A file could not be written; what stood there before is untouched."""


Content = bytes | Iterable[bytes]
"""What a file is to hold, as a whole or in parts that are made while it is written."""


def write(path: Path, content: Content) -> None:
    """Put `content` at `path` in one step. Raises `WriteError`; then `path` is as it was."""
    write_together(path.parent, {path.name: content})


def write_together(directory: Path, files: Mapping[str, Content]) -> list[Path]:
    """Write several files of one directory: all are on disk before the first takes its name.

    Two writers of one directory need no lock: each renames its files in the same order and then looks whether
    all of them are still its own. Whatever the interleaving, if the directory ends up with files of both, at
    least one of them sees it and raises `WriteError`.
    """
    staged: dict[Path, Path] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            staged[directory / name] = _stage(directory, name, content)
        identities = {target: _identity(temporary) for target, temporary in staged.items()}
        for target, temporary in staged.items():
            temporary.replace(target)
        _sync_directory(directory)
        strangers = [target.name for target, identity in identities.items() if _identity(target) != identity]
    except OSError as error:
        raise WriteError(
            f"cannot write {error.filename or directory}: {error.strerror or error}; "
            "nothing half-written was left behind, make room or choose another directory and run again"
        ) from error
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    if strangers:
        raise WriteError(
            f"another run wrote {', '.join(strangers)} in {directory} at the same time, so the files "
            "there are not of one run; give each run a directory of its own with --report and run again"
        )
    return list(staged)


def link(name: Path, target: Path) -> None:
    """Let the symbolic link `name` point to `target`, replacing the link that was there in one step."""
    temporary = name.with_name(f".{name.name}.{os.urandom(6).hex()}")
    try:
        temporary.symlink_to(os.path.relpath(target, name.parent), target_is_directory=True)
        temporary.replace(name)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise WriteError(f"cannot make the link {name}: {error.strerror or error}; remove what is there") from error


def append_line(path: Path, line: bytes) -> None:
    """Append one line in a single write, so that lines of runs that end at the same moment do not mix."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, line + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise WriteError(f"cannot append to {path}: {error.strerror or error}") from error
    if written != len(line) + 1:
        raise WriteError(f"cannot append to {path}: only {written} of {len(line) + 1} bytes fitted; make room")


def _stage(directory: Path, name: str, content: Content) -> Path:
    temporary = directory / f".{name}.{os.urandom(6).hex()}"
    try:
        with temporary.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(directory / name)) from error
    return temporary


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # some file systems cannot; the renames are still atomic
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
