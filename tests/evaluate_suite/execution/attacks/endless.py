"""Programs that do not end, whatever they are sent."""

from .attack import Attack

SHORT = {"cpu_seconds": 0.4}
CONTROL = Attack("sleeps beyond the test's patience", "", "import time\ntime.sleep(4)", limits={"cpu_seconds": 9.0})


def _busy(name: str, program: str, guard: str = "cpu limit", test: str = "") -> Attack:
    return Attack(name, guard, program, test=test, limits=SHORT)


def _asleep(name: str, program: str, guard: str = "wall-clock backstop", test: str = "") -> Attack:
    return Attack(name, guard, program, test=test, limits={"cpu_seconds": 0.2}, sleeps=True)


ATTACKS = [
    _busy("a loop", "while True: pass"),
    _busy("a loop in the tested call", "def solve():\n    while True: pass", test="assert solve() == 1"),
    _busy(
        "an iterator without end",
        "import itertools\ndef solve(): return itertools.count()",
        test="assert list(solve()) == [1]",
    ),
    _busy("a regular expression that backtracks", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    _busy("a power", "x = 7 ** (10 ** 8)\nprint(x % 3)"),
    _busy(
        "threads that spin",
        "import threading\nfor _ in range(4): threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()",
    ),
    _busy("children that spin", "import os\nfor _ in range(3): os.fork()\nwhile True: pass"),
    _busy(
        "a child that spins beside a parent that sleeps",
        "import os, time\nif not os.fork():\n    while True: pass\ntime.sleep(99)",
    ),
    _busy(
        "signals ignored",
        """
import signal
for s in range(1, 65):
    try:
        signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True: pass
""",
    ),
    _busy("signals blocked", "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"),
    _busy(
        "the cpu limit's signal caught",
        "import signal\nsignal.signal(signal.SIGXCPU, lambda *a: None)\nwhile True: pass",
    ),
    _busy(
        "a higher cpu limit",
        """
import resource
try:
    resource.setrlimit(resource.RLIMIT_CPU, (9999, 9999))
except (ValueError, OSError):
    pass
while True: pass
""",
    ),
    _busy("exceptions caught", "while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
    _busy(
        "work split into short children",
        """
import os
while True:
    if not os.fork():
        for _ in range(10 ** 6): pass
        os._exit(0)
    os.wait()
""",
        "process count or cpu limit",
    ),
    _asleep("sleep", "import time\ntime.sleep(10 ** 6)"),
    _asleep("sleep in the tested call", "import time\ndef solve(): time.sleep(10 ** 6)", test="assert solve() == 1"),
    _asleep(
        "sleep, signals ignored",
        """
import signal, time
for s in range(1, 65):
    try:
        signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
time.sleep(10 ** 6)
""",
    ),
    _asleep("a pause", "import signal\nsignal.pause()"),
    _asleep("a lock nobody opens", "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()"),
    _asleep("a pipe nobody writes", "import os\nr, w = os.pipe()\nos.read(r, 1)"),
    _asleep("a stopped process", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    _asleep("a parent of a sleeping child", "import os, time\nif not os.fork(): time.sleep(10 ** 6)\nos.wait()"),
    _asleep(
        "silence on the line",
        "import os, time\nfor fd in range(3, 64):\n    try:\n        os.dup2(0, fd)\n"
        "    except OSError: pass\ntime.sleep(10 ** 6)",
        "verdict channel apart",
    ),
    _busy("waiting for input", "input()", "end of input"),
]
