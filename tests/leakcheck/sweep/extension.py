"""The planted extension, compiled once for the tests of a run."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).with_name("planted_extension.c")


def compiled(folder: Path) -> Path:
    """The extension module, in `folder`."""
    target = folder / "planted_extension.so"
    include = f"-I{sysconfig.get_paths()['include']}"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-O0", include, str(SOURCE), "-o", str(target)],
        check=True,
        capture_output=True,
    )
    return target


def planted() -> tuple[set[str], set[str]]:
    """Names of what leaks, and of what does not."""
    text = SOURCE.read_text()
    names = {name for name in re.findall(r"\b(?:[Ll]ost|[Ff]ine)\w+", text) if _is_target(name, text)}
    lost = {name for name in names if name.lower().startswith("lost")}
    return lost, names - lost


def _is_target(name: str, text: str) -> bool:
    return f"TYPE({name}," in text or f'{{"{name}",' in text or f"O({name})" in text


if __name__ == "__main__":
    print(compiled(Path(sys.argv[1])))
