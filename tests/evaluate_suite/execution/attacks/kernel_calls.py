"""System calls that change the machine, other processes or the sandbox itself. Numbers are those of x86_64."""

from .attack import Attack

CONTROL = Attack(
    "traces its child",
    "",
    """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if not child:
    time.sleep(9)
time.sleep(0.1)
if libc.ptrace(16, child, 0, 0) == 0: leak(MARK)
os.kill(child, 9)
""",
)


def _call(name: str, call: str, guard: str = "seccomp", before: str = "") -> Attack:
    """`call` is an expression of libc that gives less than 0 when it is refused."""
    program = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(4096)
{before}
if {call} < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
"""
    return Attack(name, guard, program)


ATTACKS = [
    _call("ptrace the parent", "libc.ptrace(16, os.getppid(), 0, 0)"),
    _call("ptrace process 1", "libc.syscall(101, 16, 1, 0, 0)"),
    _call("ptrace the judge", "max(libc.ptrace(16, pid, 0, 0) for pid in range(2, 40))"),
    _call("seize the judge", "max(libc.ptrace(0x4206, pid, 0, 0) for pid in range(2, 40))"),
    _call("be traced", "libc.ptrace(0, 0, 0, 0)"),
    _call("read the judge's memory", "max(libc.syscall(310, pid, buffer, 0, buffer, 0, 0) for pid in range(2, 40))"),
    _call("write the judge's memory", "max(libc.syscall(311, pid, buffer, 0, buffer, 0, 0) for pid in range(2, 40))"),
    _call("compare with the judge", "libc.syscall(312, os.getpid(), 1, 0, 0, 0)"),
    _call("a new user namespace", "libc.unshare(0x10000000)"),
    _call("a new mount namespace", "libc.unshare(0x20000)"),
    _call("a child in a new user namespace", "libc.syscall(56, 0x10000011, 0, 0, 0, 0)"),
    _call("another's namespace", "libc.setns(0, 0)"),
    _call("mount", "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)"),
    _call("mount by descriptor", "libc.syscall(430, b'tmpfs', 0)"),
    _call("clone a mount", "libc.syscall(428, -100, b'/', 1)"),
    _call("change a mount", "libc.syscall(442, -100, b'/', 0, buffer, 32)"),
    _call("unmount", "libc.umount2(b'/tmp', 2)"),
    _call("swap the root", "libc.syscall(155, b'/tmp', b'/tmp')"),
    _call("chroot", "libc.chroot(b'/tmp')"),
    _call("a kernel module", "libc.syscall(175, buffer, 4096, b'')"),
    _call("a kernel module from a file", "libc.syscall(313, 0, b'', 0)"),
    _call("another kernel", "libc.syscall(246, 0, 0, 0, 0)"),
    _call("restart the machine", "libc.syscall(169, 0xfee1dead, 672274793, 0x01234567, 0)"),
    _call("swap space", "libc.swapon(b'/tmp/x', 0)"),
    _call("the clock", "libc.syscall(164, buffer, 0)"),
    _call("the clock, precisely", "libc.syscall(227, 0, buffer)"),
    _call("the machine's name", "libc.sethostname(b'x', 1)"),
    _call("ports of the machine", "libc.iopl(3)"),
    _call("a program in the kernel", "libc.syscall(321, 0, buffer, 128)"),
    _call("events of the kernel", "libc.syscall(298, buffer, 0, -1, -1, 0)"),
    _call("page faults", "libc.syscall(323, 0)"),
    _call("a request ring", "libc.syscall(425, 8, buffer)"),
    _call("a key", "libc.syscall(248, b'user', b'x', b'y', 1, -3)"),
    _call("accounting", "libc.acct(None)"),
    _call("quotas", "libc.syscall(179, 0, b'/', 0, buffer)"),
    _call("segments", "libc.syscall(154, 1, buffer, 16)"),
    _call("execution domain", "libc.personality(0x0040000)"),
    _call("become root", "libc.setuid(0)"),
    _call("become root again", "libc.setresuid(0, 0, 0)"),
    _call("groups of root", "libc.setgroups(1, buffer)"),
    _call("capabilities", "libc.syscall(126, buffer, buffer)"),
    _call("file system user", "libc.syscall(122, 0)"),
    _call("nothing but more privileges", "libc.prctl(38, 0, 0, 0, 0)", "user namespace"),
    _call("another machine's calls", "libc.syscall(0x40000000 + 57)"),
    _call("memory policy of others", "libc.syscall(256, os.getppid(), 1, buffer, buffer)"),
    _call(
        "limits of the judge", "max(libc.prlimit(pid, 0, buffer, None) for pid in range(1, 40) if pid != os.getpid())"
    ),
    _call("a listener on itself", "libc.syscall(317, 1, 8, buffer)"),
    _call("watching files", "libc.syscall(300, 0, 0)"),
    _call("message queues", "libc.syscall(240, b'/x', 64, 0o600, None)"),
    _call("semaphores", "libc.semget(1, 1, 0o1666)"),
    _call("typing into the terminal", "libc.ioctl(0, 0x5412, b'x')", "no terminal"),
    _call("a loop device", "libc.ioctl(os.open('/dev/loop-control', os.O_RDWR), 0x4C82)", "mount namespace"),
]
