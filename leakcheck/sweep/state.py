"""What is kept of a sweep that goes on, so that it can be resumed; and a finished one read again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from leakcheck.errors import UsageError
from leakcheck.records import Record
from leakcheck.results import atomic
from leakcheck.sweep import inside
from leakcheck.sweep.inside.messages import Asked, Began, Crash, Suspect, Swept
from leakcheck.sweep.outcome import SCHEMA, Sweep
from leakcheck.sweep.seen import Seen

FILE_NAME = "sweep-so-far.json"
_OPTIONS = {
    "include": "--include",
    "exclude": "--exclude",
    "seconds": "--time-per-target",
    "errors_only": "--errors-only",
    "seeds": "--seeds",
    "since": "--since",
    "folder": "another folder",
}
"""By field of what was asked, what a user would have said otherwise: it decides which calls a target is swept with."""


class State(Record, frozen=True, kw_only=True):
    """The content of `sweep-so-far.json`."""

    generator: str
    """Hash of what makes the calls: what another version has done is done again."""
    asked: Asked
    python: str
    distributions: dict[str, str]
    swept: list[Swept]
    suspects: list[Suspect]
    crashes: list[Crash]

    def check(self, began: Began) -> None:
        """Raises `UsageError` where other versions are swept now."""
        if (began.python, began.distributions) != (self.python, self.distributions):
            then = ", ".join(f"{name} {version}" for name, version in self.distributions.items())
            then = f"{then} in Python {self.python.split()[0]}".lstrip()
            raise UsageError(f"--resume: the sweep that was interrupted was of {then}; sweep again without --resume")

    def put_into(self, seen: Seen) -> None:
        """Let a sweep begin with what is known."""
        seen.swept = {each.target: each for each in self.swept}
        seen.suspects, seen.crashes = list(self.suspects), list(self.crashes)
        seen.done_before = list(seen.swept)


def write(path: Path, asked: Asked, seen: Seen) -> None:
    """Keep what is known so far; not the suspects of a target that is not done, for it shows them again.

    Raises `atomic.WriteError`.
    """
    state = State(
        generator=generator(),
        asked=asked,
        python=seen.began.python,
        distributions=seen.began.distributions,
        swept=list(seen.swept.values()),
        suspects=[each for each in seen.suspects if each.target in seen.swept],
        crashes=seen.crashes,
    )
    atomic.write(path, msgspec.json.encode(state))


def read(path: Path, asked: Asked) -> State:
    """What is known of a sweep that was interrupted. Raises `UsageError` where that is nothing, or another one."""
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        raise UsageError(f"--resume: there is no {path}; a sweep that was interrupted has left one") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"--resume: {path} cannot be read: {error}; sweep again without --resume") from None
    if state.asked.targets != asked.targets:
        raise UsageError(f"--resume: {path} is of a sweep of {' '.join(state.asked.targets)}")
    others = [option for field, option in _OPTIONS.items() if getattr(state.asked, field) != getattr(asked, field)]
    if others:
        raise UsageError(f"--resume: {path} is of a sweep with other options ({', '.join(others)}); give the same ones")
    if state.generator != generator():
        raise UsageError(f"--resume: {path} was written by another version; sweep again without --resume")
    return state


def code_of(path: Path) -> dict[str, str]:
    """The code of the targets that an earlier sweep has done; nothing where another version made its calls.

    Raises `UsageError`.
    """
    earlier = of_sweep(path)
    return earlier.code if earlier.generator == generator() else {}


def of_sweep(path: Path) -> Sweep:
    """A finished sweep. Raises `UsageError`."""
    try:
        sweep = msgspec.json.decode(path.read_bytes(), type=Sweep)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; give a sweep.json of `elkyn-leakcheck sweep`") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no sweep.json of `elkyn-leakcheck sweep`: {error}") from None
    if sweep.schema != SCHEMA:
        raise UsageError(f"{path} has the schema {sweep.schema[:40]!r}, but {SCHEMA!r} is needed")
    return sweep


def generator() -> str:
    """Hash of what makes the calls."""
    folder = Path(inside.__file__).parent
    content = b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))
    return hashlib.sha256(content).hexdigest()[:16]
