"""Right programs that plain Python passes, by kind: what a judge in another process finds hard.

Each is (kind, program, test, name that the test calls, prompt). Most kinds are made of a program and several tests.
"""

from __future__ import annotations

from typing import NamedTuple


class Right(NamedTuple):
    """One right program and its test."""

    kind: str
    program: str
    test: str
    entry_point: str = ""
    prompt: str = ""


VECTOR = """
import functools
@functools.total_ordering
class Vector:
    def __init__(self, x, y=0): self.x, self.y = x, y
    def __eq__(self, o): return (self.x, self.y) == ((o.x, o.y) if isinstance(o, Vector) else o)
    def __lt__(self, o): return (self.x, self.y) < (o.x, o.y)
    def __hash__(self): return hash((self.x, self.y))
    def __add__(self, o): return Vector(self.x + o.x, self.y + o.y)
    def __mul__(self, n): return Vector(self.x * n, self.y * n)
    __rmul__ = __mul__
    def __neg__(self): return Vector(-self.x, -self.y)
    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
    def __bool__(self): return bool(self.x or self.y)
    def __iter__(self): return iter((self.x, self.y))
    def __getitem__(self, i): return (self.x, self.y)[i]
    def __len__(self): return 2
    def __contains__(self, v): return v in (self.x, self.y)
    def __repr__(self): return f'Vector({self.x}, {self.y})'
    def __format__(self, spec): return f'<{format(self.x, spec)}, {format(self.y, spec)}>'
    def __iadd__(self, o): self.x += o.x; self.y += o.y; return self
    def __complex__(self): return complex(self.x, self.y)
    def __round__(self, n=None): return Vector(round(self.x, n), round(self.y, n))
"""
OPERATORS = [
    "Vector(1, 2) + Vector(2, 3) == Vector(3, 5)", "Vector(1) != Vector(2)", "Vector(1) < Vector(2) <= Vector(2)",
    "sorted([Vector(3), Vector(1), Vector(2)]) == [Vector(1), Vector(2), Vector(3)]", "max(Vector(1), Vector(4)).x == 4",
    "len({Vector(1), Vector(1), Vector(2)}) == 2 and Vector(1) in {Vector(1)}", "{Vector(1): 'a'}[Vector(1)] == 'a'",
    "3 * Vector(1, 2) == Vector(1, 2) * 3 == Vector(3, 6)", "-Vector(1, 2) == Vector(-1, -2) and abs(Vector(3, 4)) == 5",
    "bool(Vector(1)) and not Vector(0)", "list(Vector(1, 2)) == [1, 2] and tuple(Vector(3, 4)) == (3, 4)",
    "2 in Vector(1, 2) and 5 not in Vector(1, 2)", "Vector(1, 2)[0] == 1 and Vector(1, 2)[-1] == 2 and len(Vector(1)) == 2",
    "repr(Vector(1, 2)) == 'Vector(1, 2)' and f'{Vector(1, 2):.1f}' == '<1.0, 2.0>' and '%r' % Vector(1) == 'Vector(1, 0)'",
    "Vector(1, 2) == (1, 2) and Vector(1, 2) != (2, 1)", "sum([Vector(1), Vector(2)], Vector(0)) == Vector(3)",
    "complex(Vector(1, 2)) == 1 + 2j and round(Vector(1.26, 2.0), 1) == Vector(1.3, 2.0)",
    "[Vector(2), Vector(1)].index(Vector(1)) == 1 and [Vector(1)].count(Vector(1)) == 1",
    "dict(zip('ab', Vector(1, 2))) == {'a': 1, 'b': 2} and max(Vector(5, 9)) == 9",
    "isinstance(Vector(1), Vector) and type(Vector(1)) is Vector and type(Vector(1)).__name__ == 'Vector'",
]  # fmt: skip
BOX = """
class Box:
    count = 0
    def __init__(self): self.d, self.log = {}, []; Box.count += 1
    def __getitem__(self, k): return self.d[k]
    def __setitem__(self, k, v): self.d[k] = v
    def __delitem__(self, k): del self.d[k]
    def __enter__(self): self.log.append('in'); return self
    def __exit__(self, *a): self.log.append('out'); return a[0] is KeyError
    def __call__(self, f): return f(self)
    def __getattr__(self, n):
        if n.startswith('get_'): return lambda: self.d[n[4:]]
        raise AttributeError(n)
    @property
    def size(self): return len(self.d)
    @classmethod
    def of(cls, **k):
        made = cls(); made.d.update(k); return made
    @staticmethod
    def twice(x): return 2 * x
    def __int__(self): return len(self.d)
    __index__ = __int__
    def __reversed__(self): return reversed(list(self.d))
    def __copy__(self): return Box.of(**self.d)
"""
OBJECTS = [
    "b = Box()\nb['a'] = 1\nassert b['a'] == 1\ndel b['a']\nassert b.size == 0", "b = Box.of(x=3)\nassert b.get_x() == 3 and int(b) == 1 and 'ab'[b] == 'b'",
    "with Box() as b: b['k'] = 2\nassert b.log == ['in', 'out']", "with Box() as b: raise KeyError\nassert b.log[-1] == 'out'",
    "b = Box()\nb.log.append('x')\nassert b.log == ['x'] and b.log is b.log", "assert Box.twice(4) == 8 and Box.count == 0\nBox()\nassert Box.count == 1",
    "b = Box()\nb.name = 'n'\nassert b.name == 'n' and hasattr(b, 'name') and not hasattr(b, 'other')\ndel b.name\nassert not hasattr(b, 'name')",
    "import copy\na = Box.of(x=1)\nb = copy.copy(a)\nassert b.d == {'x': 1} and b is not a and copy.deepcopy(a).d == a.d",
    "assert list(reversed(Box.of(a=1, b=2))) == ['b', 'a'] and Box.of()(lambda b: b.size) == 0",
    "try:\n    Box().other\n    assert False\nexcept AttributeError as e: assert 'other' in str(e)",
    "try:\n    Box()['k']\n    assert False\nexcept KeyError as e: assert e.args == ('k',) and e.args[0] == 'k'",
    "assert getattr(Box(), 'nope', 7) == 7 and vars(Box())['log'] == [] and callable(Box()) and Box.__name__ == 'Box'",
]  # fmt: skip
ERRORS = """
import json
class Bad(Exception): pass
class Worse(Bad, ValueError):
    def __init__(self, code, why='?'): super().__init__(why); self.code = code
    def __str__(self): return f'{self.code}: {self.args[0]}'
def f(what):
    if what == 'bad': raise Bad('b', 2)
    if what == 'worse': raise Worse(404, 'lost')
    if what == 'json': return json.loads('{')
    if what == 'utf': return b'\\xff'.decode()
    if what == 'chain':
        try: {}['k']
        except KeyError as e: raise RuntimeError('outer') from e
    if what == 'exit': raise SystemExit(3)
    if what == 'assert': assert False, 'inner'
    if what == 'stop': return next(iter([]))
    if what == 'group': return int('x')
    if what == 'os': return open('/nowhere')
    return what
"""
RAISED = [
    ("bad", "except Bad as e: assert e.args == ('b', 2) and type(e) is Bad"), ("worse", "except Bad as e: assert e.code == 404 and str(e) == '404: lost'"),
    ("worse", "except ValueError as e: assert isinstance(e, Worse) and issubclass(Worse, Bad)"),
    ("json", "except json.JSONDecodeError as e: assert e.pos == 1"), ("utf", "except UnicodeDecodeError as e: assert e.start == 0"),
    ("chain", "except RuntimeError as e: assert str(e) == 'outer'"), ("exit", "except SystemExit as e: assert e.code == 3"),
    ("assert", "except AssertionError as e: assert str(e) == 'inner'"), ("group", "except (KeyError, ValueError) as e: assert 'x' in str(e)"),
    ("os", "except FileNotFoundError as e: assert e.errno == 2 and e.filename == '/nowhere'"),
]  # fmt: skip
HANDED = [  # the function, and what a test hands over to it
    ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x + 1, [1, 2]) == [2, 3] and f(str, [1]) == ['1'] and f(len, ['ab']) == [2]"),
    ("def f(xs, key=None): return sorted(xs, key=key)", "assert f([3, -1], key=abs) == [-1, 3] and f('bA', key=str.lower) == ['A', 'b']"),
    ("def f(g): return g(1)(2)", "assert f(lambda a: lambda b: a + b) == 3"),
    ("def f(xs): return list(xs)", "assert f(iter([1, 2])) == [1, 2] and f(x for x in [3]) == [3] and f(map(str, [4])) == ['4']"),
    ("def f(xs): return next(xs) + next(xs)", "i = iter([1, 2, 3])\nassert f(i) == 3 and next(i) == 3"),
    ("def f(log): log('a'); log('b')", "seen = []\nf(seen.append)\nassert seen == ['a', 'b']"),
    ("def f(g):\n    try: g()\n    except ValueError as e: return str(e)", "def bad(): raise ValueError('v')\nassert f(bad) == 'v'"),
    ("def f(g): return g()", "class Boom(Exception): pass\ndef bad(): raise Boom(7)\ntry:\n    f(bad)\n    assert False\nexcept Boom as e: assert e.args == (7,)"),
    ("def f(p): return p.x + p[1]", "from collections import namedtuple\nP = namedtuple('P', 'x y')\nassert f(P(1, 2)) == 3"),
    ("def f(o): o.n += 1; return o.double()", "class C:\n    n = 1\n    def double(self): return 2 * self.n\nc = C()\nassert f(c) == 4 and c.n == 2"),
    ("def f(s): return s.read().upper()", "import io\nassert f(io.StringIO('x')) == 'X' and f(io.BytesIO(b'y')) == b'Y'"),
    ("def f(s): s.write('hi'); return s", "import io\ns = io.StringIO()\nassert f(s) is s and s.getvalue() == 'hi'"),
    ("def f(a, b): return a @ b", "import numpy as np\nassert np.allclose(f(np.eye(2), np.ones(2)), [1, 1]) and f(np.ones(2), np.ones(2)) == 2.0"),
    ("def f(d): return d.astimezone(__import__('datetime').timezone.utc).hour", "from datetime import *\nassert f(datetime(2020, 1, 1, 5, tzinfo=timezone(timedelta(hours=2)))) == 3"),
    ("def f(p): return p.name", "from pathlib import Path\nassert f(Path('/a/b')) == 'b'"),
    ("def f(r, s): return r.sub('-', s)", "import re\nassert f(re.compile(r'\\d'), 'a1b') == 'a-b'"),
    ("def f(e): return e.value", "from enum import Enum\nclass E(Enum): A = 1\nassert f(E.A) == 1"),
    ("def f(c): return c().n", "class C:\n    def __init__(self): self.n = 5\nassert f(C) == 5"),
]  # fmt: skip
IN_PLACE = [
    ("x.sort(); return x", "x = [2, 1]\nassert f(x) == [1, 2] and x == [1, 2] and f(x) is x"), ("n = len(x); x.clear(); return n", "x = [1, 2]\nassert f(x) == 2 and x == []"),
    ("x['k'] = x.pop('j'); return x['k']", "d = {'j': 1}\nassert f(d) == 1 and d == {'k': 1}"), ("x.add(9); return x.pop if False else 1", "s = {1}\nf(s)\nassert s == {1, 9}"),
    ("x[0][0] = 5; return len(x)", "m = [[1], [2]]\nassert f(m) == 2 and m == [[5], [2]]"), ("x.rotate(1); return x[0]", "from collections import deque\nd = deque([1, 2])\nassert f(d) == 2 and d == deque([2, 1])"),
    ("x[:] = b'zz'; return x", "b = bytearray(b'ab')\nassert f(b) == b'zz' and b == bytearray(b'zz')"), ("x['a'] += 2; return sum(x.values())", "from collections import Counter\nc = Counter('a')\nassert f(c) == 3 and c['a'] == 3"),
    ("return list(x)", "x = [1, [2]]\ny = f(x)\nassert y == x and y is not x and y[1] is x[1]"), ("return [x, x]", "a, b = f([1])\nassert a is b\na.append(2)\nassert b == [1, 2]"),
    ("x.append(x); return len(x)", "x = []\nassert f(x) == 1 and x[0] is x"), ("x += 1; return None", "import numpy as np\na = np.zeros(2)\nf(a)\nassert a.tolist() == [1, 1]"),
]  # fmt: skip
RETURNED = [
    ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "p = f()\nassert p.x == 1 and p == (1, 2) and p._replace(y=3).y == 3 and p._asdict() == {'x': 1, 'y': 2}"),
    ("import dataclasses\n@dataclasses.dataclass(order=True)\nclass D:\n    a: int\n    b: str = 'b'\ndef f(n): return D(n)",
     "assert f(1).a == 1 and f(1) == f(1) and f(1) < f(2) and repr(f(1)) == \"D(a=1, b='b')\" and sorted([f(2), f(1)])[0].a == 1"),
    ("import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 2", "assert Color.RED.value == 1 and Color(2) is Color.BLUE and [c.name for c in Color] == ['RED', 'BLUE'] and Color['RED'] == Color.RED and len(Color) == 2"),
    ("import enum\nclass N(enum.IntEnum): ONE = 1\ndef f(): return N.ONE", "assert f() == 1 and f() + 1 == 2 and f().name == 'ONE'"),
    ("def f(n):\n    got = yield n\n    yield got * 2\n    return 'end'", "g = f(1)\nassert next(g) == 1 and g.send(5) == 10\ntry: next(g)\nexcept StopIteration as e: assert e.value == 'end'"),
    ("def f():\n    try: yield 1\n    except ValueError: yield 'caught'", "import types\ng = f()\nassert isinstance(g, types.GeneratorType) and next(g) == 1 and g.throw(ValueError('x')) == 'caught'"),
    ("async def f(x): return x + 1", "import asyncio\nassert asyncio.run(f(2)) == 3\nasync def both(): return await asyncio.gather(f(1), f(2))\nassert asyncio.run(both()) == [2, 3]"),
    ("async def f(n):\n    for i in range(n): yield i", "import asyncio\nasync def go(): return [i async for i in f(3)]\nassert asyncio.run(go()) == [0, 1, 2]"),
    ("class A:\n    async def __aenter__(self): return 4\n    async def __aexit__(self, *a): return False\ndef f(): return A()", "import asyncio\nasync def go():\n    async with f() as v: return v\nassert asyncio.run(go()) == 4"),
    ("import contextlib\n@contextlib.contextmanager\ndef f(x): yield x", "with f(3) as v: assert v == 3"),
    ("import functools\ndef f(n): return functools.partial(pow, n)", "assert f(2)(5) == 32 and f(2).args == (2,)"),
    ("def f(n):\n    def inner(x: int = 1) -> int:\n        'doc'\n        return x + n\n    return inner", "import inspect\ng = f(1)\nassert g(1) == 2 and g.__doc__ == 'doc' and g.__name__ == 'inner' and list(inspect.signature(g).parameters) == ['x']"),
    ("import re\ndef f(s): return re.match(r'(\\w)(\\d)', s)", "m = f('a1')\nassert m and m.group(1) == 'a' and m.groups() == ('a', '1') and m[2] == '1' and m.span() == (0, 2) and f('?') is None"),
    ("def f(d): return d.items()", "assert list(f({1: 2})) == [(1, 2)] and (1, 2) in f({1: 2}) and len(f({})) == 0 and f({1: 2}) == {(1, 2)}"),
    ("from collections import *\ndef f(s):\n    d = defaultdict(list)\n    for c in s: d[c].append(1)\n    return d", "d = f('aab')\nassert d == {'a': [1, 1], 'b': [1]} and d['new'] == [] and isinstance(d, dict)"),
    ("class Stack(list):\n    def push(self, x): self.append(x)\n    def peek(self): return self[-1]", "s = Stack()\ns.push(1); s.push(2)\nassert s.peek() == 2 and s == [1, 2] and len(s) == 2 and s.pop() == 2 and isinstance(s, list)"),
    ("class D(dict):\n    def __missing__(self, k): return k * 2\ndef f(): return D(a=1)", "assert f()['zz'] == 'zzzz' and f() == {'a': 1}"),
    ("class U(str):\n    def shout(self): return self.upper() + '!'\ndef f(s): return U(s)", "assert f('a') == 'a' and f('a').shout() == 'A!' and len(f('abc')) == 3 and f('a') + 'b' == 'ab'"),
    ("import numpy as np\ndef f(n): return np.arange(n)", "assert f(3).tolist() == [0, 1, 2] and f(3).sum() == 3 and (f(3) == np.arange(3)).all() and f(4).reshape(2, 2).shape == (2, 2)"),
    ("import array, uuid, decimal, fractions\ndef f(): return array.array('i', [1]), uuid.UUID(int=1), decimal.Decimal('0.1'), fractions.Fraction(1, 3)",
     "import array, uuid, decimal, fractions\nassert f() == (array.array('i', [1]), uuid.UUID(int=1), decimal.Decimal('0.1'), fractions.Fraction(1, 3))"),
    ("from itertools import count\ndef f(): return count(1)", "import itertools\nassert list(itertools.islice(f(), 2)) == [1, 2] and next(f()) == 1"),
    ("def f(x): return type(x)", "assert f(1) is int and f('') == str and f(None) is type(None) and f([]) is list"),
    ("class Node:\n    def __init__(self, v, n=None): self.v, self.next = v, n\ndef f(xs):\n    head = None\n    for x in reversed(xs): head = Node(x, head)\n    return head",
     "n = f([1, 2])\nout = []\nwhile n is not None:\n    out.append(n.v)\n    n = n.next\nassert out == [1, 2] and f([]) is None"),
    ("def f(): return NotImplemented, ..., slice(1, 2), range(3)", "assert f() == (NotImplemented, ..., slice(1, 2), range(3))"),
    ("import weakref\nclass A: pass\nlive = weakref.WeakSet()\ndef f():\n    a = A(); live.add(a); return a\ndef g(): return len(live)", "a = f()\nassert g() == 1\ndel a\nassert g() == 0"),
    ("import threading\nclass C:\n    def __init__(self): self.n, self.lock = 0, threading.Lock()\n    def up(self):\n        with self.lock: self.n += 1",
     "import threading\nc = C()\nts = [threading.Thread(target=c.up) for _ in range(5)]\n[t.start() for t in ts]; [t.join() for t in ts]\nassert c.n == 5"),
]  # fmt: skip
AROUND = [  # what a test changes around the program
    ("def f(): return int(input()) + 1", "import builtins\nbuiltins.input = lambda *a: '41'\nassert f() == 42"),
    ("import sys\ndef f(): return sys.stdin.readline().strip() + sys.stdin.read()", "import sys, io\nsys.stdin = io.StringIO('a\\nb')\nassert f() == 'ab'"),
    ("def f(): print('hi', 3)", "import io, contextlib\nout = io.StringIO()\nwith contextlib.redirect_stdout(out): f()\nassert out.getvalue() == 'hi 3\\n'"),
    ("import time\ndef f(): return time.time()", "from unittest import mock\nwith mock.patch('time.time', return_value=5.0): assert f() == 5.0\nassert f() > 6"),
    ("import os\ndef f(): return os.environ['K']", "import os\nos.environ['K'] = 'v'\nassert f() == 'v'"),
    ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "import sys\nsys.setrecursionlimit(20000)\nassert f(3000) == 3000"),
    ("import random\ndef f(): return [random.randint(0, 9) for _ in range(3)]", "import random\nrandom.seed(4)\na = f()\nrandom.seed(4)\nassert a == f() == [3, 4, 1]"),
    ("def f(path): return open(path).read()", "open('in.txt', 'w').write('x')\nassert f('in.txt') == 'x'"),
    ("def f(path): return len(open(path).read())", "import tempfile\nwith tempfile.NamedTemporaryFile('w', suffix='.txt') as t:\n    t.write('abc'); t.flush()\n    assert f(t.name) == 3"),
    ("PI = 3.14\ndef f(): pass", "assert PI == 3.14"), ("import random\ndef f(): return random.random()", "from unittest.mock import patch\nwith patch('random.random', lambda: 0.5): assert f() == 0.5"),
    ("import inspect\ndef f(): return 'def f' in inspect.getsource(f)", "assert f()"),
    ("import os, shutil\ndef f():\n    open('a', 'w').write('x'); shutil.copy2('a', 'b'); os.replace('b', 'c'); return open('c').read()", "assert f() == 'x'"),
    ("import subprocess\ndef f(x): return subprocess.check_output(['echo', x], text=True).strip()", "assert f('2') == '2'"),
    ("import threading\ndef f(x):\n    out = []\n    t = threading.Thread(target=lambda: out.append(x)); t.start(); t.join(); return out[0]", "for i in range(300): assert f(i) == i"),
]  # fmt: skip
NAMED_LIKE_BUILTINS = {
    "sum": ("def sum(a, b): return a + b", "assert sum(1, 2) == 3"), "max": ("def max(xs): return sorted(xs)[-1]", "assert max([1, 3, 2]) == 3"),
    "filter": ("def filter(xs): return [x for x in xs if x]", "assert filter([0, 1]) == [1]"), "hash": ("def hash(s): return len(s)", "assert hash('abc') == 3"),
    "reversed": ("def reversed(s): return s[::-1]", "assert reversed('ab') == 'ba'"),
}  # fmt: skip
LENT_MODULES = [
    ("def f(r): return 3.141592653589793 * r", "assert math.isclose(f(1), math.pi)"), ("def f(s): return {c: s.count(c) for c in s}", "assert f('aab') == collections.Counter('aab')"),
    ("import numpy as xx\ndef f(n): return xx.zeros(n)", "assert np.array_equal(f(2), np.zeros(2))"), ("def f(y): return __import__('datetime').date(y, 1, 1)", "assert f(2020) == datetime.date(2020, 1, 1)"),
    ("from collections import Counter\ndef f(s): return Counter(s)", "assert f('aab') == Counter('aab') and f('').most_common() == []"),
]  # fmt: skip
HARD = [  # what only one process can do
    ("class A:\n    def hi(self): return 'a'", "class B(A): pass\nassert B().hi() == 'a'"),
    ("class A:\n    def __init__(self, n): self.n = n", "import pickle\nassert pickle.loads(pickle.dumps(A(3))).n == 3"),
    ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int", "import dataclasses\nassert dataclasses.asdict(P(1)) == {'x': 1}"),
    ("def f(): yield 1", "import inspect\nassert inspect.isgeneratorfunction(f)"),
    ("def f(lock):\n    with lock: return 1", "import threading\nassert f(threading.Lock()) == 1"),
]  # fmt: skip
PROMPTS = [
    ("f", "    return n.v\n", "assert f(Node(3)) == 3", "class Node:\n    def __init__(self, v): self.v = v\n\ndef f(n):\n"),
    ("Stack", "        return len(self.xs)\n", "s = Stack()\ns.push(1)\nassert s.size() == 1",
     '"""A stack."""\nclass Stack:\n    def __init__(self): self.xs = []\n    def push(self, x): self.xs.append(x)\n    def size(self):\n'),
    ("f", "    return TreeNode(x)\n", "t = f(2)\nassert t.val == 2 and t.left is None and isinstance(t, TreeNode)",
     "class TreeNode:\n    def __init__(self, val, left=None, right=None): self.val, self.left, self.right = val, left, right\n\ndef f(x):\n"),
]  # fmt: skip


