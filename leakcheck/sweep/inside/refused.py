"""Names that are not called: what they are called for could reach beyond the process, or takes addresses on trust."""

from __future__ import annotations

import re

_REASONS = {
    "ends, signals or starts processes": "kill killpg terminate suspend resume spawn fork forkpty exec system popen "
    "exit abort signal shutdown reboot daemon daemonize subprocess",
    "changes limits or the terminal": "nice ionice rlimit setrlimit affinity setaffinity priority setpriority "
    "tcsetattr setuid setgid chroot umask mlockall",
    "removes or changes files": "unlink rmtree rmdir rename renames chmod chown mkdir makedirs symlink mknod "
    "delete_file remove_file mount umount",
    "talks to the network": "connect bind listen accept sendto sendall recvfrom socket urlopen urlretrieve download "
    "upload smtp ftp",
    "reads or writes memory by address": "addressof ptr memset memmove memcpy poke unsafe "
    "from_address from_ptr dealloc decref incref",
    "waits for others": "input getpass sleep wait serve_forever run_forever breakpoint set_trace pause",
}
_WHY = {word: reason for reason, words in _REASONS.items() for word in words.split()}
_WRITES = "writes files where the kernel does not isolate it"
_WRITING = frozenset(["write", "save", "dump", "open", "create", "touch", "export", "log", "store"])

_MODULES = frozenset(
    [
        "ctypes",
        "_ctypes",
        "subprocess",
        "_posixsubprocess",
        "signal",
        "_signal",
        "socket",
        "_socket",
        "os",
        "posix",
        "shutil",
        "pty",
        "termios",
        "fcntl",
        "resource",
        "faulthandler",
        "multiprocessing",
        "_multiprocessing",
        "mmap",
    ]
)
"""Modules of the standard library of which nothing is called."""

_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")


def refused(module: str, name: str, *, isolated: bool) -> str:
    """Why something of this name is not called; empty where it is."""
    root = module.partition(".")[0]
    if root in _MODULES:
        return f"is of {root}, which works on the system itself"
    last = name.rpartition(".")[2]
    if last.startswith("__"):
        return ""
    parts = [part.lower() for part in _PARTS.findall(last)]
    words = [last.lower(), *parts[:1], *parts[-1:]]  # the verb stands at the beginning or at the end
    found = next((_WHY[word] for word in words if word in _WHY), "")
    if not found and not isolated and _WRITING.intersection(words):
        return _WRITES
    return found
