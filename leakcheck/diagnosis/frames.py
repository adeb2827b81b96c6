"""From file and line, or from a native symbol, to a named `Frame`.

A Python frame has the function's qualified name and the source around the line. A native one is named as its author
wrote it; whether it belongs to the interpreter, or only passes a request on, decides which function is worth naming.
"""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from leakcheck.agent.origin import HERE, Origin
from leakcheck.records import Frame

Line = tuple[str, int]
"""File and line of Python code."""
EVALUATION = ("_PyEval_", "PyEval_")
"""How the names of native functions begin that evaluate Python code."""
UNKNOWN = "???"
"""What valgrind calls a function without a symbol."""
_CONTEXT_LINES = 3
"""Source lines shown on either side of a frame's own."""

_INTERPRETER_FILE = re.compile(
    r"^(?:\./)?(?:Objects|Python|Modules|Include|Parser|Programs|<built-in>)/|/cpython(?:-[\d.]+)?/|/Python-3\."
)
_STANDARD_MODULE = re.compile(r"(?:^|/)Modules/(?!main\.c|gcmodule\.c|getpath)")
"""A C module of the standard library, as opposed to the core of the interpreter."""
_INTERPRETER_OFFSET = re.compile(r"^(?:lib)?(?:python[\d.]*|c|m|dl|pthread|ld-[\w-]*)(?:-[\d.]+)?\.?(?:so)?[\d.]*\+0x")
"""A place in a library of the interpreter's or of C's that has no symbols."""
_INTERPRETER_NAME = re.compile(
    r"^(?:_?Py[A-Z_]\w*|_Py\w*|cfunction_\w+|type_call|slot_tp_\w+|method_vectorcall\w*|vectorcall_\w+|object_vacall"
    r"|gen_send_ex\w*|trace_call_function|do_call_core|call_function|builtin_\w+|ffi_call\w*|_call_function_pointer"
    r"|gc_alloc|new_threadstate|thread_run|start_thread|clone\w*|__libc_start\w*|_start|main|pymain_\w+|run_mod\w*"
    r"|operator new.*|_Znw[mj]|_Zna[mj]|malloc|calloc|realloc|posix_memalign|aligned_alloc|mmap\w*|<unknown>|\?\?\?)$"
)
_ALLOCATOR = re.compile(
    r"(?:^|_)(?:x?(?:(?:m|c|re)alloc|strn?dup)|free|memdup|alloc)(?:_|$|\d)|alloc(?:ate)?$", re.IGNORECASE
)
_LIBRARY_FILE = re.compile(
    r"/include/(?:c\+\+|[^/]+/c\+\+)/|/rustc/|/library/(?:alloc|core|std)/src/"
    r"|^(?:\./|.*/glibc[^/]*/)(?:malloc|posix|stdio-common|libio|string|nss|inet|locale|stdlib|dirent|elf|iconv|nptl)/\w+\.[ch]$"
    r"|^\.\./(?:sysdeps|nptl)/"
)
"""Of C++, of Rust, and of the C library as distributions build it, in its own folders."""
_LIBRARY_NAME = re.compile(r"(?:^|[\s*&<])(?:std|__gnu_cxx|__cxxabiv1|alloc|core)::|^operator (?:new|delete)")
_ARGUMENTS = re.compile(r"<[^<>]*>|\([^()]*\)(?: const| noexcept|&)*")
_ANONYMOUS = "(anonymous namespace)"
_CYTHON = re.compile(r"__pyx_(?:p[fw]|f|mdef|specialmethod|getprop|setprop|tp_\w+?)_(?=\d)")
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_OF_THE_COMPILER = re.compile(
    r"(?: ?\[clone [^\]]*\]|\.(?:lto_priv|constprop|isra|part|llvm|localalias|cold|clone)(?:\.\d+)*)+$"
)
"""What compilers append to a name for a copy of their own: `.lto_priv.0`, ` [clone .cold]`."""


class NativeFrame(NamedTuple):
    """One frame of native code as the tool reported it."""

    function: str
    file: str
    line: int


def python_frame(file: str, line: int, function: str = "", origin: Origin = HERE) -> Frame:
    """A frame of Python code; `function` is used where the source does not show the qualified name.

    `origin` knows whose code it is in the interpreter that ran it.
    """
    text = linecache.getline(file, line).rstrip("\n")
    start = max(1, line - _CONTEXT_LINES)
    context = (
        [linecache.getline(file, number).rstrip("\n") for number in range(start, line + _CONTEXT_LINES + 1)]
        if text
        else []
    )
    while context and not context[-1]:
        context.pop()
    return Frame(
        file=file,
        line=max(0, line),
        function=_best_name(qualified_name(file, line), function),
        source=text.strip(),
        user=origin.rank(file) == 0,
        context=context,
        context_start=start if context else 0,
    )


