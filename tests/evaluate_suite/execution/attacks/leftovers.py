"""Processes that are to outlive the program."""

from .attack import Attack

CONTROL = Attack(
    "leaves a daemon",
    "",
    """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        time.sleep(6)
    os._exit(0)
os.wait()
""",
)


def _left(name: str, program: str) -> Attack:
    return Attack(name, "process tree killed", program, limits={"cpu_seconds": 1.0})


ATTACKS = [
    _left(
        "a daemon",
        """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        time.sleep(10 ** 6)
    os._exit(0)
""",
    ),
    _left(
        "a session of its own",
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(10**6)'],"
        " start_new_session=True)",
    ),
    _left(
        "a child deaf to signals",
        """
import os, signal, time
if not os.fork():
    for s in range(1, 65):
        try:
            signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    time.sleep(10 ** 6)
""",
    ),
    _left(
        "a child that outruns the killing",
        """
import os
if not os.fork():
    while True:
        if os.fork(): os._exit(0)
""",
    ),
    _left("at exit", "import atexit, os, time\natexit.register(lambda: os.fork() or time.sleep(10 ** 6))"),
    _left(
        "in a finaliser",
        """
import os, time
class Last:
    def __del__(self):
        if not os.fork(): time.sleep(10 ** 6)
last = Last()
""",
    ),
    Attack(
        "a thread that stays",
        "wall-clock backstop",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(10 ** 6,)).start()",
        limits={"cpu_seconds": 0.2},
        sleeps=True,
    ),
    _left(
        "a process group of its own",
        "import os, time\nif not os.fork():\n    os.setpgid(0, 0)\n    time.sleep(10 ** 6)",
    ),
    _left(
        "no death with the parent",
        """
import ctypes, os, time
if not os.fork():
    ctypes.CDLL(None).prctl(1, 0)
    ctypes.CDLL(None).prctl(36, 1)
    if not os.fork(): time.sleep(10 ** 6)
    time.sleep(10 ** 6)
""",
    ),
    _left("a stopped child", "import os, signal\nif not os.fork(): os.kill(os.getpid(), signal.SIGSTOP)"),
]
