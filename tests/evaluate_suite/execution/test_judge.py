"""A right program passes whatever kind of value it deals in; a wrong one fails for the reason a reader would give."""

from __future__ import annotations

import sys

import pytest

from evaluate_suite.execution.limits import DEFAULT_LIMITS
from evaluate_suite.execution.sandbox import run_job
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.wanted_names import TestNames, names_of_test

from .test_attacks import usable_mode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


def judged(program: str, test: str, entry_point: str = "f", prelude: str = "") -> tuple[str, str]:
    result = run_job(Job(program, "test", prelude, test, entry_point), DEFAULT_LIMITS, usable_mode())
    assert result.passed == (result.reason == "passed")
    return result.reason, result.detail


RIGHT = [
    ("plain values", "def f(): return [1, 2.5, 'ü\\ud800', b'\\0', None, True, (3,), {4}, frozenset({5}), {6: [7]}, 8j]",
     "assert f() == [1, 2.5, 'ü\\ud800', b'\\0', None, True, (3,), {4}, frozenset({5}), {6: [7]}, 8j]\nassert f()[6] == (3,)"),
    ("big and negative integers", "def f(n): return -n ** 300", "assert f(7) == -7 ** 300\nassert f(0) == 0"),
    ("an empty answer is not the absent one", "def f(x): return x", "assert f([]) == [] and f('') == '' and f(None) is None"),
    ("bool is not int", "def f(): return True", "assert f() is True and isinstance(f(), bool)"),
    ("not a number", "def f(): return float('nan')", "assert f() != f()"),
    ("standard values", "from decimal import Decimal\nfrom fractions import Fraction\nfrom collections import Counter, deque\n"
     "from datetime import date, timedelta\n"
     "def f(): return [Decimal('1.10'), Fraction(1, 3), Counter('aab'), deque([1], 4), date(2024, 2, 29), timedelta(1, 2)]",
     "from decimal import Decimal\nfrom fractions import Fraction\nfrom datetime import date, timedelta\n"
     "d = f()\nassert d[0] == Decimal('1.10') and str(d[0]) == '1.10' and d[1] * 3 == 1\n"
     "assert d[2].most_common(1) == [('a', 2)] and d[3].maxlen == 4 and d[4] == date(2024, 2, 29) and d[5] == timedelta(1, 2)"),
    ("arguments by name", "def f(a, *b, c=1, **d): return (a, b, c, d)", "assert f(1, 2, 3, c=4, e=5) == (1, (2, 3), 4, {'e': 5})"),
    ("a list sorted in place", "def f(x): x.sort()", "x = [3, 1, 2]\nassert f(x) is None and x == [1, 2, 3]"),
    ("a dictionary filled in place", "def f(x): x['a'] = 1", "x = {}\nf(x)\nassert x == {'a': 1}"),
    ("a generator", "def f(n):\n    for i in range(n): yield i * i", "assert list(f(4)) == [0, 1, 4, 9]\nassert next(f(2)) == 0\n"
     "assert 9 in f(4)\nassert sum(f(4)) == 14"),
    ("an endless generator, asked a little", "import itertools\ndef f(): return itertools.count(5)",
     "import itertools\nassert list(itertools.islice(f(), 3)) == [5, 6, 7]"),
    ("lazy builtins", "def f(x): return map(str, reversed(x))", "assert list(f([1, 2])) == ['2', '1']"),
    ("views of a dictionary", "def f(x): return x.keys()", "assert list(f({1: 2})) == [1]\nassert sorted(f({3: 0, 1: 0})) == [1, 3]"),
    ("subclasses of plain types", "class L(list): pass\nclass I(int): pass\nfrom collections import defaultdict, namedtuple\n"
     "P = namedtuple('P', 'a b')\ndef f(): return [L([1]), I(2), defaultdict(int, {3: 4}), P(5, 6)]", "assert f() == [[1], 2, {3: 4}, (5, 6)]"),
    ("a raised exception the test expects", "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x", """
try:
    f(-1)
    assert False
except ValueError as error:
    assert 'negative' in str(error)
assert f(1) == 1
"""),
    ("an exception of its own, caught by its base", "class E(KeyError): pass\ndef f(): raise E('k')", """
try:
    f()
    assert False
except KeyError:
    pass
"""),
    ("an object with attributes and methods", "class C:\n    def __init__(self, n): self.n = n\n    def add(self, m):\n"
     "        self.n += m\n        return self\n    def __len__(self): return self.n\n    def __getitem__(self, i): return i * 2\n"
     "    def __str__(self): return f'C{self.n}'\n", "c = C(2)\nassert c.n == 2 and c.add(3).n == 5 and len(c) == 5 and c[4] == 8\n"
     "assert str(c) == 'C5'\nc.n = 9\nassert c.n == 9"),
    ("objects the test hands back", "class Node:\n    def __init__(self, v): self.v, self.left = v, None\n"
     "def f(n): return n.v + (f(n.left) if n.left else 0)", "root = Node(1)\nroot.left = Node(2)\nassert f(root) == 3"),
    ("the same object is the same", "class C: pass\nc = C()\ndef f(): return c", "assert f() is f() and f() == f() and f() in {f()}"),
    ("objects equal by their own rule", "class V:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\n"
     "    __hash__ = None\ndef f(x): return V(x)", "assert f(1) == f(1) and f(1) != f(2)"),
    ("a function of functions", "def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
    ("recursion to a depth of 900", "def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(900) == 900"),
    ("a nest of 150 lists", "def f(n):\n    x = []\n    for _ in range(n): x = [x]\n    return x",
     "x = f(150)\nfor _ in range(150): x = x[0]\nassert x == []"),
    ("a large answer", "def f(): return list(range(300_000))", "assert f() == list(range(300_000))"),
    ("print and warnings do not matter", "import warnings\ndef f():\n    print('x')\n    warnings.warn('y')\n    return 1", "assert f() == 1"),
    ("a module the program imports and the test uses", "import math\ndef f(): return math.pi", "assert math.isclose(f(), 3.141592653589793)"),
    ("numpy by its usual name", "import numpy as np\ndef f(): return np.ones(2)", "assert np.allclose(f(), [1, 1])"),
    ("files of its own", "def f():\n    open('x', 'w').write('y')\n    return open('x').read()", "assert f() == 'y'"),
    ("a thread of its own", "import threading\ndef f():\n    r = []\n    t = threading.Thread(target=r.append, args=(1,))\n    t.start()\n    t.join()\n"
     "    return r", "assert f() == [1]"),
    ("a process of its own", "import subprocess, sys\ndef f(): return subprocess.run([sys.executable, '-S', '-c', 'print(6)'],"
     " capture_output=True, text=True).stdout", "assert f() == '6\\n'"),
    ("asynchronous code", "import asyncio\nasync def g(): return 1\ndef f(): return asyncio.run(g())", "assert f() == 1"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "test"), [r[1:] for r in RIGHT], ids=[r[0] for r in RIGHT])
def test_a_right_program_passes(program: str, test: str) -> None:
    assert judged(program, test, "") == ("passed", "")


WRONG = [
    ("a wrong value", "def f(): return 1", "assert f() == 2, 'two'", "wrong_answer", "two"),
    ("nothing where a length is asked", "def f(): pass", "assert len(f()) == 2", "wrong_answer", "TypeError"),
    ("text where a number is asked", "def f(): return 'x'", "assert abs(f() - 1) < 1", "wrong_answer", "TypeError"),
    ("too short a list", "def f(): return []", "assert f()[3] == 1", "wrong_answer", "IndexError"),
    ("an exception", "def f(): return 1 / 0", "assert f() == 1", "exception", "ZeroDivisionError: division by zero"),
    ("an exception at the start", "import nosuchmodule", "assert f() == 1", "exception", "ModuleNotFoundError"),
    ("code that is none", "def f(:", "assert f() == 1", "exception", "SyntaxError"),
    ("recursion without end", "def f(): return f()", "assert f() == 1", "exception", "RecursionError"),
    ("another name", "def g(): return 1", "assert f() == 1", "missing_entry_point", "f"),
    ("a name that is no function", "f = 3", "assert f() == 1", "wrong_answer", "TypeError"),
    ("an exit", "import sys\ndef f(): sys.exit(0)", "assert f() == 1", "exception", "SystemExit"),
    ("too much memory", "def f(): return len(bytearray(3 << 30))", "assert f() == 1", "memory_limit", "MemoryError"),
    ("a list changed beside an answer", "def f(x):\n    x.clear()\n    return []", "x = [1]\nassert f(x) == x", "wrong_answer", ""),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=[w[0] for w in WRONG])
@pytest.mark.parametrize("entry_point", ["f", ""])
def test_a_wrong_program_fails_for_its_reason(case: tuple[str, ...], entry_point: str) -> None:
    _, program, test, reason, words = case
    found, detail = judged(program, test, entry_point)
    assert found == reason
    assert words in detail


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("assert 1 / 0", "test_error"),
        ("import nosuchmodule\nassert f() == 1", "test_error"),
        ("assert 1 == 1", "test_calls_nothing"),
        ("def check(g): pass\ncheck(f)", "test_calls_nothing"),
    ],
)
def test_a_test_at_fault_is_told_from_a_program_at_fault(test: str, reason: str) -> None:
    assert judged("def f(*a): return 1", test)[0] == reason