def _best_name(qualified: str, reported: str) -> str:
    """A tool may know the bare name only; the source does not show on whose behalf a line with `def` runs."""
    if reported and qualified.rpartition(".")[2] != reported.rpartition(".")[2]:
        return reported
    return max(qualified, reported, key=len) or "<module>"


def native_frame(file: str, line: int, function: str) -> Frame:
    """A frame of C, C++, Cython or Rust code."""
    text = linecache.getline(file, line).rstrip("\n") if file.startswith("/") and line else ""
    return Frame(file=file, line=max(0, line), function=readable(function), native=True, source=text.strip())


def readable(function: str) -> str:
    """A function's name as its author wrote it: of Cython `package.module.Class.method`, of C++ and Rust demangled."""
    function = _OF_THE_COMPILER.sub("", function)
    match = _CYTHON.match(function)
    if match is None:
        return _RUST_HASH.sub("", _demangled(function) if function.startswith(("_R", "_Z")) else function)
    rest, parts = function[match.end() :], []
    while (length := re.match(r"\d+", rest)) is not None:
        size = int(length.group())
        part = rest[length.end() : length.end() + size]
        following = rest[length.end() + size :]
        if len(part) < size or (following and not following.startswith("_")):
            break
        parts.append(part)
        rest = following.removeprefix("_")
    return ".".join([*parts, rest.lstrip("0123456789")]).rstrip(".")


def _demangled(function: str) -> str:
    """A name of C++ or Rust as its author wrote it; as it is where it is none."""
    try:
        import pydemumble
    except ImportError:  # no wheel for this platform
        return function
    return pydemumble.demangle(function) or function


def is_interpreter(frame: NativeFrame) -> bool:
    """Whether a native frame belongs to CPython or the C library and says nothing about the fault."""
    if _INTERPRETER_FILE.search(frame.file) or _INTERPRETER_NAME.match(frame.function):
        return True
    return bool(_INTERPRETER_OFFSET.match(frame.function) or "/memray/" in frame.file)


def is_standard_module(frame: NativeFrame) -> bool:
    """Whether a frame of the interpreter's is one of a C module of the standard library."""
    return bool(_STANDARD_MODULE.search(frame.file))


def hands_on(function: str, file: str) -> bool:
    """Whether a function only hands on what it is asked for, so that its caller is worth more.

    An allocator, or the standard library of C++ or Rust: its containers are inlined or instantiated into the library
    that uses them.
    """
    name = short_name(function)
    return bool(_LIBRARY_FILE.search(file) or _LIBRARY_NAME.match(name) or _ALLOCATOR.search(name))


def short_name(function: str) -> str:
    """`std::vector::push_back` of `void std::vector<Point, std::allocator<Point> >::push_back(Point const&)`."""
    if "operator" in function or function.startswith("<"):
        return function  # the brackets may be those of its own name
    name = function.replace(_ANONYMOUS, "{anonymous}")
    while (shorter := _ARGUMENTS.sub("", name)) != name:
        name = shorter
    if name != function and "(" in function:
        name = name.rpartition(" ")[2]  # what it returns
    return name.replace("{anonymous}", _ANONYMOUS)


def outside_library(lines: Iterable[Line], origin: Origin) -> frozenset[Line]:
    """The lines without those of the standard library."""
    return frozenset(line for line in lines if not origin.standard(line[0]))


def qualified_name(file: str, line: int) -> str:
    """The function or method around a line, `Hub.on`; empty outside of any, and where there is no source."""
    best = ""
    for first, last, name in _functions(file):
        # Ordered from the outside in: the last that fits is the innermost. The line with `def` runs in the function
        # around it.
        if first < line <= last or first == line == last or (first == line and not best):
            best = name
    return best


def only_call(file: str, line: int) -> str:
    """What a line calls, `parser.feed`, if it is one call of something that has a name; else empty."""
    tree = _tree(file)
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and each.lineno == line] if tree else []
    name = ast.unparse(calls[0].func) if len(calls) == 1 else ""
    return name if all(map(str.isidentifier, name.split("."))) else ""


@lru_cache(maxsize=64)
def _tree(file: str) -> ast.Module | None:
    """The source of a file; None where it has none, or one for another Python."""
    text = "".join(linecache.getlines(file))
    if not text or not file.endswith(".py"):
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=256)
def _functions(file: str) -> tuple[tuple[int, int, str], ...]:
    tree = _tree(file)
    if tree is None:
        return ()
    found: list[tuple[int, int, str]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{child.name}"
                found.append((child.lineno, child.end_lineno or child.lineno, name))
                visit(child, f"{name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                name = f"{prefix}{child.name}"
                visit(child, f"{name}.")
            else:
                visit(child, prefix)

    visit(tree, "")
    return tuple(found)
