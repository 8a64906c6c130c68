"""Answers made from the solutions of HumanEval and MBPP in the surroundings that models write, with their truth."""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from evaluate_suite.tasks.task_files import Task

PROSE = "Here is a function that does what you asked for, step by step."
AFTER = "This function walks over the input once and returns the result (in linear time)."
CODE_LIKE = (
    "import math is not needed here, and for small inputs it is fast:\nfrom the list we take one item, then we return"
)
CUT = "def another_task(values, limit=("
DRAFT = "<think>\nFirst idea:\n```python\ndef {name}(*args):\n    return None\n```\nNo, that is wrong.\n</think>\n\n"


@dataclass(frozen=True)
class Solution:
    """A right solution of a task: `code` is a whole program, `body` what follows the prompt ("" where it has none)."""

    task: Task
    name: str
    code: str
    body: str
    other: str

    @property
    def inner(self) -> str:
        """The code under another name, for what calls it."""
        return re.sub(rf"\b{re.escape(self.name)}\b", f"{self.name}_inner", self.code)

    @property
    def caller(self) -> str:
        return f"def {self.name}(*args):\n    return {self.name}_inner(*args)\n"


@dataclass(frozen=True)
class MadeAnswer:
    """An answer and what holds of it by construction.

    `written_passes`: it passes as it stands (of fenced text: the blocks that the program takes from). `right`: the
    function in it passes. `well_formed`: nothing but the answer stands in it.
    """

    surroundings: str
    task: Task
    text: str
    written_passes: bool
    right: bool
    well_formed: bool


def fenced(code: str, fence: str = "```", tag: str = "python") -> str:
    return f"{fence}{tag}\n{code.rstrip()}\n{fence}"


def _session(code: str) -> str:
    lines = [line for line in code.splitlines() if line.strip()]
    return "\n".join((">>> " if not line[:1].isspace() else "... ") + line for line in lines) + "\n"


def _documented(s: Solution) -> str:
    """The solution with a docstring that shows a fenced example, as the body of a caller."""
    doc = f'    """Return the result.\n\n    Example:\n\n    ```python\n    {s.name}(1)\n    ```\n    """\n'
    return f"{s.inner}\n\n" + s.caller.replace(":\n", ":\n" + doc, 1)


def _chain(s: Solution) -> str:
    middle = f"def {s.name}_middle(*args):\n    return {s.name}_inner(*args)\n"
    return f"{s.caller.replace('_inner', '_middle')}\n\n{s.inner}\n\n{middle}"


def _data(s: Solution) -> str:
    caller = f"def {s.name}(*args):\n    return CALLS[0](*args)\n"
    return f"CALLS = []\n\n{s.inner}\n\nCALLS.append({s.name}_inner)\n\n{caller}"


def _partial(s: Solution) -> str:
    return f"{s.inner}\n\ndef {s.name}(*args):\n    return functools.partial({s.name}_inner, *args)()\n"


