"""Runs a command where it can do no harm: `python -I isolation.py WORK_FOLDER RESULTS_FOLDER COMMAND...`.

It runs by path, with the standard library alone. The command starts in the work folder, which is its `TMPDIR` too. What
could be done is said to it in `LEAKCHECK_ISOLATION`:

* `namespaces`: processes, network and file systems of its own. All files can be read. Written to can be an empty work
  folder in memory, of limited size, that is gone afterwards, and the results folder. No process outside can be seen.
* `landlock`: files can be written below the two folders only, no TCP connection can be made, and from Linux 6.12 on no
  process outside gets a signal.
* `none`: the kernel allows neither.

In all three nothing can be connected to, where the machine is an x86-64 or an ARM of 64 bits: a socket that lies in a
folder can be reached in a network of one's own too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
from collections.abc import Sequence
from typing import NoReturn

VARIABLE = "LEAKCHECK_ISOLATION"
"""Environment variable that says to the command how it is isolated."""
LIFELINE = "LEAKCHECK_LIFELINE"
"""The variable of `leakcheck.agent.lifeline`."""
ONLY = "LEAKCHECK_ISOLATE_BY"
"""Environment variable that names the one way to try, for tests."""

_WORK_BYTES = 256 << 20
"""Bytes that can be written into the work folder, which lies in memory."""
_MOST_PROCESSES = 400
"""Processes at a time in a namespace of their own: the kernel takes no number below 301."""

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_PIDS, _NEW_NETWORK = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
"""`CLONE_NEW*` of linux/sched.h."""
_NO_SETUID, _NO_DEVICES, _NO_EXEC, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
"""`MS_*` of linux/mount.h."""
_SET_ATTRIBUTES, _READ_ONLY, _BELOW_TOO, _HERE = 442, 1, 0x8000, -100
"""The number of the system call `mount_setattr`, `MOUNT_ATTR_RDONLY`, `AT_RECURSIVE`, `AT_FDCWD`."""
_HIDDEN = ("/dev/pts", "/dev/shm", "/run")  # noqa: S108 - what is there is hidden
"""Folders that are empty inside: terminals, shared memory and sockets of others can be written to on a disk that is
read-only too."""

_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
"""The numbers of the system calls of Landlock."""
_WRITE_FILE, _TRUNCATE, _DEVICE_CONTROL = 1 << 1, 1 << 14, 1 << 15
"""Rights of Landlock; the second and the third came with its versions 3 and 5."""
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 14))
"""Rights of Landlock: to write to a file, and to make or remove anything."""
_TCP, _SCOPES = 0b11, 0b11
"""To bind and to connect; abstract sockets and signals of others."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_END_WITH_PARENT, _SET_FILTER, _DROP, _NO_NEW_PRIVILEGES = 1, 22, 24, 38
"""`PR_SET_PDEATHSIG`, `PR_SET_SECCOMP`, `PR_CAPBSET_DROP`, `PR_SET_NO_NEW_PRIVS` of linux/prctl.h."""
_BY_FILTER, _LOAD, _IF_EQUAL, _ANSWER = 2, 0x20, 0x15, 0x06
"""`SECCOMP_MODE_FILTER`, and the instructions of such a filter: load a word, compare it, answer."""
_NUMBER_AT, _MACHINE_AT, _ALLOW, _REFUSE = 0, 4, 0x7FFF0000, 0x00050000
"""Where `struct seccomp_data` has what is called and for which machine; `SECCOMP_RET_ALLOW`, `SECCOMP_RET_ERRNO`."""
_CONNECT = {"x86_64": (0xC000003E, 42), "aarch64": (0xC00000B7, 203)}
"""`AUDIT_ARCH_*` of a machine, and its number of the system call `connect`."""
_CAPABILITIES = 64
"""As many as the kernel has bits for."""

_c = ctypes.CDLL(None, use_errno=True)


def main() -> NoReturn:
    """Isolate, and become the command."""
    work, results, *command = sys.argv[1:]
    if LIFELINE in os.environ:
        _end_when_nobody_holds(int(os.environ[LIFELINE]))
    only = os.environ.pop(ONLY, "")
    if only in ("", "namespaces"):
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            _in_namespaces(work, results, command, tell)
        os.close(tell)
        isolated = os.read(told, 1)
        _, status = os.waitpid(child, 0)
        if isolated:
            os._exit(_exit_code(status))
    by = "none"
    if only in ("", "landlock") and _landlock((work, results)):
        by = "landlock"
    _become(command, work, by)


def _end_when_nobody_holds(descriptor: int) -> None:
    """As `leakcheck.agent.lifeline.hold` does, which is not at hand in a script."""
    import fcntl

    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        if not os.read(descriptor, 1):
            signal.raise_signal(signal.SIGKILL)
    except BlockingIOError:
        return


