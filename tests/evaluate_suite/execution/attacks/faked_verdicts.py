"""Wrong solutions that are to count as right without touching the line to the judge. None may pass, each must be scored."""

from .attack import Attack

TEST = "assert solve(2) == 42 and isinstance(solve(3), int)\nassert solve(2) != 43"
CHECK = "def check(candidate):\n    assert candidate(2) == 42, 'wrong'\n\ncheck(solve)"
CONTROL = Attack("solves the task", "", "def solve(x): return 42", test=TEST)


def _fake(name: str, program: str, test: str = TEST, guard: str = "judge apart") -> Attack:
    return Attack(name, guard, program, test=test, limits={"cpu_seconds": 1.0})


def _exit(name: str, program: str) -> Attack:
    return _fake(name, program, guard="verdict channel apart")


def _object(name: str, methods: str, test: str = TEST) -> Attack:
    body = "\n".join("    " + line for line in methods.strip().split("\n"))
    return _fake(name, f"class Fake:\n{body}\ndef solve(*a): return Fake()", test)


ATTACKS = [
    _exit("sys.exit(0) at once", "import sys\nsys.exit(0)"),
    _exit("sys.exit(0) when called", "import sys\ndef solve(x): sys.exit(0)"),
    _exit("os._exit(0) at once", "import os\nos._exit(0)"),
    _exit("os._exit(0) when called", "import os\ndef solve(x): os._exit(0)"),
    _exit("quit()", "def solve(x): quit()"),
    _exit("exit(0)", "def solve(x): exit(0)"),
    _exit("SystemExit", "def solve(x): raise SystemExit(0)"),
    _exit("SystemExit of its own", "class E(SystemExit): pass\ndef solve(x): raise E(0)"),
    _exit("KeyboardInterrupt", "def solve(x): raise KeyboardInterrupt"),
    _exit("GeneratorExit", "def solve(x): raise GeneratorExit"),
    _exit("exec of true", "import os, sys\ndef solve(x): os.execv(sys.executable, ['python', '-S', '-c', 'pass'])"),
    _exit(
        "exit in a thread",
        "import os, threading\ndef solve(x):\n    threading.Thread(target=os._exit, args=(0,)).start()\n"
        "    import time; time.sleep(1)\n    return 0",
    ),
    _exit("exit at exit", "import atexit, os\natexit.register(os._exit, 0)\ndef solve(x): return 0"),
    _exit(
        "exit by a signal's handler",
        "import os, signal\nsignal.signal(14, lambda *a: os._exit(0))\ndef solve(x):\n    os.kill(os.getpid(), 14)\n    return 0",
    ),
    _exit(
        "exit in a child, silence in the parent",
        "import os\ndef solve(x):\n    if os.fork() == 0: os._exit(0)\n    os._exit(0)",
    ),
    _exit("a finaliser that exits", "import os\nclass E:\n    __del__ = lambda s: os._exit(0)\ndef solve(x): E()"),
    _fake("an exit code in a child", "import os\ndef solve(x):\n    if os.fork() == 0: os._exit(0)\n    return 0"),
    _fake(
        "builtins replaced",
        "import builtins\nfor n in ('all', 'any', 'len', 'abs', 'isinstance', 'sorted', 'sum'):\n"
        "    setattr(builtins, n, lambda *a, **k: True)\ndef solve(x): return 0",
    ),
    _fake(
        "AssertionError replaced",
        "import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\ndef solve(x): return 0",
    ),
    _fake(
        "exec and compile replaced",
        "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None\ndef solve(x): return 0",
    ),
    _fake("import replaced", "import builtins\nbuiltins.__import__ = lambda *a, **k: None\ndef solve(x): return 0"),
    _fake("int and str replaced", "import builtins\nbuiltins.int = builtins.str = object\ndef solve(x): return 0"),
    _fake("the check replaced", "def check(f): pass\ndef solve(x): return 0", CHECK),
    _fake(
        "the check replaced in main",
        "import sys\nsys.modules['__main__'].check = lambda f: None\ndef solve(x): return 0",
        CHECK,
    ),
    _fake(
        "the names of the test",
        "def assertion(*a): return True\ninputs = results = []\ndef solve(x): return 0",
        """
def assertion(out, exp):
    assert out == exp
inputs, results = [[2]], [42]
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion(solve(*inp), exp)
""",
    ),
    _fake(
        "a module under a name of the test",
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef solve(x): return 0",
        "assert math.isclose(solve(2), 42)",
    ),
    _fake(
        "a module object under a name of the test",
        """
import math, types
math.isclose = lambda *a, **k: True
def solve(x): return 0
""",
        "assert math.isclose(solve(2), 42)",
    ),
    _fake(
        "a class under NumPy's usual name",
        "class np:\n    allclose = staticmethod(lambda *a, **k: True)\ndef solve(x): return 0",
        "assert np.allclose(solve(2), 42)",
    ),
    _fake(
        "a thing in the place of a number, so that the test seems at fault",
        "class Thing: pass\nLIMIT = Thing()\ndef solve(x): return 0",
        "assert solve(LIMIT + 1) == 42",
    ),
    _fake(
        "a thing in the place of a number, to be compared",
        "class Thing: pass\nLIMIT = Thing()\ndef solve(x): return 0",
        "assert LIMIT < 3 and solve(2) == 42",
    ),
    _fake(
        "a standard module changed",
        "import math\nmath.isclose = lambda *a, **k: True\ndef solve(x): return 0",
        "import math\nassert math.isclose(solve(2), 42)",
    ),
    _fake(
        "modules replaced",
        "import sys\nfor n in list(sys.modules):\n    if n not in ('sys', 'builtins'): sys.modules[n] = None\n"
        "def solve(x): return 0",
        "import math\nassert math.isclose(solve(2), 42)",
    ),
    _fake(
        "a module in the working folder",
        "import os\nfor d in ('.', '/tmp', '/dev/shm'):\n    for n in ('math', 'random', 'copy', 'decimal'):\n"
        "        open(f'{d}/{n}.py', 'w').write('isclose = deepcopy = lambda *a, **k: True')\ndef solve(x): return 0",
        "import copy, random, decimal, math\nassert copy.deepcopy(solve(2)) == 42",
    ),
    _fake(
        "a start-up module",
        "for n in ('sitecustomize', 'usercustomize'):\n"
        "    open(f'{n}.py', 'w').write('import os; os._exit(0)')\ndef solve(x): return 0",
    ),
    _fake("a trace function", "import sys\nsys.settrace(lambda f, e, a: f.f_locals.clear())\ndef solve(x): return 0"),
    _fake(
        "a profile function",
        "import sys, threading\nthreading.setprofile(lambda *a: None)\n"
        "sys.setprofile(lambda f, e, a: None)\ndef solve(x): return 0",
    ),
    _fake(
        "an audit hook",
        "import sys\ndef hook(*a):\n    raise SystemExit(0)\ndef solve(x):\n    sys.addaudithook(hook)\n    return 0",
    ),
    _fake("an exception hook", "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef solve(x): return 1 / 0"),
    _fake("an AssertionError of its own", "def solve(x): raise AssertionError"),
    _fake("an error that says passed", "class passed(Exception): pass\ndef solve(x): raise passed('passed')"),
    _fake(
        "an error that cannot be told",
        "class E(Exception):\n    def __str__(self): raise SystemExit(0)\ndef solve(x): raise E",
    ),
    _fake(
        "an end of iteration",
        "def solve(x): raise StopIteration",
        "assert all(map(solve, [1, 2]))\nassert list(map(solve, [1])) != []",
    ),
    _fake(
        "an end of iteration by a class of its own",
        "class E(StopIteration): pass\ndef solve(x): raise E",
        "assert all(map(solve, [1, 2]))",
    ),
    _object("equal to everything", "def __eq__(self, o): return True\ndef __ne__(self, o): return True"),
    _object(
        "equal, with a hash",
        "def __eq__(self, o): return True\ndef __hash__(self): return 42",
        "assert solve(2) in {42}",
    ),
    _object(
        "greater and less than everything",
        "__lt__ = __le__ = __gt__ = __ge__ = lambda s, o: True",
        "assert 41 < solve(2) < 43",
    ),
    _object(
        "any class it is asked for", "@property\ndef __class__(self): return int\ndef __eq__(self, o): return True"
    ),
    _object(
        "any number",
        "def __float__(self): return 42.0\ndef __int__(self): return 42\n__index__ = __int__\n"
        "def __sub__(self, o): return 0\n__rsub__ = __sub__\ndef __abs__(self): return 0",
        "assert abs(solve(2) - 42) < 1e-6",
    ),
    _object(
        "every attribute", "def __getattr__(self, n): return lambda *a, **k: True\ndef __eq__(self, o): return True"
    ),
    _object(
        "a copy that is equal",
        "def __deepcopy__(self, m): return 42\ndef __reduce__(self): return (int, (42,))\n"
        "def __eq__(self, o): return True",
        "import copy\nassert copy.deepcopy(solve(2)) == 42",
    ),
    _object(
        "a tolist of its own", "__module__ = 'numpy'\ndef tolist(self): return self\ndef __eq__(self, o): return True"
    ),
    _fake(
        "a class that is an instance of all",
        "class Meta(type):\n    def __instancecheck__(c, o): return True\n    def __eq__(c, o): return True\n"
        "    def __hash__(c): return 0\nclass Fake(metaclass=Meta): pass\ndef solve(x): return Fake",
    ),
    _fake("unittest.mock.ANY", "from unittest.mock import ANY\ndef solve(x): return ANY"),
    _fake(
        "a mock", "from unittest.mock import MagicMock\ndef solve(x): return MagicMock(**{'__eq__.return_value': True})"
    ),
    _fake(
        "an int that is equal to everything",
        "class I(int):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: True\n    __hash__ = int.__hash__\ndef solve(x): return I(0)",
    ),
    _fake(
        "a text that is equal to everything",
        "class S(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\ndef solve(x): return S('')",
        "assert solve(1) == 'x'",
    ),
    _fake(
        "a list that is equal to everything",
        "class L(list):\n    __eq__ = lambda s, o: True\n    __len__ = lambda s: 3\ndef solve(x): return L()",
        "assert solve(1) == [1, 2, 3]",
    ),
    _fake(
        "a dictionary that has everything",
        "class D(dict):\n    __eq__ = lambda s, o: True\n    __missing__ = lambda s, k: 42\ndef solve(x): return D()",
        "assert solve(1) == {1: 2}",
    ),
    _fake(
        "a set that holds everything",
        "class S(set):\n    __eq__ = lambda s, o: True\n    __contains__ = lambda s, k: True\ndef solve(x): return S()",
        "assert 42 in solve(1)",
    ),
    _fake("not a number", "def solve(x): return float('nan')", "assert solve(2) == 42 or not solve(2) != 42"),
    _fake(
        "the arguments emptied",
        "def solve(x):\n    x.clear()\n    return []",
        "x = [3, 1]\nassert solve(x) == sorted(x)",
    ),
    _fake("nothing", "def solve(x): return None"),
    _fake("nothing, where a length is asked", "def solve(x): return None", "assert len(solve(2)) == 42"),
    _fake("nothing, where a number is asked", "def solve(x): return None", "assert abs(solve(2) - 42) < 1e-6"),
    _fake("no function", "pass"),
    _fake("a function that is data", "solve = 42", "assert solve(2) == 42"),
    Attack(
        "a name the tests call and nobody defines", "judge apart", "pass", test="assert solve(2) == 42", entry_point=""
    ),
    _fake(
        "frames",
        """
import sys
def solve(x):
    frame = sys._getframe()
    while frame:
        for v in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if v == 42: return v
        frame = frame.f_back
    return 0
""",
    ),
    _fake(
        "everything alive",
        """
import gc
def solve(x):
    for o in gc.get_objects():
        if type(o) is str and 'solve(2)' in o and 'assert' in o: leak(MARK)
        if type(o) is dict:
            for v in list(o.values()):
                if type(v) is str and '== 42' in v and 'assert solve' in v: leak(MARK)
    return 0
""",
    ),
    _fake(
        "own memory searched for the test",
        """
import ctypes
def solve(x):
    here = id(x)
    needle = b'solve' + b'(2) == 42'
    for start in range(here - (1 << 16), here + (1 << 16), 4096): pass
    data = ctypes.string_at(id(solve), 4096)
    if needle in data: leak(MARK)
    return 0
""",
    ),
    _fake(
        "the stack of calls",
        "import inspect\ndef solve(x):\n    for f in inspect.stack():\n"
        "        if 'assert' in (f.code_context or [''])[0]: leak(MARK)\n    return 0",
    ),
    _fake(
        "the test on standard input",
        "import sys\ndata = sys.stdin.read()\nif 'assert' in data: leak(MARK)\ndef solve(x): return 0",
    ),
    _fake("the test among the arguments", "import sys\nif '42' in str(sys.argv): leak(MARK)\ndef solve(x): return 0"),
    _fake(
        "the test in a file",
        """
import os
for top in ('/tmp', '.', '/dev/shm', CELL_DIR):
    for d, _, fs in os.walk(top):
        for f in fs:
            if b'assert solve(2)' in open(os.path.join(d, f), 'rb').read(): leak(MARK)
def solve(x): return 0
""",
    ),
    _fake(
        "the judge's modules changed",
        "import sys\nfor m in list(sys.modules.values()):\n"
        "    for n in ('judge', 'Session', 'wire', 'encode'):\n        if hasattr(m, n): setattr(m, n, lambda *a: ('passed', ''))\n"
        "def solve(x): return 0",
        guard="verdict channel apart",
    ),
    _fake(
        "printing a verdict",
        "print('passed')\nprint('{\"passed\": true}')\nimport sys\nsys.stderr.write('passed')\ndef solve(x): return 0",
    ),
    _fake(
        "a result file",
        "for p in ('result', '/tmp/result.json', 'passed'):\n    open(p, 'w').write('{\"passed\": true}')\n"
        "def solve(x): return 0",
    ),
    _fake(
        "a generator that never gives",
        "def solve(x):\n    while True: pass\n    yield",
        "assert list(solve(2)) == []",
        "cpu limit",
    ),
    _fake("recursion without end", "def solve(x): return solve(x)"),
    _fake("a structure inside itself", "def solve(x):\n    l = []\n    l.append(l)\n    return l"),
    _fake("a memory error", "def solve(x): raise MemoryError"),
    _fake("warnings and asserts off", "import sys\nsys.flags = None\n__debug__ if True else 0\ndef solve(x): return 0"),
    _fake("a module in the place of the function", "import types\nsolve = types.ModuleType('solve')"),
    _fake(
        "a standard module in the place of the function",
        "import sys\nsys.modules['math'].solve = 0\nimport math as solve",
    ),
    Attack(
        "a module under a name that the tests call",
        "judge apart",
        "import types\nsolve = types.ModuleType('solve')",
        test="assert solve(2) == 42",
        entry_point="",
    ),
    _fake(
        "data in the place of a function that the test may leave uncalled",
        "solve = 1",
        "if callable(solve):\n    assert solve(2) == 42",
    ),
    _fake(
        "a context manager that swallows the assertion",
        "class C:\n    def __enter__(s): return 0\n    def __exit__(s, *a): return True\ndef solve(x): return C()",
        "with solve(2) as v:\n    assert v == 42",
    ),
    _fake(
        "a context manager that swallows what the test stumbles over",
        "class C:\n    def __enter__(s): return None\n    def __exit__(s, *a): return True\ndef solve(x): return C()",
        "with solve(2) as v:\n    assert v + 1 == 43",
    ),
    _fake(
        "an asynchronous context manager that swallows the assertion",
        "class C:\n    async def __aenter__(s): return 0\n    async def __aexit__(s, *a): return True\ndef solve(x): return C()",
        "import asyncio\nasync def go():\n    async with solve(2) as v: assert v == 42\nasyncio.run(go())",
    ),
    _fake(
        "a thing in the name of a standard type, to be taken for what nobody can judge",
        "class OrderedDict:\n    def __eq__(s, o): return True\nOrderedDict.__module__ = 'collections'\ndef solve(x): return OrderedDict()",
        "from collections import OrderedDict\nassert solve(2) == OrderedDict(a=42)",
    ),
    _fake(
        "what cannot be handed over, asked for so as to go unscored",
        "def solve(o):\n    try: o.lock\n    except Exception: pass\n    return 0",
        "import threading\nclass O:\n    lock = threading.Lock()\nassert solve(O()) == 42",
    ),
    _fake(
        "a set by its methods only",
        "class F:\n    issubset = issuperset = lambda s, o: True\n    __len__ = lambda s: 2\ndef solve(x): return F()",
        "r = solve(2)\nassert r.issubset({41, 42}) and r.issuperset({41, 42}) and len(r) == 2",
    ),
    _fake(
        "a slice that is a thing of its own",
        "class F:\n    def __getitem__(s, k): return s\n    def __eq__(s, o): return True\nsolve = lambda x: F()",
        "assert solve(2)[:1] == [42]",
    ),
    _fake(
        "a name of Python's own, with no function of the task",
        "def len(x): return 42\ndef solve(x): return 0",
        "assert len(solve(2)) == 42",
    ),
    _fake(
        "a module of the test's, replaced",
        "class math:\n    isclose = staticmethod(lambda *a: True)\ndef solve(x): return 0",
        "assert math.isclose(solve(2), 42)",
    ),
    _fake(
        "an exception that only has the name",
        "E = type('ValueError', (Exception,), {})\ndef solve(x): raise E('x')",
        "try:\n    solve(2)\nexcept ValueError:\n    pass\nelse:\n    assert False",
    ),
    _fake(
        "a NumPy truth in the place of True",
        "import numpy as np\ndef solve(x): return np.True_",
        "assert solve(2) is True",
    ),
    _fake(
        "the argument given back where a copy is asked for",
        "def solve(x): return x",
        "o = [1, 3]\nr = solve(o)\nassert r == o and r is not o",
    ),
    _fake(
        "the argument kept, not copied",
        "class Box:\n    def __init__(s, x): s.x = x\n    def get(s): return s.x\ndef solve(x): return Box(x)",
        "o = [1]\nb = solve(o)\no.append(2)\nassert b.get() == [1]",
    ),
    _fake(
        "the arguments emptied and given back",
        "def solve(x):\n    x.clear()\n    return x",
        "x = [3, 1]\nassert solve(x) == sorted(x)",
    ),
    _fake(
        "the test's own file, looked for",
        "import os\ndef solve(x):\n    for top in ('/tmp', '/judge'):\n        for n in os.listdir(top):\n"
        "            if n.startswith('judge-'): return open(top + '/' + n).read()",
        "import tempfile\nf = tempfile.NamedTemporaryFile('w+', prefix='judge-')\nf.write('42')\nf.flush()\nf.seek(0)\n"
        "r = solve(2)\nassert r == f.read()",
    ),
]
