"""Links, descriptors and folder tricks to get at files outside."""

from .attack import Attack

CONTROL = Attack(
    "reads through a link",
    "",
    """
import os
os.symlink(SECRET_FILE, CANARY_DIR + '/link')
leak(open(CANARY_DIR + '/link').read())
""",
)


def _trick(name: str, program: str, guard: str = "mount namespace") -> Attack:
    return Attack(name, guard, program)


ATTACKS = [
    _trick("a symbolic link", "import os\nos.symlink(SECRET_FILE, '/tmp/link')\nleak(open('/tmp/link').read())"),
    _trick(
        "a link to the root", "import os\nos.symlink('/', '/tmp/root')\nleak(open('/tmp/root' + SECRET_FILE).read())"
    ),
    _trick("a relative link", "import os\nos.symlink('../../..' + SECRET_FILE, 'link')\nleak(open('link').read())"),
    _trick(
        "a chain of links",
        """
import os
os.symlink('/', 'a')
os.symlink('a', 'b')
leak(open('b' + SECRET_FILE).read())
""",
    ),
    _trick("a hard link", "import os\nos.link(SECRET_FILE, '/tmp/link')\nleak(open('/tmp/link').read())"),
    _trick("a link to /proc/1/root", "leak(open('/proc/1/root' + SECRET_FILE).read())"),
    _trick("a link to the caller's root", "leak(open(f'/proc/{HOST_PID}/root' + SECRET_FILE).read())"),
    _trick("a link to own descriptors", "import os\nleak(MARK + str(os.listdir('/proc/self/fd')))"),
    _trick("own program file (runc's hole)", "open('/proc/self/exe', 'wb')\nleak(MARK)"),
    _trick("/dev/fd", "import os\nleak(MARK + str(os.listdir('/dev/fd')))"),
    _trick(
        "every open descriptor, read",
        """
import os
for fd in range(0, 1024):
    try:
        os.set_blocking(fd, False)
        leak(os.read(fd, 9999).decode(errors='replace'))
    except OSError:
        continue
raise OSError('nothing found')
""",
        "closed descriptors",
    ),
    _trick(
        "every open descriptor, a folder",
        """
import os
for fd in range(0, 1024):
    try:
        leak(os.listdir(fd))
        leak(MARK)
    except OSError:
        continue
raise OSError('nothing found')
""",
        "closed descriptors",
    ),
    _trick(
        "every open descriptor, an opening of files",
        """
import os
for fd in range(0, 1024):
    try:
        leak(os.read(os.open(SECRET_FILE[1:], 0, dir_fd=fd), 99))
    except OSError:
        continue
raise OSError('nothing found')
""",
        "closed descriptors",
    ),
    _trick(
        "fchdir and dot dot",
        """
import os
fd = os.open('/', os.O_PATH)
os.fchdir(fd)
for _ in range(50): os.chdir('..')
leak(open('.' + SECRET_FILE).read())
""",
    ),
    _trick(
        "chroot and dot dot",
        """
import os
os.mkdir('/tmp/jail')
os.chroot('/tmp/jail')
for _ in range(50): os.chdir('..')
os.chroot('.')
leak(open(SECRET_FILE).read())
""",
        "seccomp",
    ),
    _trick(
        "a renamed folder under open feet",
        """
import os
os.makedirs('/tmp/a/b/c')
fd = os.open('/tmp/a/b/c', os.O_PATH)
os.rename('/tmp/a/b', '/tmp/b')
os.fchdir(fd)
leak(open('../../../../..' + SECRET_FILE).read())
""",
    ),
    _trick(
        "a bind mount",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'/', b'/tmp', None, 4096, None): raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _trick(
        "a handle to an inode",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(b'\\x08\\0\\0\\0\\x01\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0', 128)
fd = libc.open_by_handle_at(os.open('/tmp', 0), handle, 0)
if fd < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _trick(
        "descriptors out of another process",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(438, os.pidfd_open(1), 0, 0)
if fd < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
    _trick(
        "a race of links",
        """
import os, threading
os.symlink('/tmp', '/tmp/race')
def swap():
    for _ in range(300):
        os.symlink(SECRET_FILE, '/tmp/new')
        os.rename('/tmp/new', '/tmp/race')
threading.Thread(target=swap, daemon=True).start()
for _ in range(300):
    try:
        leak(open('/tmp/race').read())
    except OSError:
        pass
raise OSError('nothing found')
""",
    ),
    _trick(
        "a program in memory",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.memfd_create(b'x', 0) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
        "seccomp",
    ),
]