Maker = Callable[[Solution], str]
# name: (maker, passes as written, well-formed). All hold the right function.
SURROUNDINGS: Mapping[str, tuple[Maker, bool, bool]] = {
    "bare": (lambda s: s.code, True, True),
    "bare, prose after": (lambda s: f"{s.code}\n\n{AFTER}\n", False, True),
    "bare, prose before": (lambda s: f"{PROSE}\n\n{s.code}", False, True),
    "bare, prose that begins like code": (lambda s: f"{CODE_LIKE}\n\n{s.code}", False, False),
    "bare, a lone closing fence": (lambda s: f"{s.code.rstrip()}\n```\n{AFTER}\n", True, True),
    "bare, an end token": (lambda s: f"{s.code}<|endoftext|>", True, True),
    "bare, another turn behind an end token": (lambda s: f"{s.code}</s>\n<s>[INST] thanks [/INST]", True, False),
    "bare, own tests": (lambda s: f"{s.code}\n\nassert callable({s.name})\n", True, True),
    "bare, an own test that fails": (lambda s: f"{s.code}\n\nassert {s.name} is None\n", False, True),
    "bare, an example cut short": (lambda s: f"{s.code}\n\nprint({s.name}([1, 2", False, False),
    "bare, the next function cut short": (lambda s: f"{s.code}\n\n\n{CUT}", False, False),
    "bare, another solution after it": (lambda s: f"{s.code}\n\n\n{s.other}", True, False),
    "bare, then a fenced example": (lambda s: f"{s.code}\n\nUse it so:\n\n{fenced(f'print({s.name})')}\n", False, True),
    "bare, a helper after it": (lambda s: f"{s.caller}\n\n{s.inner}", True, True),
    "bare, a chain of helpers out of order": (lambda s: _chain(s), True, True),
    "bare, data filled by a call": (lambda s: _data(s), True, True),
    "fenced": (lambda s: f"{PROSE}\n\n{fenced(s.code)}\n\n{AFTER}\n", True, True),
    "fenced, Windows line ends": (lambda s: f"{PROSE}\n\n{fenced(s.code)}\n".replace("\n", "\r\n"), True, True),
    "fenced, no tag": (lambda s: f"{fenced(s.code, tag='')}\n", True, True),
    "fenced with four backticks": (lambda s: fenced(s.code, "````"), True, True),
    "fenced with tildes": (lambda s: fenced(s.code, "~~~"), True, True),
    "fenced, a full stop behind it": (lambda s: f"{fenced(s.code)}.\n{AFTER}", True, True),
    "fenced, an end token behind it": (lambda s: f"{fenced(s.code)}</s>", True, True),
    "fenced in a list": (lambda s: f"1. {PROSE}\n\n{textwrap.indent(fenced(s.code), '   ')}\n2. {AFTER}", True, True),
    "fenced, a fence in its docstring": (lambda s: f"{fenced(_documented(s))}\n{AFTER}", True, True),
    "fenced, never closed": (lambda s: f"```python\n{s.code}", True, True),
    "fenced, the next function cut short": (lambda s: f"{PROSE}\n```python\n{s.code}\n\n{CUT}", False, False),
    "fenced, own tests in the block": (lambda s: fenced(f"{s.code}\n\nassert callable({s.name})"), True, True),
    "fenced, a helper in an earlier block": (
        lambda s: f"A helper:\n{fenced(s.inner)}\nand the solution:\n{fenced(s.caller)}\n", True, True),
    "fenced, a helper in a later block": (
        lambda s: f"The solution:\n{fenced(s.caller)}\nwith its helper:\n{fenced(s.inner)}\n", True, True),
    "fenced, an import in an earlier block": (
        lambda s: f"{fenced('import functools')}\n{fenced(_partial(s))}\n", True, True),
    "fenced, an example before it": (lambda s: f"Usage:\n{fenced(f'print({s.name}(1))')}\nCode:\n{fenced(s.code)}\n", True, True),
    "fenced, an example that reads input after it": (
        lambda s: f"{fenced(s.code)}\nTry:\n{fenced(f'print({s.name}(input()))')}\n", True, True),
    "fenced, shell and output beside it": (
        lambda s: f"{fenced('pip install x', tag='bash')}\n{fenced(s.code)}\n{fenced('42', tag='text')}\n", True, True),
    "fenced, another way after it": (
        lambda s: f"{fenced(s.code)}\nOr:\n{fenced(f'def {s.name}(*args):{chr(10)}    return None')}\n", True, False),
    "a draft, then fenced": (lambda s: DRAFT.replace("{name}", s.name) + fenced(s.code), True, True),
    "a draft, then bare": (lambda s: DRAFT.replace("{name}", s.name) + s.code, True, True),
    "a draft that the template opened": (lambda s: DRAFT.replace("{name}", s.name)[8:] + fenced(s.code), True, True),
    "bare, a line that is indented wrongly": (lambda s: f"{s.code.rstrip()}\n Done.\n\n{s.other}", False, False),
    "fenced in a quotation": (lambda s: textwrap.indent(fenced(s.code), "> ", lambda line: True), True, True),
    "fenced, the fence at the end of a line": (lambda s: f"```python\n{s.code.rstrip()}```\n{AFTER}", True, False),
    "a session": (lambda s: _session(s.code), True, False),
    "indented as a whole": (lambda s: f"{PROSE}\n\n{textwrap.indent(s.code, '    ')}\n{AFTER}\n", True, False),
}  # fmt: skip
# For tasks whose prompt begins the function.
CONTINUATIONS: Mapping[str, tuple[Maker, bool, bool]] = {
    "the rest": (lambda s: s.body, True, True),
    "the rest, the prompt repeated before it": (lambda s: s.task.prompt + s.body, True, True),
    "the rest, a lone closing fence": (lambda s: f"{s.body.rstrip()}\n```\n{AFTER}\n", True, True),
    "the rest, prose after": (lambda s: f"{s.body}\n\n{AFTER}\n", False, False),
    "the rest, the next function cut short": (lambda s: f"{s.body}\n\n\n{CUT}", False, False),
    "the rest, own tests": (lambda s: f"{s.body}\n\n\nassert callable({s.name})\n", True, True),
    "the rest, an own test that fails": (lambda s: f"{s.body}\n\n\nassert {s.name} is None\n", False, True),
    "the rest, prose that is indented": (lambda s: f"{s.body.rstrip()}\n    {AFTER}\n", False, False),
    "the rest, a helper after it": (
        lambda s: f"    return {s.name}_inner(*list(locals().values()))\n\n\n{s.inner}",
        True,
        True,
    ),
    "the rest, an end token": (lambda s: f"{s.body}<|endoftext|>", True, True),
}


def solutions(tasks: Mapping[str, Task], seed: int) -> list[Solution]:
    """The reference of every task as a whole program; `other` is another task's, which defines other names."""
    solved: list[tuple[Task, str, str, str, set[str]]] = []
    rng = random.Random(seed)
    for task in tasks.values():
        reference = task.reference.replace("\r\n", "\n").expandtabs(4)
        code = (task.prompt + reference if task.continues_prompt else reference).rstrip() + "\n"
        defined = re.findall(r"^def (\w+)", code, re.MULTILINE)
        name = task.entry_point or next((name for name in defined if name in task.wanted), "")
        if name:
            solved.append((task, name, code, reference if task.continues_prompt else "", set(defined)))
    made = []
    for task, name, code, body, own in solved:
        others = (rng.choice(solved) for _ in iter(int, 1))
        other = next(other for _, _, other, _, names in others if not names & own)
        made.append(Solution(task, name, code, body, other))
    return made


def made_answers(tasks: Mapping[str, Task], seed: int) -> Iterator[MadeAnswer]:
    """Every solution in every surroundings, and once spoilt, so that it never passes."""
    for solution in solutions(tasks, seed):
        kinds = dict(SURROUNDINGS) | (dict(CONTINUATIONS) if solution.body else {})
        for name, (make, written, well_formed) in kinds.items():
            yield MadeAnswer(name, solution.task, make(solution), written, True, well_formed)
        wrong = f"def {solution.name}(*args):\n    return 'wrong'\n"
        yield MadeAnswer("wrong, bare", solution.task, wrong, False, False, True)
        yield MadeAnswer("wrong, the next cut short", solution.task, f"{wrong}\n\n{CUT}", False, False, False)
