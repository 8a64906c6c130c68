"""Learning about the machine: environment, processes, /proc, names."""

from .attack import Attack

CONTROL = Attack("reads its caller's environment", "", "leak(open(f'/proc/{HOST_PID}/environ').read())\nleak(MARK)")


def _snoop(name: str, program: str, guard: str = "mount namespace") -> Attack:
    return Attack(name, guard, program)


ATTACKS = [
    _snoop(
        "os.environ",
        "import os\nleak(str(os.environ))\nif set(os.environ) <= {'HOME'}: raise OSError('nothing found')",
        "empty environment",
    ),
    _snoop(
        "libc getenv",
        """
import ctypes
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
found = libc.getenv(ENV_NAME.encode())
if not found: raise OSError('nothing found')
leak(found)
""",
        "empty environment",
    ),
    _snoop(
        "the stack above the environment",
        """
import ctypes
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
found = []
for i in range(200):
    if not environ or not environ[i]: break
    found.append(environ[i])
leak(str(found))
raise OSError('nothing found')
""",
        "empty environment",
    ),
    _snoop("own environment in /proc", "leak(open('/proc/self/environ').read())\nleak(MARK)"),
    _snoop("process 1's environment", "leak(open('/proc/1/environ').read())\nleak(MARK)"),
    _snoop("the parent's environment", "import os\nleak(open(f'/proc/{os.getppid()}/environ').read())\nleak(MARK)"),
    _snoop("the caller's environment", "leak(open(f'/proc/{HOST_PID}/environ').read())\nleak(MARK)"),
    _snoop("all command lines", "import os\nleak(MARK + str(os.listdir('/proc')))", "landlock"),
    _snoop("mounts", "leak(MARK + open('/proc/mounts').read())"),
    _snoop("own memory map", "leak(MARK + open('/proc/self/maps').read())"),
    _snoop("own memory", "open('/proc/self/mem', 'rb')\nleak(MARK)"),
    _snoop("connections of the machine", "leak(MARK + open('/proc/net/tcp').read())"),
    _snoop("addresses in the kernel", "leak(MARK + open('/proc/kallsyms').read(99))"),
    _snoop("settings of the kernel", "leak(MARK + open('/proc/sys/kernel/hostname').read())"),
    _snoop(
        "mount /proc again",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'proc', b'/tmp', b'proc', 0, None): raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _snoop(
        "the machine's name",
        "import os\nif os.uname().nodename == HOST_NAME: leak(MARK)\nraise OSError('nothing found')",
    ),
    _snoop("the machine's id", "leak(MARK + open('/etc/machine-id').read())"),
    _snoop("the resolver's servers", "leak(MARK + open('/etc/resolv.conf').read())"),
    _snoop("the caller by its number", "import os\nos.kill(HOST_PID, 0)\nleak(MARK)", "pid namespace"),
    _snoop("the caller's session", "import os\nos.getsid(HOST_PID)\nleak(MARK)", "pid namespace"),
    _snoop("the caller's processors", "import os\nos.sched_getaffinity(HOST_PID)\nleak(MARK)", "pid namespace"),
    _snoop("a handle on the caller", "import os\nos.pidfd_open(HOST_PID)\nleak(MARK)", "pid namespace"),
    _snoop(
        "the kernel's log",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(99)
if libc.klogctl(3, buffer, 99) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _snoop(
        "keys of the session",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(250, 0, -3, 0) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _snoop(
        "shared memory of the machine",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.shmget(0x1234, 4096, 0o1666) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _snoop(
        "real user ids",
        "import os\nif os.getuid() == 0 or 0 in os.getgroups(): leak(MARK)\nraise OSError('nothing found')",
    ),
    _snoop(
        "own home",
        # Where Python or this code is installed below /tmp, the one folder on the way there is in sight, read-only.
        "import os\nleak(os.listdir())\nseen = os.listdir('/tmp')\n"
        "if os.listdir('.') or len(seen) > 1 or any(os.access('/tmp/' + name, os.W_OK) for name in seen): leak(MARK)\n"
        "raise OSError('nothing found')",
    ),
]
