"""The program that is found in an answer, however the model wrote it down; and how long finding it takes."""

from __future__ import annotations

import pytest

from curate.code import python_text
from curate.code.fences import find_blocks
from curate.code.program import cut_completion, find_program, indentation_lost
from curate.code.spans import answer_span

F = "def f(x):\n    return x + 1\n"
INDENTED = F.replace("def", "    def").replace("    return", "        return")
DOCSTRING = 'def f(x):\n    """One more.\n\n    ```python\n    f(1)\n    ```\n    """\n    return x + 1\n'
G = "def g(x):\n    return x\n"
USES_G = "def f(x):\n    return g(x) + 1\n"
FOUND = [
    ("bare code", F, F),
    ("a fence", f"Here:\n```python\n{F}```\nDone.", F),
    ("a fence without an end", f"```\n{F}", F),
    ("Windows line ends", f"Here:\n\n```python\n{F}```\n\nDone.\n".replace("\n", "\r\n"), F),
    ("a lone closing fence", f"{F}```\nThis adds one.\n", F),
    ("a lone closing fence and a block after it", f"{F}```\n\nExample:\n\n```python\nprint(f(1))\n```\n", F),
    ("an end token behind a fence", f"```python\n{F}```</s>\n", F),
    ("another turn behind a fence", f"```python\n{F}```<|im_end|>\n<|im_start|>user\n```python\n{G}```", F),
    ("a full stop behind a fence", f"```python\n{F}```.\nDone.", F),
    ("an end token behind bare code", f"{F}<|endoftext|>\ndef other(:\n", F),
    ("a fence behind a list's number", f"1. ```python\n   {F.replace(chr(10) + ' ', chr(10) + '    ')}   ```\n2. Done", F),
    ("a fence in a list", f"1. Add:\n\n{INDENTED.replace('    def', '   ```py' + chr(10) + '   def').replace('        r', '       r')}   ```\n", F),
    ("a fence in a docstring", f"```python\n{DOCSTRING}```\nDone.", DOCSTRING),
    ("a fence in a docstring of bare code", DOCSTRING, DOCSTRING),
    ("four backticks", f"````python\n{F}````\n", F),
    ("a fence in a quotation", f"> So:\n> ```python\n> {F.rstrip().replace(chr(10), chr(10) + '> ')}\n> ```\n", F),
    ("a closing fence at the end of a line", f"```python\n{F.rstrip()}```\nDone.", F),
    ("a lone closing fence at the end of a line", f"{F.rstrip()}```\nDone.", F),
    ("a fence with attributes", f"```python title='f.py'\n{F}```\n```{{.python}}\n{G}```", F),
    ("a definition under a condition", f"try:\n    import math\nexcept ImportError:\n    math = None\nif True:\n{INDENTED}",
     f"if True:\n{INDENTED}"),
    ("tildes", f"~~~python\n{F}~~~\n", F),
    ("a block left open before the next", f"```bash\npip install x\n\n```python\n{F}```", F),
    ("imports in an earlier block", f"```python\nimport math\n```\n```python\n{F.replace('x + 1', 'math.e')}```",
     "import math\n\n" + F.replace("x + 1", "math.e")),
    ("a helper in an earlier block", f"```python\n{G}```\nand\n```python\n{USES_G}```", f"{G}\n{USES_G}"),
    ("a helper in a later block", f"```python\n{USES_G}```\nand\n```python\n{G}```", f"{USES_G}\n{G}"),
    ("the block that defines the name", f"```python\nprint(f(1))\n```\n```python\n{F}```", F),
    ("the first block that defines the name", f"```python\n{F}```\nor\n```python\n{F.replace('1', '2')}```", F),
    ("a stub and the whole", f"```python\ndef f(x):\n    ...\n```\n```python\n{F}```", F),
    ("not another language", f"```bash\npip install x\n```\n```py\n{F}```", F),
    ("code outside the block", f"{F}\nUse it so:\n```python\nprint(f(1))\n```\n", F),
    ("a draft", f"<think>\n```python\n{G.replace('g', 'f')}```\nNo.\n</think>\n```python\n{F}```\n", F),
    ("a draft that the template opened", f"def f(x): return x\nis wrong.</think>\n\n{F}", F),
    ("a draft without an end", f"<think>\n```python\n{F}```\n", None),
    ("code, then prose", f"{F}\nThis returns one (of many.", F),
    ("prose, then code, then prose", f"Sure:\n\nimport os\n{F}Hope it helps!", F),
    ("prose that begins like code", f"import math is not needed\nfrom the start:\nclass dismissed\n\n{F}\nfor all of them.", F),
    ("a typed signature among prose", f"We have:\n{F.replace('(x)', '(x: int) -> int')}so it is.", F.replace("(x)", "(x: int) -> int")),
    ("the import of a type", "from typing import List\n\ndef f(x: List[int]) -> int:\n    return x[0]\n",
     "from typing import List\n\ndef f(x: List[int]) -> int:\n    return x[0]\n"),
    ("indented as a whole", f"So:\n\n{INDENTED}\nDone.\n", F),
    ("a session", ">>> def f(x):\n...     return x + 1\n...\n>>> f(1)\n2\n", F),
    ("code cut in a string", f"{F}\ndef h():\n    return '''x\n", F),
    ("code cut in a bracket", f"{F}x = [1,\n2,\n", F),
    ("code cut in the next function", f"{F}\ndef average(xs,", F),
    ("a line of prose that is indented", f"{F}    This returns one more.\n", F),
    ("a line that is indented by one", f"{F} So it is.\n\n{G}", F),
    ("tests and examples", f"{F}\nassert f(1) == 2\nprint(f(2))\nif __name__ == '__main__':\n    f(3)\n", F),
    ("a chain of helpers in any order", f"def h(x):\n    return x\n\n{USES_G}\ndef g(x):\n    return h(x)\n\n\ndef k():\n    return 3\n",
     f"def h(x):\n    return x\n\n{USES_G}\ndef g(x):\n    return h(x)\n"),
    ("data filled by a call", "P = []\ndef fill():\n    P.append(1)\nfill()\ndef f(x):\n    return P[x]\nprint(f(0))\n",
     "P = []\n\ndef fill():\n    P.append(1)\n\nfill()\n\ndef f(x):\n    return P[x]\n"),
    ("data changed in place", "M = {}\nM[0] = 1\nN = {}\nN[0] = 1\ndef f(x):\n    return M[x]\n",
     "M = {}\n\nM[0] = 1\n\ndef f(x):\n    return M[x]\n"),
    ("a raised limit", f"import sys\nsys.setrecursionlimit(9999)\n{F}", f"import sys\n\nsys.setrecursionlimit(9999)\n\n{F}"),
    ("a decorator and its cache", f"from functools import cache\n@cache\n{F}f.cache_clear()\n", f"from functools import cache\n\n@cache\n{F}"),
    ("a function wrapped later", f"def w(f):\n    return f\n{F}f = w(f)\n", f"def w(f):\n    return f\n\n{F}\nf = w(f)\n"),
    ("a local name like a global of an example", f"x = undefined\n{F}", F),
    ("a lambda", "f = lambda x: x + 1\nprint(f(1))", "f = lambda x: x + 1\n"),
    ("an end token in quotes", "def f(x):\n    return x + '<|endoftext|>' + \"</s>\"\n", "def f(x):\n    return x + '<|endoftext|>' + \"</s>\"\n"),
    ("prose", "There is no code here.", None),
    ("nothing", "", None),
    ("code that is no Python at all", "def f(x:\n    retrun\n", "def f(x:\n    retrun\n"),
]  # fmt: skip


