"""The few Linux calls that Python 3.11 has no function for, through ctypes; each raises OSError with what was tried."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP = 0x10000000, 0x20000000, 0x40000000, 0x2000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
HOST_NAME = b"sandbox"
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
# The same on every architecture since they came after the tables were unified.
SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT, SYS_MOUNT_SETATTR = 444, 445, 446, 442
_BY_MACHINE = {"x86_64": {"seccomp": 317, "pivot_root": 155}, "aarch64": {"seccomp": 277, "pivot_root": 41}}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: object, what: str) -> int:
    """The result of a raw system call."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *converted), what)


def machine_call(name: str, *arguments: object) -> int:
    """A raw system call whose number differs between architectures."""
    return syscall(_BY_MACHINE[os.uname().machine][name], *arguments, what=name)


def unshare(flags: int, what: str) -> None:
    """Leave the namespaces named by `flags`."""
    _check(_libc.unshare(flags), what)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, options.encode() or None),
        f"mount {target}",
    )


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    _check(_libc.umount2(target.encode(), flags), f"umount {target}")


def make_read_only(target: str) -> None:
    """Make the mount at `target` and those below it read-only, without devices and without set-user-id."""
    attributes = (ctypes.c_uint64 * 4)(1 | 2 | 4, 0, 0, 0)
    path = ctypes.c_char_p(target.encode())
    size = ctypes.sizeof(attributes)
    syscall(SYS_MOUNT_SETATTR, -100, path, 0x8000, ctypes.byref(attributes), size, what=f"mount_setattr {target}")


def name_host() -> None:
    """Give this uts namespace a name that tells nothing of the machine."""
    _check(_libc.sethostname(HOST_NAME, len(HOST_NAME)), "sethostname")


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def drop_capabilities() -> None:
    """Give up every capability, in a way that no later exec brings back."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where it has none."""
    try:
        return syscall(SYS_LANDLOCK_CREATE, None, 0, 1, what="landlock")
    except OSError:
        return 0


def buffer_of(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """`data` in memory that the kernel can be pointed at."""
    return ctypes.create_string_buffer(data, len(data))


def address_of(buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Where `buffer` lies."""
    return ctypes.addressof(buffer)


def pointer(buffer: ctypes.Array[ctypes.c_char]) -> object:
    """`buffer` as an argument of `syscall`."""
    return ctypes.byref(buffer)
