"""From what the user named to scenarios: a file, a script, `module:function`, a statement, or a call by value."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

from leakcheck.agent.scenario import MARK, Options, Scenario, expand
from leakcheck.agent.step import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, flags
from leakcheck.errors import guess

_TOP_LEVEL_AWAIT = 0x2000
"""`ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`, without importing `ast` into the measured process."""


class TargetError(Exception):
    """The target could be imported, but what was asked for is not in it."""


class ScriptFailedError(Exception):
    """A script's `main` ended the interpreter with a code that says failure."""


def load(target: str) -> list[Scenario]:
    """The scenarios of `path/to/file.py` or `package.module:function`, in the order of definition.

    A file's own folder comes first on `sys.path`, as if it were run as a script. A file without a scenario is a script:
    its `main` is the step. `snippet://`, `pickled://` and `service://` name files that the tool has written. Whatever
    the import raises, passes.
    """
    kind, separator, rest = target.partition("://")
    if separator:
        return [{"snippet": _snippet, "pickled": _call, "service": _service}[kind](rest)]
    if target.endswith(".py"):
        module = import_file(target)
        return scenarios_in(module) or _script(module)
    module_name, _, qualified_name = target.partition(":")
    sys.path.insert(0, os.getcwd())
    found: Any = _module(module_name)
    owner = f"module {module_name}"
    for part in qualified_name.split("."):
        if not hasattr(found, part):
            raise TargetError(f"{owner} has no {part!r}{guess(part, dir(found))}")
        found, owner = getattr(found, part), part
    if not callable(found):
        raise TargetError(f"it is {type(found).__name__}, not a function that can be called")
    return expand(qualified_name, found, getattr(found, MARK, Options()))


