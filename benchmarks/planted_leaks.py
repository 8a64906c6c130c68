"""Rows that leak a benchmark task in the ways leaks happen: verbatim, renamed, reformatted, reworded, and more."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import random
import re
import textwrap
import tokenize
from dataclasses import dataclass

from curate.decontamination.tasks import BenchmarkTask

KINDS = (
    "verbatim",
    "renamed_identifiers",
    "reformatted_code",
    "reworded_description",
    "solution_only",
    "solution_only_inside_other_code",
)
# Beyond what is promised: several disguises at once, and the statements of a solution without its first line.
HARDER_KINDS = ("renamed_reformatted_reworded", "renamed_solution_only", "body_only")
_NEW_NAMES = (
    "items", "data", "seq", "val", "acc", "out", "tmp", "cur", "nxt", "left", "right", "total", "best", "flag", "buf",
    "node", "key", "entry", "piece", "part", "idx", "pos", "size", "limit", "base", "step", "head", "tail", "score",
)  # fmt: skip
_ASKS = (
    "{d}",
    "Write a Python function for the following task.\n{d}",
    "{d}\nUse Python.",
    "I need help with Python: {d}",
    "Complete the function below.\n\n{p}",
)
# Words people swap when they say the same thing otherwise.
_SYNONYMS = {
    "write": "implement", "function": "routine", "find": "determine", "given": "provided", "returns": "gives back",
    "return": "give back", "list": "sequence", "array": "sequence", "string": "text", "number": "value",
    "numbers": "values", "check": "test", "whether": "if", "elements": "items", "element": "item", "remove": "delete",
    "all": "every", "sum": "total", "largest": "biggest", "smallest": "least", "maximum": "greatest",
    "minimum": "lowest", "calculate": "compute", "count": "tally", "integer": "whole number",
    "integers": "whole numbers", "input": "argument", "contains": "holds",
    "using": "by means of", "first": "initial", "last": "final",
    "convert": "turn", "create": "build", "sort": "order", "two": "a pair of", "words": "terms", "takes": "accepts",
}  # fmt: skip


@dataclass(frozen=True)
class Plant:
    """A row that leaks `task_id` in the way `kind` names."""

    kind: str
    task_id: str
    instruction: str
    output: str


def plant(task: BenchmarkTask, kind: str, clean: tuple[str, str], rng: random.Random) -> Plant:
    """A leak of `task`; `clean` is an innocent row whose request or code some kinds use."""
    ask = rng.choice(_ASKS)
    code, description = task.code, task.description
    if kind == "verbatim":
        return Plant(kind, task.task_id, _ask(ask, description, code), _dress(code, rng))
    if kind == "renamed_identifiers":
        renamed, names = rename(code, rng)
        for old, new in names.items():
            description = re.sub(rf"\b{re.escape(old)}\b", new, description)
        return Plant(kind, task.task_id, _ask(ask, description, renamed), _dress(_undocumented(renamed), rng))
    if kind == "reformatted_code":
        return Plant(kind, task.task_id, _ask(ask, description, code), _dress(reformat(code, rng), rng))
    if kind == "reworded_description":
        worded = reword(description, rng)
        return Plant(kind, task.task_id, _ask(rng.choice(_ASKS[:4]), worded, code), _dress(_undocumented(code), rng))
    if kind == "renamed_reformatted_reworded":
        renamed, _ = rename(code, rng)
        return Plant(kind, task.task_id, reword(description, rng), _dress(reformat(renamed, rng), rng))
    if kind == "renamed_solution_only":
        return Plant(kind, task.task_id, clean[0], _dress(_undocumented(rename(code, rng)[0]), rng))
    solution = _undocumented(code)
    if kind == "body_only":
        lines = solution.split("\n")
        first = next((i for i, line in enumerate(lines) if line.startswith("def ")), 0)
        return Plant(kind, task.task_id, clean[0], "def run(value):\n" + "\n".join(lines[first + 1 :]))
    if kind == "solution_only":
        return Plant(kind, task.task_id, clean[0], _dress(solution, rng))
    inside = (
        f"class Solution:\n{textwrap.indent(solution, '    ')}\n\n\n{clean[1]}"
        if rng.random() < 0.5
        else (f"{clean[1]}\n\n\n{solution}")
    )
    return Plant(kind, task.task_id, clean[0], inside)


def _ask(template: str, description: str, code: str) -> str:
    head = code.split("\n    ")[0] if "{p}" in template else ""
    return template.format(d=description, p=f'{head}\n    """{description}"""')


def _dress(code: str, rng: random.Random) -> str:
    """The code as answers show it: bare, fenced, or fenced between sentences."""
    style = rng.randrange(3)
    if style == 0:
        return code
    fenced = f"```python\n{code}\n```"
    return fenced if style == 1 else f"Here is one way to do it:\n\n{fenced}\n\nThis walks over the input once."


def _undocumented(code: str) -> str:
    """The code as written, without docstrings (by line, so that its formatting stays)."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code
    lines = code.split("\n")
    for node in sorted(ast.walk(tree), key=lambda n: -getattr(n, "lineno", 0)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) and len(node.body) > 1:
            first = node.body[0]
            del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines).strip("\n")


def rename(code: str, rng: random.Random) -> tuple[str, dict[str, str]]:
    """The code with every function, argument and variable it defines renamed, and old -> new."""
    defined: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.arg):
            defined.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.append(node.id)
    fixed = set(dir(builtins)) | set(keyword.kwlist) | {"self"}
    old = [name for name in dict.fromkeys(defined) if name not in fixed and not name.startswith("__")]
    new = [f"{rng.choice(_NEW_NAMES)}_{number}" for number in range(len(old))]
    names = dict(zip(old, new, strict=True))
    out = []
    lines = code.split("\n")
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NAME and token.string in names and before != ".":
            out.append((token.start, token.end, names[token.string]))
        before = token.string if token.type != tokenize.NL else before
    for start, stop, text in reversed(out):
        line = lines[start[0] - 1]
        lines[start[0] - 1] = line[: start[1]] + text + line[stop[1] :]
    return "\n".join(lines), names


def reformat(code: str, rng: random.Random) -> str:
    """The same program written otherwise: unparsed, other indentation and quotes, types dropped, comments added."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and rng.random() < 0.5:
            node.returns = None
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                argument.annotation = None
    text = ast.unparse(tree)
    text = _undocumented(text)
    width = rng.choice((1, 2, 3, 8))
    lines = []
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        depth = (len(line) - len(bare)) // 4
        lines.append(" " * (width * depth) + bare)
        if bare.endswith(":") and rng.random() < 0.3:
            lines.append(" " * (width * (depth + 1)) + rng.choice(("# next step", "# handle this case", "# loop body")))
        if rng.random() < 0.1:
            lines.append("")
    return "\n".join(lines)


def reword(text: str, rng: random.Random) -> str:
    """The description with common words swapped and its sentences in another order."""

    def swap(match: re.Match[str]) -> str:
        other = _SYNONYMS.get(match[0].lower())
        return other if other is not None and rng.random() < 0.9 else match[0]

    sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"[A-Za-z]+", swap, text).strip())
    if len(sentences) > 2:
        rng.shuffle(sentences)
    return f"{rng.choice(('Your job:', 'Could you help?', 'Exercise.', 'Please solve this.'))} {' '.join(sentences)}"
