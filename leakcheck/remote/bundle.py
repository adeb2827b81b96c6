"""The sources of a run in one archive, known by their content: made here, unpacked once on each node.

Paths in what is sent and in what comes back are written with a name for the bundle's folder, which is another one on
each machine: results say the paths that they would have had here.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import msgspec

from leakcheck import units
from leakcheck.errors import UsageError

_LARGEST = 64 << 20
"""Bytes of an archive: it goes through the scheduler's memory, once for each node."""
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})
_OF_AN_ENVIRONMENT = "pyvenv.cfg"


class Bundle(NamedTuple):
    """The sources of a run."""

    root: str
    """The folder that they are of."""
    digest: str
    """Hash of names, contents and whether a file can be executed."""
    archive: bytes

    def outgoing(self, text: bytes) -> bytes:
        """JSON with paths of this machine, as it is sent."""
        return moved(text, self.root, name_of(self.digest))

    def incoming(self, text: bytes) -> bytes:
        """JSON that a node has sent, with paths of this machine."""
        return moved(text, name_of(self.digest), self.root)


def name_of(digest: str) -> str:
    """What a bundle's folder is called in what is sent."""
    return f"/bundle-{digest}"


def moved(text: bytes, source: str, target: str) -> bytes:
    """JSON in which paths below `source` are paths below `target`."""
    before, after = (msgspec.json.encode(each)[1:-1] for each in (source, target))
    return re.sub(re.escape(before) + rb"(?=[/\"\\\s:,;)'\]]|$)", lambda _: after, text)


def make(cwd: Path, needed: Sequence[str]) -> Bundle:
    """Pack the checkout that `cwd` is in, or `cwd` itself where git knows nothing of it.

    Of a checkout goes what git knows or does not ignore, and compiled modules; of another folder all but environments
    and hidden folders. Raises `UsageError` where a file of `needed` lies elsewhere, and for too much.
    """
    root = Path(_output(["git", "rev-parse", "--show-toplevel"], cwd).strip() or cwd).resolve()
    for file in needed:
        if not Path(file).is_relative_to(root):
            raise UsageError(
                f"--on sends the sources below {root}, and {file} is not among them; start the run from a folder that "
                "holds all that it needs"
            )
    found = {*_of_git(root)} or {*_walked(root)}
    names = sorted(found | {os.path.relpath(each, root) for each in needed})
    digest, buffer = hashlib.sha256(), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name in names:
            path = root / name
            try:
                content = path.read_bytes()
                mode = 0o755 if os.access(path, os.X_OK) else 0o644
            except OSError:  # a link to nothing, a submodule, gone by now
                continue
            digest.update(f"{name}\0{mode}\0{len(content)}\0".encode(errors="surrogateescape"))
            digest.update(content)
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
            _check_size(buffer, root)
    _check_size(buffer, root)  # the archive keeps the last of it until it is closed
    return Bundle(str(root), digest.hexdigest()[:32], buffer.getvalue())


def _check_size(buffer: io.BytesIO, root: Path) -> None:
    if buffer.tell() > _LARGEST:
        raise UsageError(
            f"--on sends the sources below {root} to each node, and they are more than {units.size(_LARGEST)}; have "
            "git ignore what is no source, or start the run from a smaller folder"
        )


def unpack(archive: bytes, folder: Path) -> None:
    """Put the sources into a folder."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed:
        if hasattr(tarfile, "data_filter"):  # since 3.11.4: nothing that was sent leads out of the folder
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(folder)  # noqa: S202


def _of_git(root: Path) -> Iterator[str]:
    """What git knows or would add, and compiled modules that it ignores; nothing where it knows nothing of a folder."""
    yield from _listed(root, "--cached")
    new = _listed(root, "--others", "--exclude-standard")
    ignored = _listed(root, "--others", "--ignored", "--exclude-standard")
    compiled = (name for name in ignored if name.endswith(tuple(EXTENSION_SUFFIXES)))
    passed_over: dict[Path, bool] = {}
    for name in (*new, *compiled):
        folder = Path(name).parent
        if folder not in passed_over:
            passed_over[folder] = _is_passed_over(root, folder)
        if not passed_over[folder]:
            yield name


def _is_passed_over(root: Path, folder: Path) -> bool:
    """Whether a folder is of an environment, or hidden."""
    return any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in folder.parts) or any(
        (root / each / _OF_AN_ENVIRONMENT).exists() for each in (folder, *folder.parents) if each.parts
    )


def _listed(root: Path, *options: str) -> Iterable[str]:
    return filter(None, _output(["git", "ls-files", "-z", *options], root).split("\0"))


def _walked(root: Path) -> Iterator[str]:
    for directory, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not os.path.exists(os.path.join(directory, name, _OF_AN_ENVIRONMENT))
        ]
        for name in files:
            if os.path.isfile(path := os.path.join(directory, name)):
                yield os.path.relpath(path, root)


def _output(command: list[str], folder: Path) -> str:
    """What git says; nothing where it is not there, or the folder is none of its own."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""
