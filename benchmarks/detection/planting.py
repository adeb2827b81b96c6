"""Building the extensions of the planted faults, in C, C++ and Cython: see `faults.py`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

from benchmarks.detection.building import compile_extension, output

Build = Literal["", "plain", "stripped"]
"""How the extension is built; empty where a fault needs none."""
_SOURCES = Path(__file__).resolve().parent / "cases" / "planted"
_FLAGS = {
    "plain": ["-g", "-O1"],
    "stripped": ["-O2", "-fvisibility=hidden", "-s"],
}
_CYTHON = "cython"


def changed() -> float:
    """When the newest of the sources was written, in seconds since 1970."""
    return max(each.stat().st_mtime for each in _SOURCES.iterdir())


def build_c(kind: Build, folder: Path, python: Path = Path(sys.executable)) -> None:
    """Build the extensions in C and C++ into a folder of an interpreter's path. Raises `EnvironmentMissingError`."""
    for name, flags in (("planted.c", _FLAGS[kind]), ("planted_cpp.cpp", _FLAGS[kind]), ("planted_rust.c", ["-O1"])):
        source = _SOURCES / name
        compile_extension(source, folder / f"{source.stem}.so", flags, python)


def build(kind: Build, folder: Path, python: Path) -> None:
    """Build all extensions, that in Cython too, which is fetched from the index. Raises `EnvironmentMissingError`."""
    build_c(kind, folder, python)
    with tempfile.TemporaryDirectory() as temporary:
        output([str(python), "-m", "pip", "install", "--quiet", "--target", f"{temporary}/cython", _CYTHON])
        source = Path(temporary) / "planted_cython.c"
        output(["env", f"PYTHONPATH={temporary}/cython", str(python), "-m", "cython", "-3",
                str(_SOURCES / "planted_cython.pyx"), "-o", str(source)])  # fmt: skip
        compile_extension(source, folder / "planted_cython.so", _FLAGS[kind], python)