def lines_of(code: str | None) -> list[str] | None:
    """The lines that are not blank."""
    return None if code is None else [line for line in code.splitlines() if line.strip()]


@pytest.mark.parametrize(("answer", "code"), [f[1:] for f in FOUND], ids=[f[0] for f in FOUND])
def test_the_program_of_an_answer_is_what_the_wanted_function_needs(answer: str, code: str | None) -> None:
    program = find_program(answer, ["f"])
    assert lines_of(program and program.code) == lines_of(code)


PROMPT = (
    "from typing import List\n\n\ndef twice(x):\n    return 2 * x\n\n\n"
    'def f(x: List[int]) -> int:\n    """One more."""\n'
)
CONTINUED = [
    ("the rest of the function", "    return x[0] + 1\n\n\nprint(f([1]))\n", 2),
    ("the rest, then a lone fence", "    return x[0] + 1\n```\nThis adds one.", 2),
    ("the rest in a fence", "```python\n    return x[0] + 1\n```", 2),
    ("the rest without its first blanks", "return x[0] + 1\n", 2),
    ("the rest, then the function again", "    return x[0] + 1\n\n\ndef f(x):\n    return 0\n", 2),
    ("the whole function, with a helper of the prompt", "```python\ndef f(x: List[int]) -> int:\n    return twice(x[0])\n```", 2),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "value"), [c[1:] for c in CONTINUED], ids=[c[0] for c in CONTINUED])
def test_an_answer_may_be_the_rest_of_the_prompts_function(answer: str, value: int) -> None:
    program = find_program(answer, ["f"], PROMPT, continues=True)
    assert program is not None
    namespace: dict[str, object] = {}
    exec(program.code, namespace)  # ours, written above
    assert namespace["f"]([1]) == value  # type: ignore[operator]
    assert "print" not in program.code


