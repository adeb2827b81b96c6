"""Whether the code of a target is what it was: the files of its module, and of those of the package that this names."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import ModuleType

from leakcheck.sweep.inside.inventory import Target


def of_targets(targets: Iterable[Target], roots: frozenset[str]) -> dict[str, str]:
    """By target a hash, which differs where a file does that its calls may run; what is not of the package is left out.

    A target without one has no file to be known by.
    """
    files: dict[str, str] = {}
    reached: dict[str, frozenset[str]] = {}
    found = {}
    for target in targets:
        if target.module not in reached:
            reached[target.module] = _reached(target.module, roots)
        hashes = [_of_file(name, files) for name in sorted(reached[target.module])]
        if all(hashes):
            found[target.name] = hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]
    return found


def _reached(module: str, roots: frozenset[str]) -> frozenset[str]:
    """The modules of the package that one leads to by what has a name in it."""
    seen, waiting = {module}, [module]
    while waiting:
        for value in list(vars(sys.modules[waiting.pop()]).values()):
            name = _module_of(value)
            if name.partition(".")[0] in roots and name in sys.modules and name not in seen:
                seen.add(name)
                waiting.append(name)
    return frozenset(seen)


def _module_of(value: object) -> str:
    name: object = ""
    with suppress(Exception):  # an object of the package's own making
        name = value.__name__ if type(value) is ModuleType else getattr(value, "__module__", "")
    return name if isinstance(name, str) else ""


def _of_file(module: str, known: dict[str, str]) -> str:
    if module not in known:
        known[module] = ""
        with suppress(OSError), open(getattr(sys.modules[module], "__file__", None) or "", "rb") as file:
            known[module] = hashlib.sha256(file.read()).hexdigest()
    return known[module]
