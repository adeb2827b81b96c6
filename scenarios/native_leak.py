"""A leak planted in C++: what memory-safe Python cannot show, and the tool must."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from leakcheck import scenario

SOURCE = Path(__file__).parent / "native_leak" / "leaky.cpp"


def _compiled() -> ctypes.CDLL:
    """Compile the planted source, once per version of it, with line numbers for the report."""
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found for the planted leak; install one with: apt-get install g++")
    version = hashlib.sha256(SOURCE.read_bytes() + str(SOURCE).encode()).hexdigest()[:16]
    # Not in the temporary directory: that is the scenario's own, and gone when memray and valgrind look for the lines.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = cache / "elkyn-leakcheck" / f"planted-leak-{version}.so"
    if not library.exists():
        library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=library.parent, suffix=".so") as fresh:
            command = [compiler, "-std=c++17", "-g", "-O1", "-shared", "-fPIC", str(SOURCE), "-o", fresh.name]
            subprocess.run(command, check=True)
            shutil.copy(fresh.name, library.with_suffix(f".{os.getpid()}"))
        library.with_suffix(f".{os.getpid()}").replace(library)
    return ctypes.CDLL(str(library))


@scenario(tags={"native", "bad"}, expect="leak", native=True)
def planted_native_leak():
    """A native cache that forgets to give its entries back."""
    remember = _compiled().planted_remember
    remember.argtypes = [ctypes.c_char_p]

    def step():
        remember(b"a key that nobody will ever look up")

    yield step
