"""Landlock, the seccomp filter and the resource limits that a process puts on itself before it runs foreign code."""

from __future__ import annotations

import os
import resource
import struct

from . import kernel
from .syscalls import ALLOWED, EXAMINED, XATTRS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
_EPERM, _ENOTTY, _EAFNOSUPPORT, _ENOSYS, _ENOTSUP = 1, 25, 97, 38, 95
_MSG_OOB = 1
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE_NAMESPACES = 0x7E020000
_CLONE_THREAD = 0x10000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT_0, _ARGUMENT_1, _ARGUMENT_2, _ARGUMENT_3 = 0, 4, 16, 24, 32, 40
# Whether a descriptor is a terminal, how much can be read, blocking and closing: what files and pipes are asked for.
_IOCTLS = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# Where the flags of a call stand that may not say MSG_OOB.
_FLAGS_AT = {"sendto": _ARGUMENT_3, "recvfrom": _ARGUMENT_3, "sendmsg": _ARGUMENT_2, "recvmsg": _ARGUMENT_2}


def _code(*instructions: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    return list(instructions)


def seccomp_filter(machine: str, *, ask_supervisor: bool) -> bytes:
    """The filter as BPF: calls in our list pass, others fail with EPERM.

    Creating a process or thread is put to the supervisor when `ask_supervisor`; otherwise threads pass and processes
    fail. Only local sockets exist; clone3 and calls newer than our list answer ENOSYS, so that libc falls back.
    """
    table = ALLOWED[machine]
    deny, unknown = SECCOMP_RET_ERRNO | _EPERM, SECCOMP_RET_ERRNO | _ENOSYS
    ask = SECCOMP_RET_NOTIFY if ask_supervisor else deny
    code = _code((_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, _ARCHITECTURE[machine]), (_RETURN, 0, 0, deny))
    code += _code((_LOAD, 0, 0, _NUMBER))
    for name, number in table.items():
        if name not in EXAMINED:
            code += _code((_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, SECCOMP_RET_ALLOW))
    for name in ("fork", "vfork"):
        if name in table:
            code += _code((_JUMP_EQUAL, 0, 1, table[name]), (_RETURN, 0, 0, ask))
    code += _code((_JUMP_EQUAL, 0, 1, table["clone3"]), (_RETURN, 0, 0, unknown))
    code += _code(
        (_JUMP_EQUAL, 0, 5, table["clone"]),
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_JUMP_SET, 0, 1, _CLONE_NAMESPACES),
        (_RETURN, 0, 0, deny),
        (_JUMP_SET, 0, 1, 0 if ask_supervisor else _CLONE_THREAD),
        (_RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    # A clone that fell through the block above has its flags, not its number, in the accumulator.
    code += _code((_LOAD, 0, 0, _NUMBER), (_JUMP_EQUAL, 0, 1, table["clone"]), (_RETURN, 0, 0, ask))
    for name in ("socket", "socketpair"):
        code += _code(
            (_JUMP_EQUAL, 0, 4, table[name]),
            (_LOAD, 0, 0, _ARGUMENT_0),
            (_JUMP_EQUAL, 0, 1, 1),
            (_RETURN, 0, 0, SECCOMP_RET_ALLOW),
            (_RETURN, 0, 0, SECCOMP_RET_ERRNO | _EAFNOSUPPORT),
        )
    code += _code(
        (_JUMP_EQUAL, 0, 4, table["prlimit64"]),
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_JUMP_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, SECCOMP_RET_ALLOW),
        (_RETURN, 0, 0, deny),
    )
    code += _examined_arguments(table, deny)
    # Nothing here outlives the run, so that no file of its own needs to reach a disk; the machine's files may not.
    for name in ("fsync", "fdatasync"):
        code += _code((_JUMP_EQUAL, 0, 1, table[name]), (_RETURN, 0, 0, ask if ask_supervisor else SECCOMP_RET_ERRNO))
    code += _code((0x35, 0, 1, 450), (_RETURN, 0, 0, unknown), (_RETURN, 0, 0, deny))  # 0x35: at least
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _examined_arguments(table: dict[str, int], deny: int) -> list[tuple[int, int, int, int]]:
    """Calls that depend on an argument, and calls that are answered without being made."""
    allow = (_RETURN, 0, 0, SECCOMP_RET_ALLOW)
    code = _code((_JUMP_EQUAL, 0, 2 * len(_IOCTLS) + 2, table["ioctl"]), (_LOAD, 0, 0, _ARGUMENT_1))
    for request in _IOCTLS:
        code += _code((_JUMP_EQUAL, 0, 1, request), allow)
    code += _code((_RETURN, 0, 0, SECCOMP_RET_ERRNO | _ENOTTY))
    for name, place in _FLAGS_AT.items():
        code += _code((_JUMP_EQUAL, 0, 4, table[name]), (_LOAD, 0, 0, place), (_JUMP_SET, 0, 1, _MSG_OOB))
        code += _code((_RETURN, 0, 0, deny), allow)
    code += _code((_JUMP_EQUAL, 0, 6, table["setpriority"]), (_LOAD, 0, 0, _ARGUMENT_0), (_JUMP_EQUAL, 0, 3, 0))
    code += _code((_LOAD, 0, 0, _ARGUMENT_1), (_JUMP_EQUAL, 0, 1, 0), allow, (_RETURN, 0, 0, deny))  # its own only
    # A copy of a file takes its extended attributes along where the file system has such; here it has none.
    for number in XATTRS[os.uname().machine]:
        code += _code((_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, SECCOMP_RET_ERRNO | _ENOTSUP))
    return code


def install_seccomp(*, ask_supervisor: bool) -> int:
    """Filter this process from now on; the descriptor on which the supervisor is asked comes back (-1 without)."""
    program = kernel.buffer_of(seccomp_filter(os.uname().machine, ask_supervisor=ask_supervisor))
    header = kernel.buffer_of(struct.pack("<HxxxxxxQ", len(program) // 8, kernel.address_of(program)))
    result = kernel.machine_call("seccomp", 1, 8 if ask_supervisor else 0, kernel.pointer(header))
    return result if ask_supervisor else -1


_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read directory
_FILE_ONLY = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15


def install_landlock(readable: list[str], writable: list[str], unlisted: list[str]) -> int:
    """Allow reading below `readable`, all below `writable`, opening a file by its name below `unlisted`, nothing else.

    Return the version of Landlock, 0 where the kernel has none.
    """
    abi = kernel.landlock_abi()
    if not abi:
        return 0
    handled = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    ruleset = struct.pack("<QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    ruleset = ruleset[: 8 if abi < 4 else 16 if abi < 6 else 24]
    buffer = kernel.buffer_of(ruleset)
    fd = kernel.syscall(
        kernel.SYS_LANDLOCK_CREATE, kernel.pointer(buffer), len(ruleset), 0, what="landlock_create_ruleset"
    )
    # Devices below /dev, sockets and pipes are not made by tested programs; only plain files and folders are.
    every = handled & ~(1 << 6 | 1 << 11 | 1 << 15)
    by_name = (1 << 1 | 1 << 2 | (1 << 14 if abi >= 3 else 0)) & every  # write file, read file, truncate
    for paths, rights in ((readable, _READ), (writable, every), (unlisted, by_name)):
        for path in paths:
            try:
                at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            allowed = rights if os.path.isdir(path) else (rights | (2 if path.startswith("/dev/") else 0)) & _FILE_ONLY
            rule = kernel.buffer_of(struct.pack("<Qi", allowed & handled, at))
            kernel.syscall(kernel.SYS_LANDLOCK_ADD, fd, 1, kernel.pointer(rule), 0, what=f"landlock_add_rule {path}")
            os.close(at)
    kernel.syscall(kernel.SYS_LANDLOCK_RESTRICT, fd, 0, what="landlock_restrict_self")
    os.close(fd)
    return abi


def set_limits(limits: dict[str, Any], *, count_processes: bool) -> None:
    """The limits that the kernel keeps for each process."""
    seconds = int(limits["cpu_seconds"]) + 1
    pairs = [
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, 256, 256),  # each timer of timer_create takes one
    ]
    if count_processes:
        count = limits["processes"] + limits["threads"] + 8
        pairs.append((resource.RLIMIT_NPROC, count, count))
    for which, soft, hard in pairs:
        _, ceiling = resource.getrlimit(which)
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))
