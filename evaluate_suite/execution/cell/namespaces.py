"""The sandbox's own file tree and namespaces, where bubblewrap has not made them."""

from __future__ import annotations

import os
import sys

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TMPFS_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV
NOBODY = 65534


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _map_user(inside: int, outside_user: int, outside_group: int) -> None:
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{inside} {outside_user} 1")
    _write("/proc/self/gid_map", f"{inside} {outside_group} 1")


def enter_namespaces(*, as_root: bool) -> None:
    """Leave the host's namespaces; what comes back from here is process 1 of a new tree, the caller waits for it."""
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC
    flags |= kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
    user, group = os.geteuid(), os.getegid()
    if as_root:
        kernel.unshare(flags, "new mount, pid, network, ipc, uts and cgroup namespaces")
    else:
        kernel.unshare(flags | kernel.CLONE_NEWUSER, "new user, mount, pid, network, ipc, uts and cgroup namespaces")
        _map_user(NOBODY, user, group)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    child = os.fork()
    if child:
        for fd in (0, 1):
            os.close(fd)
        os.waitpid(child, 0)
        os._exit(0)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)


def build_root(config: dict[str, Any]) -> None:
    """Replace the file tree by an empty one that holds the interpreter, read-only, and four devices."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/tmp", "tmpfs", _TMPFS_FLAGS, "mode=755")
    os.mkdir("/tmp/new")
    os.mkdir("/tmp/old")
    kernel.machine_call("pivot_root", kernel.pointer(_path("/tmp")), kernel.pointer(_path("/tmp/old")))
    os.chdir("/")
    kernel.mount("/new", "/new", None, kernel.MS_BIND)
    for path, inside in config["read_only"].items():
        _bind("/old" + path, "/new" + inside)
        kernel.make_read_only("/new" + inside)
    for target, source in config["links"].items():
        link = "/new" + target
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(source, link)
    for path in config["hidden"]:
        kernel.mount("tmpfs", "/new" + path, "tmpfs", _TMPFS_FLAGS | kernel.MS_RDONLY, "mode=755")
    for path in config["devices"]:
        _bind("/old" + path, "/new" + path)
    for path in ("/proc", *config["private"]):
        os.makedirs("/new" + path, exist_ok=True)
    kernel.mount("proc", "/new/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.unmount("/old")
    os.chdir("/new")
    kernel.machine_call("pivot_root", kernel.pointer(_path(".")), kernel.pointer(_path(".")))
    kernel.unmount(".")
    os.chdir("/")
    kernel.mount("none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _TMPFS_FLAGS)
    _follow_moved_packages(config["read_only"])


def _follow_moved_packages(shown: dict[str, str]) -> None:
    """Let this interpreter import what it has not imported yet from where the new root shows it."""

    def inside(path: str) -> str:
        top = next((top for top in shown if path == top or path.startswith(top + "/")), "")
        return shown[top] + path[len(top) :] if top else path

    above = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # on the import path, but not shown as a whole
    sys.path[:] = [os.path.dirname(inside(above + "/cell")) if path == above else inside(path) for path in sys.path]
    for module in list(sys.modules.values()):
        if isinstance(getattr(module, "__path__", None), list):
            module.__path__ = [inside(path) for path in module.__path__]
    sys.path_importer_cache.clear()


def _path(text: str) -> Any:
    return kernel.buffer_of(text.encode() + b"\0")


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def finish_root(config: dict[str, Any], *, as_root: bool) -> int:
    """Mount the private places, take /proc out of sight and give up root; a descriptor of /proc comes back."""
    size = f"mode=1777,size={config['limits']['disk_bytes']},nr_inodes={config['limits']['files']}"
    for path in config["private"]:
        kernel.mount("tmpfs", path, "tmpfs", _TMPFS_FLAGS, size)
    kernel.name_host()
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    if as_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        # Capabilities must outlive the change of user until /proc is gone: the new user namespace gives them anew,
        # but only over itself, so /proc is unmounted first and the map is written through the descriptor.
        kernel.unmount("/proc")
        os.setresuid(NOBODY, NOBODY, NOBODY)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        kernel.unshare(kernel.CLONE_NEWUSER, "a new user namespace")
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{NOBODY} {NOBODY} 1"),
            ("gid_map", f"{NOBODY} {NOBODY} 1"),
        ):
            fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
            os.write(fd, text.encode())
            os.close(fd)
    else:
        kernel.unmount("/proc")
    # A change of user or of capabilities has cleared it.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    os.chdir(config["home"])
    return proc
