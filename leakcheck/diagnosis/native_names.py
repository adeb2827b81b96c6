"""How a native function is called in a sentence, and which functions only hand on what another asked for."""

from __future__ import annotations

import re

_ALLOCATOR = re.compile(
    r"(?:^|_)(?:x?(?:(?:m|c|re)alloc|strn?dup)|free|new|memdup|alloc)(?:_|$|\d)|alloc(?:ate)?$", re.IGNORECASE
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
