"""Reading files outside the sandbox."""

from .attack import Attack

CONTROL = Attack("reads a file", "", "leak(open(SECRET_FILE).read())")


def _read(name: str, program: str, guard: str = "mount namespace") -> Attack:
    return Attack(name, guard, program)


ATTACKS = [
    _read("open", "leak(open(SECRET_FILE).read())"),
    _read("os.open", "import os\nleak(os.read(os.open(SECRET_FILE, os.O_RDONLY), 99))"),
    _read("pathlib", "import pathlib\nleak(pathlib.Path(SECRET_FILE).read_text())"),
    _read("dot dot", "leak(open('../../../../../..' + SECRET_FILE).read())"),
    _read("double slash", "leak(open('//' + SECRET_FILE).read())"),
    _read("relative after chdir", "import os\nos.chdir('/')\nleak(open(SECRET_FILE[1:]).read())"),
    _read(
        "from a folder descriptor",
        "import os\nfd = os.open('..', os.O_PATH)\nleak(os.read(os.open('..' + SECRET_FILE, 0, dir_fd=fd), 99))",
    ),
    _read("list the folder", "import os\nos.listdir(CANARY_DIR)\nleak(MARK)"),
    _read("list the root", "import os\nos.listdir('/')\nleak(MARK)", "landlock"),
    _read("stat", "import os\nos.stat(SECRET_FILE)\nleak(MARK)"),
    _read(
        "walk everything",
        """
import os
for folder, _, files in os.walk('/'):
    if os.path.basename(SECRET_FILE) in files:
        leak(open(os.path.join(folder, os.path.basename(SECRET_FILE))).read())
raise OSError('nothing found')
""",
    ),
    _read(
        "glob",
        "import glob\nfor p in glob.glob(CANARY_DIR + '/*'): leak(open(p).read())\nraise OSError('nothing found')",
    ),
    _read(
        "import a module from there",
        """
import importlib.util
spec = importlib.util.spec_from_file_location('m', CANARY_DIR + '/module.py')
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
leak(module.SECRET)
""",
    ),
    _read(
        "put the folder on sys.path", "import sys\nsys.path.insert(0, CANARY_DIR)\nimport module\nleak(module.SECRET)"
    ),
    _read("runpy", "import runpy\nleak(runpy.run_path(CANARY_DIR + '/module.py')['SECRET'])"),
    _read(
        "linecache", "import linecache\nleak(linecache.getline(SECRET_FILE, 1) or 'x')\nraise OSError('nothing found')"
    ),
    _read("mmap", "import mmap\nf = open(SECRET_FILE, 'rb')\nleak(mmap.mmap(f.fileno(), 0, prot=1)[:].decode())"),
    _read(
        "a child process",
        "import subprocess, sys\nr = subprocess.run([sys.executable, '-I', '-S', '-c', f'print(open({SECRET_FILE!r}).read())'],"
        " capture_output=True, text=True)\nleak(r.stdout)\nraise OSError(r.stderr[-120:])",
    ),
    _read("a shell", "import os\nif os.system('cat ' + SECRET_FILE): raise OSError('nothing found')"),
    _read(
        "libc open",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.open(SECRET_FILE.encode(), 0)
if fd < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(os.read(fd, 99))
""",
    ),
    _read(
        "libc fopen",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.fopen.restype = ctypes.c_void_p
if not libc.fopen(SECRET_FILE.encode(), b'r'): raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
    ),
    _read(
        "openat2 past the cache",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
how = (ctypes.c_uint64 * 3)(0, 0, 0)
fd = libc.syscall(437, -100, SECRET_FILE.encode(), ctypes.byref(how), 24)
if fd < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(os.read(fd, 99))
""",
    ),
    _read("the user database", "leak(MARK + open('/etc/passwd').read())"),
    _read("password hashes", "leak(MARK + open('/etc/shadow').read())"),
    _read("keys of the user", "import os\nos.listdir(HOST_HOME)\nleak(MARK)", "mount namespace or landlock"),
    _read("docker's socket", "import os\nos.stat('/var/run/docker.sock')\nleak(MARK)"),
    _read("the kernel's view of devices", "import os\nos.listdir('/sys')\nleak(MARK)"),
    _read("physical memory", "leak(MARK + str(open('/dev/mem', 'rb').read(1)))"),
    _read(
        "a disk",
        "import os\nfor d in ('sda', 'vda', 'nvme0n1'):\n    if os.path.exists('/dev/' + d): leak(MARK)\n"
        "raise OSError('nothing found')",
    ),
    _read("the terminal", "leak(MARK + open('/dev/tty').read(1))"),
    _read("the boot partition", "import os\nos.listdir('/boot')\nleak(MARK)"),
    _read("the judge's neighbours on disk", "import sys\nleak(MARK + open(CELL_DIR + '/../tasks.py').read())"),
    _read(
        "a copy of the folder",
        "import shutil\nshutil.copytree(CANARY_DIR, '/tmp/loot')\nleak(open('/tmp/loot/secret.txt').read())",
    ),
]