def test_a_completion_is_cut_where_the_function_and_what_it_needs_end() -> None:
    code = cut_completion(PROMPT, "    return g(x)\n\n\ndef g(x):\n    return 1\n\n\ndef average(xs,", ["f"])
    assert code is not None
    assert code.endswith("    return g(x)\n\ndef g(x):\n    return 1\n")
    assert cut_completion(PROMPT, "    return (", ["f"]) is None


@pytest.mark.parametrize(
    ("completion", "lost"),
    [("return sum(x)", True), ("total = 0\n    return total", True), ("   return 1", True), ("    return 1", False), ("((", False)],
)  # fmt: skip
def test_a_completion_that_lost_its_first_blanks_is_told_from_a_broken_one(completion: str, lost: bool) -> None:
    assert indentation_lost(PROMPT, completion) == lost


def test_blocks_have_offsets_and_say_whether_they_are_closed() -> None:
    text = "A:\n```python\nx = 1\n```\nB:\n```js\nlet y;"
    blocks = find_blocks(text)
    assert [(b.tag, b.code, text[b.start : b.end], b.closed) for b in blocks] == [
        ("python", "x = 1", "x = 1", True), ("js", "let y;", "let y;", False),
    ]  # fmt: skip
    assert text[blocks[0].outer_start : blocks[0].outer_end] == "```python\nx = 1\n```"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("plain", "plain"),
        ("<think>a</think>\n\nb", "\nb"),
        ("a</thinking>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b"),
        ("<think>a", ""),
        ("<s> x = 1</s> y", "x = 1"),
        ("<|im_start|>assistant\n    x<|im_end|>\n", "    x"),
        ("<p><s>old</s> new</p>", "<p><s>old</s> new</p>"),
        ('return "x"</s>', 'return "x"'),
        ('return "x </s> y"', 'return "x </s> y"'),
        ("it's f'</s>' here", "it's f'</s>' here"),
        ("it's done</s>'", "it's done"),
        ("say `</s>` there", "say `</s>` there"),
        ("```py\nx\n```<|return|>", "```py\nx\n```"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>```py\nx\n```",
            "```py\nx\n```",
        ),
        ("x = 1\n<pad><pad>", "x = 1\n"),
        ("x = y[PAD]\n[PAD][PAD]", "x = y[PAD]\n"),
        ("x = 1<|fim_pad|>", "x = 1"),
        ("x = 1\n<file_sep>y", "x = 1\n"),
        ("x = 1<|eot|>", "x = 1"),
        ("\ufeff\u200bx = 1", "x = 1"),
        ("\ufeff<s> x", "x"),
    ],
)
def test_the_answer_stands_behind_the_draft_and_before_the_end_token(text: str, answer: str) -> None:
    start, end = answer_span(text)
    assert text[start:end] == answer


@pytest.mark.parametrize(
    "answer",
    [
        "\ufeffdef f(x):\n    return x\n",
        "Here:\r```python\rdef f(x):\r    return x\r```\rDone.",
        "```python def f(x): return x```",
        "Use this:\n```python\ndef f(x):\n    return x\n```<|return|>",
        "def f(x):\n    return x\n[/INST] thanks",
    ],
)
def test_marks_line_ends_and_tokens_of_other_tools_hide_no_program(answer: str) -> None:
    program = find_program(answer, ["f"])
    assert program is not None
    scope: dict[str, object] = {}
    exec(program.code, scope)
    assert scope["f"](7) == 7  # type: ignore[operator]


HOSTILE = {
    "decorators": "@a\n" * 6_000, "open calls": "def f(x:\n" * 2_000, "open brackets": "x = (\n" * 3_000,
    "open strings": "def f():\n    return '''\n" * 800, "prose between": "def f():\n    return 1\n\nProse here.\n\n" * 500,
    "fences": "```\n" * 40_000, "tagged fences": "```python\n" * 18_000, "fences in docstrings": "  '''\n  ```\n" * 15_000,
    "sessions": ">>> f(\n" * 2_000, "end tokens": "</s>" * 40_000, "thoughts": "</think>" * 20_000,
    "quoted tokens": "'</s>'" * 30_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_parsed_in_work_linear_in_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over a text parses six times the text and 50,000 characters at most; a search makes eight passes at most."""
    text, parsed = HOSTILE[name], 0
    real = python_text.python_tree

    def count(code: str) -> object:
        nonlocal parsed
        parsed += len(code)
        return real(code)

    monkeypatch.setattr(python_text, "python_tree", count)
    python_text.parsed_runs.cache_clear()
    find_program(text, ["f"])
    assert parsed <= 8 * (7 * len(text) + 54_000)
