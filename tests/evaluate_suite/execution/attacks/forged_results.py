"""Tampering with the line to the judge and with every other descriptor at hand."""

from .attack import Attack

TEST = "x = [5]\nassert solve(x) == [42]\nassert x == [5]"
CONTROL = Attack("solves the task", "", "def solve(x): return [42]", test=TEST)

# The format is no secret: an attacker may bring his own copy of it.
WIRE = """
import os, struct
def sized(tag, body): return tag + struct.pack('<I', len(body)) + body
def text(s): return sized(b's', s.encode())
def number(i): return sized(b'i', i.to_bytes(8, 'little', signed=True))
def many(tag, *items): return tag + struct.pack('<I', len(items)) + b''.join(items)
def frame(data): return struct.pack('<I', len(data)) + data
def send(data):
    for fd in range(3, 64):
        try:
            os.write(fd, data)
        except OSError:
            pass
# New classes, what is forgotten, new containers, changed containers, then what is said.
message = lambda *parts: frame(many(b't') + many(b't') + number(0) + number(0) + many(b't', *parts))
ok = lambda value: message(text('ok'), value)
thing = lambda n, note='0:': sized(b'h', b'h' + struct.pack('<I', n) + note.encode())
builtin = lambda name: b'g' + many(b't', text('builtins'), text(name))
def error(n, name, arguments=b''):
    described = many(b't', many(b't', number(n), text(name), text('builtins'), many(b't'), many(b't'), many(b't'), b'F'))
    value = b'k' + thing(n + 1, str(n) + ':') + many(b't', many(b't', *([arguments] if arguments else [])), text(''))
    return frame(described + many(b't') + number(0) + number(0) + many(b't', text('error'), value, text('')))
def changed(n, content, value):
    return frame(many(b't') + many(b't') + number(0) + number(1) + many(b't', number(n), many(b't', content)) + many(b't', text('ok'), value))
"""


def _forge(name: str, program: str, guard: str = "verdict channel apart", test: str = TEST) -> Attack:
    waits = guard == "wall-clock backstop"
    return Attack(name, guard, WIRE + program, test=test, limits={"cpu_seconds": 0.2 if waits else 0.5}, sleeps=waits)


