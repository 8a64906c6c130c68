"""Output without end."""

from .attack import Attack

CONTROL = Attack("prints 200 kB", "", "print('x' * 200_000)", limits={"output_bytes": 1 << 20})
SMALL = {"cpu_seconds": 10.0, "output_bytes": 100_000}


def _flood(name: str, program: str, guard: str = "output limit") -> Attack:
    return Attack(name, guard, program, limits=SMALL)


ATTACKS = [
    _flood("print", "while True: print('x' * 1000)"),
    _flood("one line without end", "import sys\nwhile True: sys.stdout.write('x' * 10_000)"),
    _flood("the error stream", "import sys\nwhile True: sys.stderr.write('x' * 10_000)"),
    _flood("the descriptor", "import os\nwhile True: os.write(1, b'x' * 60_000)"),
    _flood("bytes that are no text", "import os\nwhile True: os.write(1, b'\\xff\\xfe\\x00' * 20_000)"),
    _flood(
        "a child",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'while True: print(\"x\" * 10000)'])",
    ),
    _flood(
        "threads",
        """
import os, threading
for _ in range(4): threading.Thread(target=lambda: [os.write(1, b'x' * 60_000) for _ in range(10**9)]).start()
""",
    ),
    _flood("then end well", "print('x' * 500_000)"),
    Attack(
        "in the name of an error",
        "short reasons",
        "def solve(): raise type('x' * 20_000_000, (Exception,), {})",
        test="assert solve() == 1",
        limits=SMALL,
    ),
    Attack(
        "then a right answer",
        "output limit",
        "print('x' * 500_000)\ndef solve(): return 1",
        test="assert solve() == 1",
        limits=SMALL,
    ),
    Attack(
        "in the tested call",
        "output limit",
        "def solve():\n    print('x' * 500_000)\n    return 1",
        test="assert solve() == 1",
        limits=SMALL,
    ),
]
