"""More processes and threads than a program may have."""

from .attack import Attack

SMALL = {"cpu_seconds": 1.0, "processes": 8, "threads": 16}
CONTROL = Attack(
    "forks beyond the limit",
    "",
    """
import os, time
for _ in range(40):
    if not os.fork():
        time.sleep(3)
        os._exit(0)
time.sleep(3)
""",
    limits=SMALL,
)


def _bomb(name: str, program: str, guard: str = "process count", *, sleeps: bool = False) -> Attack:
    return Attack(name, guard, program, limits=SMALL, sleeps=sleeps)


ATTACKS = [
    _bomb("fork without end", "import os\nwhile True: os.fork()"),
    _bomb(
        "fork without end, errors ignored",
        """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
        "cpu limit",
    ),
    _bomb(
        "children that sleep",
        """
import os, time
for _ in range(100):
    if not os.fork():
        time.sleep(60)
""",
    ),
    _bomb(
        "children that fork and leave",
        """
import os
while True:
    if os.fork(): os._exit(0)
""",
        "process tree killed",
    ),
    _bomb(
        "multiprocessing",
        "import multiprocessing as m, time\n"
        "for _ in range(100): m.get_context('fork').Process(target=time.sleep, args=(60,)).start()",
    ),
    _bomb(
        "subprocess",
        "import subprocess, sys\n"
        "for _ in range(100): subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])",
    ),
    _bomb(
        "posix_spawn",
        "import os, sys\n"
        "for _ in range(100): os.posix_spawn(sys.executable, ['p', '-S', '-c', 'import time; time.sleep(60)'], {})",
    ),
    _bomb(
        "vfork",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(100):
    if libc.syscall(57) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
    ),
    _bomb(
        "clone",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(100):
    if libc.syscall(56, 17, 0, 0, 0, 0) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
""",
    ),
    _bomb(
        "clone3",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
if libc.syscall(435, ctypes.byref(arguments), 88) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _bomb(
        "threads",
        "import threading, time\n"
        "for _ in range(2000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ),
    _bomb(
        "threads of children",
        """
import os, threading, time
for _ in range(4): os.fork()
for _ in range(2000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
""",
    ),
    _bomb(
        "a chain of programs",
        "import os, sys\n"
        "open('/tmp/p.py', 'w').write('import os, sys; os.execv(sys.executable, [\"p\", \"-S\", \"/tmp/p.py\"])')\n"
        "os.execv(sys.executable, ['p', '-S', '/tmp/p.py'])",
        "verdict channel apart",
    ),
]
