"""A virtual environment for each version of each package, made once and kept; peers are installed beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.detection import planting
from benchmarks.detection.building import EnvironmentMissingError, compile_extension, output
from benchmarks.detection.cases import Case

SOURCES = Path(__file__).resolve().parent / "extensions"
_LINKED = {
    "a_jemalloc": ("-ljemalloc",),
    "a_mimalloc": ("-lmimalloc",),
    "a_misc": ("-lrt", "-lpthread"),
    "a_tcmalloc": ("-ltcmalloc_minimal",),
}
"""Libraries by extension; Debian has their headers in libjemalloc-dev, libmimalloc-dev and libgoogle-perftools-dev."""
PEERS = ("psleak==0.1.6", "pytest-memray==1.11.0", "pytest")
_READY = "ok"


def interpreter(case: Case, cache: Path) -> Path:
    """The Python that runs a case, with its requirements installed. Raises `EnvironmentMissingError`."""
    if not case.python and not case.requirements and not case.extension:
        return Path(sys.executable)
    folder = cache / _name(case)
    python = folder / "bin" / "python"
    ready = folder / _READY
    if not ready.exists() or (case.extension and ready.stat().st_mtime < planting.changed()):
        shutil.rmtree(folder, ignore_errors=True)
        output([_base(case.python), "-m", "venv", str(folder)])
        if case.extension:
            planting.build(case.extension, next(folder.glob("lib/python*/site-packages")), python)
        else:
            output([str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *case.requirements])
        ready.write_text("")
    return python


def extensions(case: Case, cache: Path) -> Path | None:
    """The folder to import a case's extension from, compiled; None where it has none. Raises like `interpreter`."""
    if not case.module:
        return None
    folder = cache / f"extensions-{sysconfig.get_python_version()}"
    folder.mkdir(parents=True, exist_ok=True)
    (source,) = SOURCES.glob(f"{case.module}.c*")
    for file, links in ((source, _LINKED.get(case.module, ())), (SOURCES / "liblib.c", ())):
        made = folder / f"{file.stem}.so"
        if not made.exists() or made.stat().st_mtime < file.stat().st_mtime:
            part = made.with_suffix(f".{os.getpid()}")
            compile_extension(file, part, ["-g", "-O1", *links])
            part.rename(made)
    return folder


def _name(case: Case) -> str:
    if case.extension:
        return f"planted-{case.extension}"
    return case.id if case.version != "only" else f"requires-{'-'.join(case.requirements)}"


def with_peers(python: Path, cache: Path) -> Path:
    """Make the peers importable for an interpreter, after everything that it has itself, and return it."""
    script = "import sys, sysconfig; print(*sys.version_info[:2], sep='.'); print(sysconfig.get_path('purelib'))"
    version, site = output([str(python), "-c", script]).split()
    peers = cache / f"peers-{version}"
    if not (peers / _READY).exists():
        shutil.rmtree(peers, ignore_errors=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--target", str(peers)]
        output([*pip, *PEERS])
        (peers / _READY).write_text("")
    pth = Path(site) / "detection_peers.pth"
    if not pth.exists():
        pth.write_text(f"{peers}\n")
    return python


def _base(version: str) -> str:
    """An interpreter of that version: `python3.12` on PATH, one of pyenv's, or this one."""
    short = ".".join(version.split(".")[:2])
    if not short or short == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{short}*/bin/python"))
    for candidate in (*map(str, reversed(pyenv)), shutil.which(f"python{short}")):
        if candidate and subprocess.run([candidate, "-c", ""], check=False).returncode == 0:
            return candidate
    raise EnvironmentMissingError(f"no Python {short} found on PATH or among pyenv's versions")
