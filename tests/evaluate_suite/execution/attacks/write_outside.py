"""Writing files outside the sandbox, the interpreter's own among them."""

from .attack import Attack

CONTROL = Attack("writes a file", "", "open(CANARY_DIR + '/new', 'w').write('x')")
# What is written to installed folders has this name; the arena looks for it there.
READ_ONLY = "read-only mounts or landlock"
NAME = "rowpick_attack_canary"


def _write(name: str, program: str, guard: str = "mount namespace") -> Attack:
    return Attack(name, guard, program)


ATTACKS = [
    _write("create", "open(CANARY_DIR + '/new', 'w').write('x')"),
    _write("append", "open(SECRET_FILE, 'a').write('x')"),
    _write("truncate", "import os\nos.truncate(SECRET_FILE, 0)"),
    _write("unlink", "import os\nos.unlink(SECRET_FILE)"),
    _write("rename", "import os\nos.rename(SECRET_FILE, CANARY_DIR + '/moved')"),
    _write("remove the tree", "import shutil\nshutil.rmtree(CANARY_DIR)"),
    _write("chmod", "import os\nos.chmod(SECRET_FILE, 0o777)"),
    _write("mkdir", "import os\nos.mkdir(CANARY_DIR + '/folder')"),
    _write("makedirs from the root", "import os\nos.makedirs('/opt/rowpick/x')\nleak(MARK)", READ_ONLY),
    _write("a link into it", "import os\nos.symlink('/tmp', CANARY_DIR + '/link')"),
    _write("a fifo", "import os\nos.mkfifo(CANARY_DIR + '/fifo')", "seccomp"),
    _write("a device", "import os\nos.mknod('/tmp/disk', 0o60666, os.makedev(8, 0))\nleak(MARK)", "seccomp"),
    _write("a file in the root", "open('/rowpick_attack_canary', 'w').write('x')", READ_ONLY),
    _write(
        "a file beside the library",
        "import os\nopen(os.path.dirname(os.__file__) + '/rowpick_attack_canary', 'w')",
        READ_ONLY,
    ),
    _write("a module of the library", "import json\nopen(json.__file__, 'a').write('# x')\nleak(MARK)", READ_ONLY),
    _write(
        "a start-up file of the installation",
        "import sys\nopen(sys.path[-1] + '/rowpick_attack_canary.pth', 'w').write('import os')",
        READ_ONLY,
    ),
    _write("the supervisor's source", "open(CELL_DIR + '/supervisor.py', 'a').write('# x')\nleak(MARK)", READ_ONLY),
    _write(
        "the supervisor's byte code", "import os\nopen(CELL_DIR + '/__pycache__/rowpick_attack_canary', 'w')", READ_ONLY
    ),
    _write("the loader's cache", "open('/etc/ld.so.cache', 'r+b').write(b'x')\nleak(MARK)", READ_ONLY),
    _write(
        "a shared library",
        "import os\nopen(f'/usr/lib/{os.uname().machine}-linux-gnu/libc.so.6', 'r+b').write(b'x')\nleak(MARK)",
        READ_ONLY,
    ),
    _write(
        "the interpreter",
        "import os, sys\nopen(os.path.realpath(sys.executable), 'r+b').write(b'x')\nleak(MARK)",
        READ_ONLY,
    ),
    _write(
        "a hard link to the library, then write",
        """
import json, os
os.link(json.__file__, '/tmp/json.py')
leak(MARK)
""",
        READ_ONLY,
    ),
    _write("rename a library file", "import json, os\nos.rename(json.__file__, '/tmp/json.py')\nleak(MARK)", READ_ONLY),
    _write("an unnamed file there", "import os\nos.open(CANARY_DIR, os.O_TMPFILE | os.O_RDWR)\nleak(MARK)"),
    _write("the time stamps", "import os\nos.utime(SECRET_FILE, (0, 0))"),
    _write("an extended attribute", "import os\nos.setxattr(SECRET_FILE, 'user.x', b'x')\nleak(MARK)", "seccomp"),
    _write("the owner", "import os\nos.chown('/tmp', 0, 0)\nleak(MARK)", "seccomp"),
    _write(
        "set-user-id in the private folder",
        """
import os
open('/tmp/tool', 'w').close()
os.chmod('/tmp/tool', 0o4755)
os.chown('/tmp/tool', 0, 0)
leak(MARK)
""",
        "seccomp",
    ),
]
