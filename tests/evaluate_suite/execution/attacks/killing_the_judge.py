"""Killing, stopping or silencing the judge, the supervisor or the caller. Each is a wrong solution that must be failed."""

from .attack import Attack

CONTROL = Attack(
    "kills its parent",
    "",
    # Not at once: a supervisor killed before it said that it has started would be a sandbox that was never set up.
    "import os, time\ntime.sleep(0.5)\nos.kill(os.getppid(), 9)\ntime.sleep(3)",
    test="assert solve() == 1",
)


def _kill(name: str, program: str, guard: str = "judge apart") -> Attack:
    body = "\n".join("    " + line for line in program.strip().split("\n"))
    return Attack(
        name,
        guard,
        f"import os, signal\ndef solve():\n{body}\n    return 0",
        test="assert solve() == 1",
        limits={"cpu_seconds": 0.5},
    )


def _each(name: str, action: str) -> Attack:
    return _kill(
        name,
        f"""
for pid in range(1, 60):
    if pid == os.getpid(): continue
    try:
        {action}
    except OSError:
        pass
""",
    )


ATTACKS = [
    _each("kill everybody by number", "os.kill(pid, signal.SIGKILL)"),
    _each("interrupt everybody", "os.kill(pid, signal.SIGINT)"),
    _each("terminate everybody", "os.kill(pid, signal.SIGTERM)"),
    _each("stop everybody", "os.kill(pid, signal.SIGSTOP)"),
    _each("crash everybody", "os.kill(pid, signal.SIGSEGV)"),
    _each("hang up on everybody", "os.kill(pid, signal.SIGHUP)"),
    _each("exceed everybody's cpu", "os.kill(pid, signal.SIGXCPU)"),
    _each("kill every group", "os.killpg(pid, signal.SIGKILL)"),
    _each("kill by a handle", "signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)"),
    _each("trap everybody", "os.kill(pid, signal.SIGTRAP)"),
    _each("lower everybody's priority", "os.setpriority(os.PRIO_PROCESS, pid, 19)"),
    _each("idle scheduling for everybody", "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))"),
    _kill("kill all at once", "os.kill(-1, signal.SIGKILL)"),
    _kill("kill the parent", "os.kill(os.getppid(), signal.SIGKILL)"),
    _kill("interrupt the parent", "os.kill(os.getppid(), signal.SIGINT)"),
    _kill("stop the parent", "os.kill(os.getppid(), signal.SIGSTOP)"),
    _kill("kill own group", "os.killpg(0, signal.SIGKILL)", "verdict channel apart"),
    _kill("kill itself", "os.kill(os.getpid(), signal.SIGKILL)", "verdict channel apart"),
    _kill("crash", "import ctypes\nctypes.string_at(0)", "verdict channel apart"),
    _kill("abort", "os.abort()", "verdict channel apart"),
    _kill("close every descriptor", "os.closerange(0, 1024)", "verdict channel apart"),
    _kill(
        "kill a thread of each",
        """
import ctypes
for pid in range(1, 60):
    if pid != os.getpid(): ctypes.CDLL(None).syscall(234, pid, pid, 9)
""",
    ),
    _kill(
        "queue a signal to each",
        """
import ctypes
info = ctypes.create_string_buffer(128)
for pid in range(1, 60):
    if pid != os.getpid(): ctypes.CDLL(None).syscall(129, pid, 9, info)
""",
    ),
    Attack(
        "fill the memory of all",
        "memory limit",
        "def solve():\n    x = []\n    while True: x.append(bytearray(b'x') * (32 << 20))",
        test="assert solve() == 1",
        limits={"cpu_seconds": 3.0, "memory_bytes": 192 << 20},
    ),
]