def _module(name: str) -> ModuleType:
    """Import what was typed. That it does not exist is a mistake of typing; what its own imports raise is not."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(f"{missing}."):
            raise
        parent, _, last = missing.rpartition(".")
        close = guess(last, _modules_of(parent)) or f" in {sys.executable} (--python names another interpreter)"
        raise TargetError(f"there is no module {missing!r}{close}") from None


def _modules_of(package: str) -> list[str]:
    """The names that could have been imported from a package, or without one."""
    import pkgutil

    if not package:
        return [*(each.name for each in pkgutil.iter_modules()), *sys.stdlib_module_names]
    parent = sys.modules.get(package)
    inside = [each.name for each in pkgutil.iter_modules(getattr(parent, "__path__", ()))]
    return [*inside, *(name for name, value in vars(parent).items() if isinstance(value, ModuleType))]


def named(scenarios: list[Scenario], name: str, target: str) -> Scenario:
    """The scenario of that name. Raises `TargetError`."""
    for scenario in scenarios:
        if scenario.name == name:
            return scenario
    raise TargetError(f"{target} has no scenario named {name!r}")


def scenarios_in(module: ModuleType) -> list[Scenario]:
    """All functions of a module that carry `@scenario` and were defined in it (not imported from elsewhere)."""
    found = []
    for name, value in vars(module).items():
        options = getattr(value, MARK, None)
        if isinstance(options, Options) and getattr(value, "__module__", None) == module.__name__:
            found += expand(name, value, options)
    return found


def _script(module: ModuleType) -> list[Scenario]:
    """The `main` of a script, if it has one of its own. That it ends with `sys.exit(0)` is no fault."""
    main = getattr(module, "main", None)
    if getattr(main, "__module__", None) != module.__name__ or not callable(main):
        return []
    sys.argv[0] = module.__file__ or ""
    if flags(main) & CO_COROUTINE:
        return [Scenario("main", main, {}, Options())]

    def run_main() -> None:
        try:
            main()
        except SystemExit as done:
            if done.code not in (None, 0):
                raise ScriptFailedError(f"main() ended with exit code {done.code}") from done

    run_main.__doc__, run_main.__wrapped__ = main.__doc__, main  # type: ignore[attr-defined]
    return [Scenario("main", run_main, {}, Options())]


def import_file(path: str) -> ModuleType:
    """Import a file under its own name, its folder first on `sys.path`."""
    folder, file_name = os.path.split(os.path.abspath(path))
    sys.path.insert(0, folder)
    name = file_name.removesuffix(".py")
    if not name.isidentifier() or name in sys.modules:
        name = "scenarios_in_" + "".join(each if each.isalnum() else "_" for each in name)
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, file_name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _snippet(rest: str) -> Scenario:
    """The scenario of `<number of lines of set-up>/<absolute path>`: the other lines of the file are the step.

    Both are compiled as a module's code is, so that the statement sees and changes the names of the set-up, as in
    `timeit`. A statement with `await` makes an async step; set-up with `await` is not possible outside a loop.
    """
    lines_of_setup, _, path = rest.partition("/")
    path = "/" + path
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    border = int(lines_of_setup)
    module = ModuleType("snippet")
    module.__file__ = path
    sys.modules["snippet"] = module  # a root of its own in the object graph: what the snippet keeps is `snippet.name`
    sys.path.insert(0, os.getcwd())
    exec(compile("".join(lines[:border]), path, "exec"), vars(module))  # noqa: S102 - the user's own line
    statement = compile("\n" * border + "".join(lines[border:]), path, "exec", _TOP_LEVEL_AWAIT)
    return _statement(statement, vars(module))


def _statement(statement: CodeType, names: dict[str, object]) -> Scenario:
    if statement.co_flags & CO_COROUTINE:

        async def async_step() -> None:
            await eval(statement, names)  # noqa: S307

        return Scenario("snippet", async_step, {}, Options())

    def step() -> None:
        exec(statement, names)  # noqa: S102

    return Scenario("snippet", step, {}, Options())


def _service(path: str) -> Scenario:
    """Visits to a service, as a file says them. Loads a client, which no other scenario has a use for."""
    from leakcheck.agent.service_file import of_file

    return of_file(path, _client)


def _client(path: str, name: str) -> Callable[..., Any]:
    """The function of a file that visits a service. Raises `TargetError` for what cannot be called to do so."""
    module = import_file(path)
    if not hasattr(module, name):
        raise TargetError(f"there is no {name!r} in that file{guess(name, dir(module))}")
    found = getattr(module, name)
    if not callable(found):
        raise TargetError(f"it is {type(found).__name__}, not a function that can be called")
    if flags(found) & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        raise TargetError("it is a generator, whose code does not run when it is called; let it be a function")
    return found  # type: ignore[no-any-return]


def _call(path: str) -> Scenario:
    """The call that `leakcheck.check` has pickled into a file. It trusts the file as it trusts its parent."""
    import pickle

    with open(path, "rb") as file:
        first, own, last = pickle.load(file)  # noqa: S301
        sys.path[:] = [*first, *(sys.path if own else ()), *last]
        function, arguments, raises = pickle.load(file)  # noqa: S301
    _make_visible(function)
    return of_call(function, arguments, raises)


def in_file(make: Callable[..., CodeType], parts: tuple[Any, ...], file: str) -> CodeType:
    """The code of a function that came by value, in the file that it was written in."""
    return make(*parts).replace(co_filename=file)


def _make_visible(function: Any) -> None:
    """A function that came by value lives in no module: give its names one, so that what it keeps has a path."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    function = getattr(function, "__func__", function)
    names = getattr(function, "__globals__", None)
    owner = sys.modules.get(getattr(function, "__module__", None) or "")
    if names is None or names is getattr(owner, "__dict__", None):
        return
    file = function.__code__.co_filename.rpartition("/")[2]
    name = file.removesuffix(".py") if file.endswith(".py") and file[:1].isalpha() else "call"
    module = ModuleType(name)
    vars(module).update({key: value for key, value in names.items() if key != "__builtins__"})
    vars(module).setdefault(function.__name__, function)
    sys.modules.setdefault(name, module)


def of_call(
    function: Callable[..., Any], arguments: tuple[Any, ...], raises: Any, forget: Callable[[], None] | None = None
) -> Scenario:
    """A call as a scenario; `forget` is run after each call, for what the surroundings keep of it.

    Always a generator, so that a generator function under test is called and not taken for a scenario's set-up.
    """
    options = Options(raises=raises)
    step = function
    if flags(function) & CO_COROUTINE:
        if arguments or forget:

            async def step() -> None:
                await function(*arguments)
                if forget:
                    forget()

        async def async_call() -> AsyncIterator[Callable[[], Any]]:
            yield step

        return Scenario("call", async_call, {}, options)
    if arguments or forget:

        def step() -> None:
            function(*arguments)
            if forget:
                forget()

    def call() -> Iterator[Callable[[], Any]]:
        yield step

    return Scenario("call", call, {}, options)