SPIN = (
    "import time\ndef f():\n    end = time.process_time() + {}\n    while time.process_time() < end: pass\n    return 1"
)
NAP = "import time\ndef f():\n    time.sleep({})\n    return 1"


def near_the_limit(cpu_seconds: float, count: int) -> list[str]:
    """Return programs that use 60% of their CPU limit, every sixth one that sleeps for twice of it."""
    return [(SPIN if n % 6 else NAP).format(cpu_seconds * (0.6 if n % 6 else 2)) for n in range(count)]


def all_programs() -> list[Right]:
    """Return every right program."""
    found = [Right("operators", VECTOR, f"assert {test}", "Vector") for test in OPERATORS]
    found += [Right("objects", BOX, test, "Box") for test in OBJECTS]
    found += [
        Right(
            "exceptions", ERRORS, f"import json\ntry:\n    f({what!r})\n    assert False, 'nothing raised'\n{then}", "f"
        )
        for what, then in RAISED
    ]
    found += [Right("handed over", program, test) for program, test in HANDED]
    found += [Right("in place", f"def f(x):\n    {body}", test, "f") for body, test in IN_PLACE]
    found += [Right("returned", program, test) for program, test in RETURNED]
    found += [Right("surroundings", program, test) for program, test in AROUND]
    found += [Right("named like builtins", *pair) for pair in NAMED_LIKE_BUILTINS.values()]
    found += [Right("named like builtins", *pair, name) for name, pair in NAMED_LIKE_BUILTINS.items()]
    found += [Right("modules of the test", program, test, "f") for program, test in LENT_MODULES]
    found += [Right("one process only", program, test) for program, test in HARD]
    return found + [Right("prompts", program, test, name, prompt) for name, program, test, prompt in PROMPTS]
