"""From what the user typed to the scenarios that will run. Files are imported in a child, never in this process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from leakcheck import validation
from leakcheck.agent.protocol import NOT_THERE, PROGRAM, Described
from leakcheck.errors import UsageError, guess
from leakcheck.execution.crew import Crew
from leakcheck.execution.failure import WorkerFailed
from leakcheck.execution.job import Job, ScenarioInfo, asked
from leakcheck.execution.worker import Worker
from leakcheck.records import Failure

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
Found = TypeVar("Found")
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})


class Broken(NamedTuple):
    """A file that could not be imported, or that does not have what was asked of it."""

    id: str
    file: str
    failure: Failure
    whole: Failure
    """With all that the program said of it."""


class Collected(NamedTuple):
    """What was found, in the order of the arguments, then of the file names, then of the definitions."""

    scenarios: list[ScenarioInfo]
    broken: list[Broken]
    loaded: Worker | None = None
    """Where there was one file: the process that has imported it, for its first scenario; the caller stops it."""


class _Target(NamedTuple):
    load: str
    """What the worker imports: an absolute path, or `module:function`."""
    label: str
    """How ids begin: a path as short as it stays clear, or the same `module:function`."""
    wanted: str | None
    """The part after `::`, where one scenario or function was named."""
    in_folder: bool = False
    """Whether the file was found in a folder: then only its marked scenarios count, and no `main`."""


def collect(arguments: Sequence[str], template: Job, *, keep: bool = False) -> Collected:
    """Find all scenarios in files, folders and `module:function` names.

    `template` says in which interpreter. With `keep` the process that imported a single file is not ended. Raises
    `UsageError` for a path that is not there.
    """
    targets = [target for argument in arguments for target in _targets(argument, template.cwd)]
    unique = list(dict.fromkeys(targets))
    loaded: list[Worker] | None = [] if keep and len(unique) == 1 else None
    found: list[list[ScenarioInfo] | Broken]
    crew = Crew()
    try:
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            listing = [pool.submit(_list, target, template, crew, loaded) for target in unique]
            try:
                found = [each.result() for each in listing]
            except BaseException:  # an import may take minutes, and the pool waits for it
                pool.shutdown(wait=False, cancel_futures=True)
                crew.interrupt()
                raise
    except BaseException:  # an interrupt too: what was kept has no owner yet
        for worker in loaded or []:
            worker.stop()
        raise
    scenarios: dict[str, ScenarioInfo] = {}
    broken = []
    for result in found:
        if isinstance(result, Broken):
            broken.append(result)
        else:
            scenarios.update((each.id, each) for each in result)
    return Collected(list(scenarios.values()), broken, loaded[0] if loaded else None)


def load(info: ScenarioInfo, typed: str, template: Job) -> Collected:
    """The scenario that is made of what was typed, once its target has been imported; the caller stops the process.

    Raises `UsageError` where something is not there.
    """
    probe = msgspec.structs.replace(template, scenario=info)
    loaded: list[Worker] = []
    found = _listed(probe, typed, Crew(), loaded, lambda listed: listed)
    if isinstance(found, Broken):
        return Collected([], [found])
    first = found[0]
    info = msgspec.structs.replace(info, doc=first.doc, file=first.file, line=first.line)
    return Collected([info], [], loaded[0])


def select(scenarios: Sequence[ScenarioInfo], keyword: str | None, mark: str | None) -> list[ScenarioInfo]:
    """Those that match `-k` (parts of the id) and `-m` (tags); both take names, `and`, `or`, `not`, parentheses."""
    chosen = list(scenarios)
    if keyword is not None:
        matches = _expression(keyword, "-k")
        chosen = [each for each in chosen if matches(partial(_in_id, each.id.lower()))]
    if mark is not None:
        matches = _expression(mark, "-m")
        chosen = [each for each in chosen if matches(each.tags.__contains__)]
    return chosen


def _in_id(identifier: str, word: str) -> bool:
    return word.lower() in identifier


def _targets(argument: str, cwd: Path) -> list[_Target]:
    path_part, separator, wanted = _file_and_name(argument, cwd)
    path = cwd / os.path.expanduser(path_part)
    if separator and not wanted:
        raise UsageError(f"{argument}: name the scenario after the colons, or leave them out for all of the file")
    if os.path.isdir(path):
        if separator:
            raise UsageError(f"{argument}: {path_part} is a folder; name the file before '::'")
        root = path.resolve()
        return [
            _Target(str(file), _label(file, root.parent, cwd), None, in_folder=True)
            for file in sorted(_python_files(root))
        ]
    if os.path.isfile(path):
        file = path.resolve()
        if path.suffix != ".py":
            if not _is_adapter(file):
                raise UsageError(
                    f"{argument}: not a Python file; scenarios live in *.py files, and in programs that speak the "
                    "protocol of docs/protocol.md"
                )
            return [_Target(f"{PROGRAM}{file}", _label(file, file.parent, cwd), wanted or None)]
        return [_Target(str(file), _label(file, file.parent, cwd), wanted or None)]
    if _FUNCTION.match(argument):
        return [_Target(argument, argument, None)]
    neighbours = _neighbours(path.parent)
    meant = f" (did you mean {argument}.py?)" if f"{path.name}.py" in neighbours else guess(path.name, neighbours)
    if path.suffix == ".py":
        raise UsageError(f"{argument}: no such file or folder{meant}")
    module, _, function = argument.rpartition(".")
    form = f"{module}:{function}" if _FUNCTION.match(f"{module}:{function}") else "package.module:function"
    raise UsageError(f"{argument}: no such file or folder{meant}; a function is named by its module, as {form}")


def is_of_tests(path: Path) -> bool:
    """Whether pytest would look for tests there, by its own naming of files; in a folder, at any depth."""
    if path.is_dir():
        return any(map(is_of_tests, _files_below(path)))
    return path.suffix == ".py" and (path.name.startswith("test_") or path.stem.endswith("_test"))


def _neighbours(folder: Path) -> list[str]:
    """What there is beside a name that is not there."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _file_and_name(argument: str, cwd: Path) -> tuple[str, str, str]:
    """The parts around `::`, which may be one colon after a file: `module:function` has taught the fingers so."""
    stem, colon, name = argument.partition(".py:")
    file = f"{stem}.py"
    if colon and not name.startswith(":") and (cwd / file).is_file() and not (cwd / argument).exists():
        return file, colon[-1], name
    return argument.partition("::")


