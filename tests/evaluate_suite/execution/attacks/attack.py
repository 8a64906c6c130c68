"""What one attack is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

# What a stopped program runs into: a guard by name, and the words (any of them) that show it was that guard.
GUARDS: dict[str, tuple[str, ...]] = {
    "mount namespace": ("No such file or directory", "FileNotFoundError", "nothing found", "ModuleNotFoundError"),
    "read-only mounts": ("Read-only file system",),
    "landlock": ("Permission denied", "Invalid cross-device link"),
    "seccomp": (
        "Operation not permitted",
        "Address family not supported",
        "Function not implemented",
        "Operation not supported",
    ),
    "network namespace": ("Connection refused", "nothing listens"),
    "pid namespace": ("No such process", "nothing found"),
    "empty environment": ("nothing found",),
    "no terminal": ("No such device", "Inappropriate ioctl", "Not a tty"),
    "closed descriptors": ("nothing found", "Bad file descriptor"),
    "user namespace": ("Operation not permitted", "Permission denied", "Invalid argument"),
    "process count": ("process_limit", "Resource temporarily unavailable", "can't start new thread"),
    "memory limit": ("memory_limit", "MemoryError", "Cannot allocate memory", "can't start new thread"),
    "private disk": ("No space left on device",),
    "file size limit": ("File too large", "signal 25"),
    "open file limit": ("Too many open files",),
    "output limit": ("output_limit",),
    "short reasons": ("exception",),
    "cpu limit": ("cpu_limit",),
    "wall-clock backstop": ("stalled",),
    "process tree killed": ("passed", "exited", "stalled", "cpu_limit", "process_limit", "exception"),
    "judge apart": (
        "exited",
        "tampered",
        "wrong_answer",
        "missing_entry_point",
        "exception",
        "cpu_limit",
        "memory_limit",
    ),
    "verdict channel apart": ("exited", "tampered", "wrong_answer", "exception"),
    "protected process 1": ("wrong_answer",),
    "landlock scope": ("Operation not permitted", "wrong_answer"),
    "end of input": ("EOFError",),
}


@dataclass(frozen=True)
class Attack:
    """A hostile program: run as a script, or as the solution of a task when it has a `test` (then it must not pass).

    `guard` is the one it runs into (`a or b` where the kernel may ask either first); `limits` overrides fields of `Limits` (bombs get small ones); `sleeps` says that
    it ends at the wall-clock backstop, so that it can wait beside others.
    """

    name: str
    guard: str
    program: str
    test: str = ""
    entry_point: str = "solve"
    limits: dict[str, float] = field(default_factory=dict)
    sleeps: bool = False
    kind: str = ""

    def stopped_by(self, evidence: str) -> str | None:
        """The guard that `evidence` shows, or None when it shows none of those named."""
        named = self.guard.split(" or ")
        return next((guard for guard in named if any(word in evidence for word in GUARDS[guard])), None)

    def of_kind(self, kind: str) -> Attack:
        return replace(self, kind=kind)