def test_a_thing_in_the_place_of_data_fails_the_program_and_a_function_never_called_the_test() -> None:
    program = "class Thing: pass\nLIMIT = Thing()\ndef f(x): return 0"
    for test in ("assert f(LIMIT + 1) == 42", "assert LIMIT < 3 and f(1) == 42", "with LIMIT: assert f(1) == 42"):
        assert judged(program, test)[0] == "wrong_answer"
    assert judged(program, "assert f < 3")[0] == "test_error"


def test_helpers_of_the_prompt_are_the_judges_own() -> None:
    prompt = "def double(x):\n    return 2 * x\n\ndef f(x):\n    pass\n"
    test = "assert double(f(3)) == 6"
    assert judged("def double(x): return 6\ndef f(x): return x", test, prelude=prompt) == ("passed", "")
    assert judged("def double(x): return 6\ndef f(x): return 0", test, prelude=prompt)[0] == "wrong_answer"


def test_the_order_of_a_set_is_the_same_every_time() -> None:
    jobs = [Job("print(list({'a', 'b', 'c', 'd', 'e', 'f'}))") for _ in range(3)]
    assert len({run_job(job, DEFAULT_LIMITS, usable_mode()).output for job in jobs}) == 1


def test_a_test_asks_the_program_only_for_names_it_does_not_define() -> None:
    test = "import copy\nlimit = 3\ndef check(c):\n    own = c(limit)\n    assert own == helper(own) and math.pi > len([own])\ncheck(f)"
    found = names_of_test(test)
    assert (found.names, found.modules, found.called) == (["f", "helper", "math"], {"math": "math"}, ["helper", "len"])
    found = names_of_test("assert math(1) == math.pi")
    assert (found.names, found.modules) == (["math"], {})
    assert names_of_test("") == TestNames()
    found = names_of_test("assert np.allclose(f(1), 2)")
    assert (found.names, found.modules, found.attributes) == (["f", "np"], {"np": "numpy"}, {"np": ["allclose"]})