def _python_files(folder: Path) -> list[Path]:
    """Python files below a folder that mention `scenario`: others need not be imported to know that they have none."""
    return [file for file in _files_below(folder) if _mentions_scenarios(file)]


def _files_below(folder: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        yield from (Path(directory, name) for name in names if name.endswith(".py"))


def _mentions_scenarios(file: Path) -> bool:
    """What cannot be read may have some: the attempt to import it says what is wrong. A link to nothing has none."""
    try:
        return b"scenario" in file.read_bytes()
    except OSError:
        return os.path.exists(file)


_ADAPTER = b"leakcheck-adapter"
"""What a program has in it that speaks the protocol: no other is started because it was named by mistake."""


def _is_adapter(file: Path) -> bool:
    try:
        return os.access(file, os.X_OK) and _ADAPTER in file.read_bytes()
    except OSError:  # one that may be run and not read
        return False


def _label(file: Path, root: Path, cwd: Path) -> str:
    """The file's path for ids: from the current folder where it lies below it, else from the argument's parent."""
    try:
        return file.relative_to(cwd.resolve()).as_posix()
    except ValueError:
        return file.relative_to(root).as_posix()


def _list(target: _Target, template: Job, crew: Crew, loaded: list[Worker] | None) -> list[ScenarioInfo] | Broken:
    """What is in a file; the process that imported it is put into `loaded`, where it is to be kept."""
    probe = msgspec.structs.replace(template, scenario=ScenarioInfo(id=target.label, target=target.load, name=""))
    return _listed(probe, target.label, crew, loaded, lambda listed: _named(target, listed, template.cwd))


def _listed(
    probe: Job, typed: str, crew: Crew, loaded: list[Worker] | None, choose: Callable[[list[Described]], list[Found]]
) -> list[Found] | Broken:
    with ExitStack() as stack:
        try:
            worker = stack.enter_context(crew.start(probe))
            found = choose(worker.list_scenarios())
        except WorkerFailed as failed:
            if failed.failure.type == NOT_THERE:
                raise UsageError(f"{typed}: {failed.failure.message}") from None
            return Broken(probe.scenario.id, probe.scenario.target, failed.failure, failed.whole)
        if found and loaded is not None:
            loaded.append(worker)
            stack.pop_all()
    return found


def _named(target: _Target, listed: list[Described], cwd: Path) -> list[ScenarioInfo]:
    """What the worker listed, by id, as far as it was asked for."""
    file = target.load.removeprefix(PROGRAM)
    is_file = file.endswith(".py") or file != target.load
    # From where the user stands, an id names only what lies below.
    elsewhere = is_file and not Path(file).is_relative_to(cwd.resolve())
    found = []
    for each in listed:
        if target.in_folder and not each.marked:
            continue
        identifier = f"{target.label}::{each.name}" if is_file else target.label
        command = ["elkyn-leakcheck", "run", f"{_from_home(file)}::{each.name}"] if elsewhere else []
        fields = {field: value for field, value in each._asdict().items() if field != "marked"}
        options = {name: fields[name] for name in validation.names("scenario") if name in fields}
        validation.examine(f"@scenario of {identifier}", options, options)
        found.append(ScenarioInfo(id=identifier, target=target.load, command=command, **asked(fields)))
    if target.wanted is None:
        return found
    chosen = [each for each in found if target.wanted in (each.name, each.name.partition("[")[0])]
    if not chosen:
        names = [each.name for each in found]
        if not names and is_file and is_of_tests(Path(target.load)):
            test = f"{target.label}::{target.wanted}"
            raise UsageError(f"{test}: there is no scenario in that file, but tests: pytest --leakcheck {test}")
        raise UsageError(
            f"{target.label}::{target.wanted}: no such scenario in that file{guess(target.wanted, names)}; it has: "
            f"{', '.join(names) or 'none'}; a function without @scenario is named by its module, as "
            "package.module:function"
        )
    return chosen


def _from_home(path: str) -> str:
    """A path as it may be told: the name of a home folder is a person's. `_targets` reads it again."""
    home = os.path.expanduser("~")
    return f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") and home != "/" else path


_Words = Callable[[str], bool]


def _expression(text: str, option: str) -> Callable[[_Words], bool]:
    """A boolean expression over words, as a function of what is true of a word. Raises `UsageError`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", text)
    position = 0

    def peek() -> str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> str:
        nonlocal position
        token = peek()
        if token is None:
            raise UsageError(f"{option} {text!r}: the expression ends too early")
        position += 1
        return token

    def alternatives() -> Callable[[_Words], bool]:
        terms = [conjunction()]
        while peek() == "or":
            take()
            terms.append(conjunction())
        return lambda holds: any(term(holds) for term in terms)

    def conjunction() -> Callable[[_Words], bool]:
        terms = [negation()]
        while peek() == "and":
            take()
            terms.append(negation())
        return lambda holds: all(term(holds) for term in terms)

    def negation() -> Callable[[_Words], bool]:
        token = take()
        if token == "not":  # noqa: S105
            inner = negation()
            return lambda holds: not inner(holds)
        if token == "(":  # noqa: S105
            inner = alternatives()
            if take() != ")":
                raise UsageError(f"{option} {text!r}: a closing parenthesis is missing")
            return inner
        if token in ("and", "or", ")"):
            raise UsageError(f"{option} {text!r}: unexpected {token!r}")
        return lambda holds: holds(token)

    result = alternatives()
    if peek() is not None:
        raise UsageError(f"{option} {text!r}: unexpected {peek()!r}")
    return result