ATTACKS = [
    _forge(
        "a verdict on every descriptor", "send(frame(many(b't', text('passed'), text(''))))\ndef solve(x): return [0]"
    ),
    _forge(
        "a verdict when called", "def solve(x):\n    send(frame(many(b't', text('passed'), text(''))))\n    return [0]"
    ),
    _forge(
        "a result of the supervisor",
        "def solve(x):\n    send(frame(many(b'd', text('reason'), text('passed'), text('detail'), text(''))))\n    return [0]",
    ),
    _forge("the word passed", "def solve(x):\n    send(b'passed')\n    return [0]"),
    _forge("noise", "import os\ndef solve(x):\n    send(os.urandom(4096))\n    return [0]"),
    _forge("zeros", "def solve(x):\n    send(bytes(4096))\n    return [0]"),
    _forge("a frame of four gigabytes", "def solve(x):\n    send(b'\\xff' * 8)\n    return [0]"),
    _forge("a frame cut short", "def solve(x):\n    send(ok(b'N')[:9])\n    os._exit(0)"),
    _forge("an unknown kind of value", "def solve(x):\n    send(ok(b'Q'))\n    return [0]"),
    _forge(
        "a nest of lists", "def solve(x):\n    send(ok((b'l' + struct.pack('<I', 1)) * 100_000 + b'N'))\n    return [0]"
    ),
    _forge(
        "a list with a huge length", "def solve(x):\n    send(ok(b'l' + struct.pack('<I', 0xffffffff)))\n    return [0]"
    ),
    _forge(
        "a dictionary with lists as keys",
        "def solve(x):\n    send(ok(many(b'd', many(b'l'), b'N')[:1] + struct.pack('<I', 1) + many(b'l') + b'N'))\n"
        "    return [0]",
    ),
    _forge(
        "a class of another module",
        "def solve(x):\n    send(ok(b'v' + many(b't', text('os'), text('system')) + many(b't', text('true'))))\n    return [0]",
    ),
    _forge(
        "a class of an allowed module",
        "def solve(x):\n    send(ok(b'v' + many(b't', text('datetime'), text('sys')) + many(b't')))\n    return [0]",
    ),
    _forge(
        "a constructor with wrong arguments",
        "def solve(x):\n    send(ok(b'v' + many(b't', text('fractions'), text('Fraction')) + many(b't', number(1), number(0))))\n"
        "    return [0]",
    ),
    _forge("answers to later questions", "send(ok(b'N') * 20)\ndef solve(x): return [0]"),
    _forge(
        "the argument changed beside an answer",
        "def solve(x):\n    send(changed(0, number(42), many(b'l', number(42))))\n    os._exit(0)",
        "judge apart",
        "x = [5]\nassert solve(x) == sorted(x) and x == [42]",
    ),
    _forge(
        "an error that does not exist",
        "def solve(x):\n    send(error(900, 'CandidateGone'))\n    os._exit(0)",
    ),
    _forge(
        "an error that ends the judge",
        "def solve(x):\n    send(error(900, 'SystemExit', number(0)))\n    os._exit(0)",
        "judge apart",
    ),
    _forge(
        "an error without a name",
        "def solve(x):\n    send(message(text('error'), number(1), number(2)))\n    os._exit(0)",
        "judge apart",
    ),
    _forge("an answer that is no pair", "def solve(x):\n    send(frame(number(1)))\n    os._exit(0)"),
    _forge(
        "two answers",
        "def solve(x):\n    send(ok(many(b'l', number(0))) * 2)\n    os._exit(0)",
        "judge apart",
    ),
    _forge(
        "a thing nobody made",
        "def solve(x):\n    send(ok(thing(999)))\n    os._exit(0)",
        "judge apart",
    ),
    _forge(
        "the names of the test as data",
        "send(ok(b'N') + ok(many(b't', many(b't', text('solve'), many(b't', text('value'), number(7))))))\nos._exit(0)",
    ),
    _forge("a child that answers too", "def solve(x):\n    os.fork()\n    return [0]", "judge apart"),
    _forge(
        "descriptors in the line",
        """
import array, socket
def solve(x):
    for fd in range(3, 64):
        try:
            socket.socket(fileno=os.dup(fd)).sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0]))])
        except OSError:
            pass
    return [0]
""",
        "wall-clock backstop",
    ),
    _forge(
        "the line shut down",
        """
import socket
def solve(x):
    for fd in range(3, 64):
        try:
            socket.socket(fileno=os.dup(fd)).shutdown(2)
        except OSError:
            pass
    return [0]
""",
    ),
    _forge(
        "the line covered by the output",
        "def solve(x):\n    for fd in range(3, 64):\n        try:\n            os.dup2(1, fd)\n"
        "        except OSError:\n            pass\n    return [0]",
    ),
    _forge(
        "the line left to a new interpreter",
        """
import sys
def solve(x):
    for fd in range(3, 64):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            pass
    code = 'import os\\nfor fd in range(3, 64):\\n try: os.write(fd, b"passed" * 99)\\n except OSError: pass'
    os.execv(sys.executable, [sys.executable, '-S', '-c', code])
""",
    ),
    _forge(
        "the module that answers, replaced",
        """
import sys
wire = sys.modules['cell.line.wire']
wire.encode = lambda *a: many(b't', text('passed'), text(''))
def solve(x): return [0]
""",
    ),
    _forge(
        "the server, replaced",
        """
import gc
for o in gc.get_objects():
    if type(o).__name__ == 'Server':
        type(o).do_call = lambda *a: ('passed', '')
        type(o).do_special = lambda *a: True
def solve(x): return [0]
""",
        "judge apart",
    ),
    _forge(
        "a pickle in the place of a result",
        "def solve(x):\n    import pickle\n    data = pickle.dumps([42])\n"
        "    send(ok(b'p' + thing(900) + sized(b'b', data)))\n    os._exit(0)",
        "judge apart",
    ),
    _forge(
        "a function that runs code, by its name",
        "def solve(x):\n    send(ok(builtin('eval')))\n    os._exit(0)",
        "judge apart",
        "assert solve([5])('[42]') == [42]",
    ),
    _forge(
        "a module of the machine, by its name",
        "def solve(x):\n    send(ok(b'g' + many(b't', text('os'), text('system'))))\n    os._exit(0)",
        "judge apart",
    ),
    _forge(
        "a container that is the judge's, made anew",
        "def solve(x):\n    send(frame(many(b't') + many(b't') + number(1) + many(b't', number(0), many(b't', text('builtins'), text('list')),"
        " many(b't'), b'N') + number(0) + many(b't', text('ok'), b'N')))\n    os._exit(0)",
        "judge apart",
    ),
    _forge(
        "a class that is derived from the judge's own",
        "def solve(x):\n    described = many(b't', many(b't', number(900), text('int'), text('builtins'),"
        " many(b't', many(b't', text('builtins'), text('int'))), many(b't', text('__eq__'), text('__class__')), many(b't', text('real')), b'F'))\n"
        "    send(frame(described + many(b't') + number(0) + number(0) + many(b't', text('ok'), b'k' + thing(901, '900:') + number(0))))\n"
        "    os._exit(0)",
        "judge apart",
        "assert solve([5]) == 42",
    ),
    _forge(
        "an attribute of a function that was lent",
        "def solve(f):\n    try:\n        code = f.__globals__\n    except AttributeError:\n        code = None\n"
        "    ends, number = object.__getattribute__(f, '_rowpick')\n"
        "    for name in ('__globals__', '__code__', '__closure__', 'real'):\n        try:\n"
        "            code = code or ends.ask('getattr', number, (name,))\n        except Exception:\n            pass\n"
        "    if code: leak(MARK)\n    return [0]",
        "judge apart",
        "right = [42]\nassert solve(lambda: 0) == right",
    ),
    _forge(
        "a frame of a generator that was lent",
        "def solve(f):\n    ends, number = object.__getattribute__(f, '_rowpick')\n"
        "    for operation, what in (('getattr', ('gi_frame',)), ('special', ('__getattribute__', 'gi_frame')), ('special', ('__iter__',))):\n"
        "        try:\n            if 'frame' in repr(ends.ask(operation, number, what)): leak(MARK)\n"
        "        except Exception:\n            pass\n    return [0]",
        "judge apart",
        "right = [42]\nassert solve(i for i in right) == right",
    ),
]
