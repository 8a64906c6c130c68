"""More files and bytes than a program may write."""

from .attack import Attack

SMALL = {"cpu_seconds": 10.0}
# Four times what the limits leave for one folder.
CONTROL = Attack(
    "writes 200 MiB",
    "",
    """
for i in range(20): open(f'{CANARY_DIR}/{i}', 'wb').write(bytes(10 << 20))
leak(MARK)
""",
)


def _bomb(name: str, program: str, guard: str = "private disk") -> Attack:
    return Attack(name, guard, program, limits=SMALL)


ATTACKS = [
    _bomb(
        "one big file",
        "f = open('/tmp/x', 'wb')\nfor _ in range(100): f.write(bytes(1 << 20))\nleak(MARK)",
        "file size limit",
    ),
    _bomb("many files in /tmp", "for i in range(100): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))\nleak(MARK)"),
    _bomb("many files at home", "for i in range(100): open(f'{i}', 'wb').write(bytes(1 << 20))\nleak(MARK)"),
    _bomb("shared memory", "for i in range(100): open(f'/dev/shm/{i}', 'wb').write(bytes(1 << 20))\nleak(MARK)"),
    _bomb("many empty files", "for i in range(100_000): open(f'/tmp/{i}', 'wb').close()\nleak(MARK)"),
    _bomb("many folders", "import os\nfor i in range(100_000): os.mkdir(f'/tmp/{i}')\nleak(MARK)"),
    _bomb("many links", "import os\nfor i in range(100_000): os.symlink('x', f'/tmp/{i}')\nleak(MARK)"),
    _bomb(
        "a file reserved ahead",
        "import os\nfor i in range(20): os.posix_fallocate(os.open(f'/tmp/{i}', os.O_CREAT | os.O_RDWR), 0, 15 << 20)\n"
        "leak(MARK)",
    ),
    _bomb(
        "a file with holes",
        "import os\nos.truncate(os.open('/tmp/x', os.O_CREAT | os.O_RDWR), 1 << 40)\nleak(MARK)",
        "file size limit",
    ),
    _bomb(
        "files without a name",
        """
import os
kept = []
for i in range(20):
    fd = os.open(f'/tmp/{i}', os.O_CREAT | os.O_RDWR)
    os.unlink(f'/tmp/{i}')
    os.write(fd, bytes(8 << 20))
    kept.append(fd)
leak(MARK)
""",
    ),
    _bomb("open files", "kept = [open('/tmp/x', 'w') for _ in range(5000)]\nleak(MARK)", "open file limit"),
    _bomb(
        "a higher file size",
        """
import resource
try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))
except (ValueError, OSError):
    pass
f = open('/tmp/x', 'wb')
for _ in range(30): f.write(bytes(1 << 20))
leak(MARK)
""",
        "file size limit",
    ),
    _bomb(
        "a larger private disk",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'none', b'/tmp', None, 32, b'size=1g'): raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
]