def _in_namespaces(work: str, results: str, command: list[str], tell: int) -> NoReturn:
    """Be the parent of the first process in namespaces of its own; exits as that does."""
    try:
        user, group = os.geteuid(), os.getegid()
        _call(_c.unshare, _NEW_USER | _NEW_MOUNTS | _NEW_PIDS | _NEW_NETWORK | _NEW_IPC)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
        child = os.fork()
        if child:
            os.close(tell)
            _, status = os.waitpid(child, 0)
            os._exit(_exit_code(status))
        _c.prctl(_END_WITH_PARENT, signal.SIGKILL)
        os.setsid()  # a signal to its own group reaches nobody outside
        _mount(work, results)
        _drop_capabilities()
        os.write(tell, b"1")
        os.close(tell)
    except OSError:
        os._exit(1)  # nothing was told: another way is tried
    _become(command, work, "namespaces")


def _mount(work: str, results: str) -> None:
    """Everything read-only but two folders; what lets one reach others is hidden."""
    _call(_c.mount, b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
    results_folder = os.open(results, os.O_PATH)
    _call(_c.mount, os.fsencode(results), os.fsencode(results), None, _BIND, None)
    _set_read_only("/", 1, _BELOW_TOO)
    _set_read_only(results, 0, 0)
    os.close(results_folder)
    _call(_c.mount, b"tmpfs", os.fsencode(work), b"tmpfs", _NO_SETUID | _NO_DEVICES, b"size=%d,mode=700" % _WORK_BYTES)
    needed = [os.path.realpath(each) for each in (work, results, sys.prefix, sys.base_prefix, *sys.path)]
    for folder in _HIDDEN:
        if os.path.isdir(folder) and not any(f"{path}/".startswith(f"{folder}/") for path in needed):
            _call(_c.mount, b"tmpfs", folder.encode(), b"tmpfs", _NO_SETUID | _NO_DEVICES, b"size=16m")
    _call(_c.mount, b"proc", b"/proc", b"proc", _NO_SETUID | _NO_DEVICES | _NO_EXEC, None)
    try:
        _write("/proc/sys/kernel/pid_max", str(_MOST_PROCESSES))  # its own from Linux 6.14 on
    except OSError:
        return


def _set_read_only(path: str, wanted: int, flags: int) -> None:
    attributes = struct.pack("QQQQ", _READ_ONLY * wanted, _READ_ONLY * (1 - wanted), 0, 0)
    _call(_c.syscall, _SET_ATTRIBUTES, _HERE, os.fsencode(path), flags, attributes, len(attributes))


def _drop_capabilities() -> None:
    """Nobody inside may undo it, whoever he is."""
    for capability in range(_CAPABILITIES):
        _c.prctl(_DROP, capability, 0, 0, 0)
    _call(_c.prctl, _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _landlock(folders: Sequence[str]) -> bool:
    """Whether this process can now write below some folders only."""
    version = _c.syscall(_CREATE_RULES, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    changes = _CHANGES | (_TRUNCATE if version >= 3 else 0) | (_DEVICE_CONTROL if version >= 5 else 0)
    network, scopes = _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0
    rules = struct.pack("QQQ", changes, network, scopes)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    try:
        ruleset = _call(_c.syscall, _CREATE_RULES, rules, ctypes.c_size_t(size), 0)
        for path, allowed in (
            *((folder, changes) for folder in folders),
            *((device, _WRITE_FILE) for device in _DEVICES),
        ):
            descriptor = os.open(path, os.O_PATH)
            beneath = struct.pack("=Qi", allowed, descriptor)
            _call(_c.syscall, _ADD_RULE, ruleset, 1, beneath, 0)
            os.close(descriptor)
        _call(_c.prctl, _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _call(_c.syscall, _RESTRICT, ruleset, 0)
        os.close(ruleset)
    except OSError:
        return False
    return True


def _no_connections() -> None:
    """Refuse `connect` from now on, whatever kind of socket it is for."""
    machine, number = _CONNECT.get(os.uname().machine, (0, 0))
    if not machine:
        return
    program = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_IF_EQUAL, 0, 3, machine),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_EQUAL, 0, 1, number),
        (_ANSWER, 0, 0, _REFUSE | errno.EACCES),
        (_ANSWER, 0, 0, _ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    described = struct.pack("HP", len(program), ctypes.addressof(instructions))
    _c.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _c.prctl(_SET_FILTER, _BY_FILTER, described, 0, 0)


def _become(command: list[str], work: str, by: str) -> NoReturn:
    _no_connections()
    os.environ[VARIABLE], os.environ["TMPDIR"] = by, work
    os.chdir(work)
    os.execv(command[0], command)  # noqa: S606 - a command of the tool's


def _call(function: ctypes._NamedFuncPointer, *arguments: object) -> int:
    answer: int = function(*arguments)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
