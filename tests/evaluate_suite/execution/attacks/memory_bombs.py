"""More memory than a program may have."""

from .attack import Attack

MIB = 1 << 20
SMALL = {"cpu_seconds": 10.0, "memory_bytes": 192 * MIB, "processes": 8}
CONTROL = Attack("fills 700 MiB", "", "x = bytearray(700 << 20)\nimport time\ntime.sleep(3)")


def _bomb(name: str, program: str, guard: str = "memory limit") -> Attack:
    return Attack(name, guard, program, limits=SMALL)


ATTACKS = [
    _bomb("one block", "x = bytearray(4 << 30)\nleak(MARK)"),
    _bomb("a growing list", "x = []\nwhile True: x.append(bytes(1 << 20))"),
    _bomb("a growing dictionary", "x = {}\nfor i in range(1 << 40): x[i] = str(i) * 200"),
    _bomb("doubling text", "x = 'x'\nwhile True: x += x"),
    _bomb("a long integer", "x = 1 << (1 << 36)\nleak(MARK)"),
    _bomb("repeat", "x = [0] * (1 << 33)\nleak(MARK)"),
    _bomb("an anonymous map", "import mmap\nx = mmap.mmap(-1, 4 << 30)\nleak(MARK)"),
    _bomb(
        "many shared maps",
        "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 8 << 20)\n"
        "    m.write(b'x' * (8 << 20))\n    x.append(m)",
    ),
    _bomb(
        "children that take half each",
        """
import os, time
for _ in range(2): os.fork()
x = bytearray(b'x') * (100 << 20)
time.sleep(30)
""",
        "memory limit",
    ),
    _bomb(
        "a process that hides its sizes",
        """
import ctypes, os, time
ctypes.CDLL(None).prctl(4, 0)
for _ in range(5):
    if not os.fork():
        x = bytearray(b'x') * (100 << 20)
        time.sleep(30)
time.sleep(30)
""",
        "memory limit",
    ),
    _bomb(
        "memory without a name",
        """
import os
fd = os.memfd_create('x')
while True: os.write(fd, bytes(1 << 20))
""",
        "seccomp",
    ),
    _bomb(
        "a higher limit",
        "import resource\ntry:\n    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\n"
        "except (ValueError, OSError):\n    pass\nx = bytearray(1 << 30)\nleak(MARK)",
    ),
    _bomb(
        "an unlimited child",
        "import os, sys\nos.execv(sys.executable, ['p', '-S', '-c', "
        "'x = bytearray(1 << 30); import time; time.sleep(9)'])",
        "verdict channel apart",
    ),
    Attack(
        "an answer too large for the judge",
        "memory limit",
        "def solve(): return ['x'] * (8 << 20)",
        test="assert solve() == 1\n",
        limits=SMALL,
    ),
    Attack(
        "an answer that multiplies in the judge",
        "judge apart",
        """
class Endless:
    def __iter__(self):
        return iter(lambda: 'x' * (1 << 20), 0)
def solve(): return Endless()
""",
        test="assert list(solve()) == [1]",
        limits=SMALL,
    ),
]
