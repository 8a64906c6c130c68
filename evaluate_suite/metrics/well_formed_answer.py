"""One number: has this answer the form of one that a user could take as it is? Of what it does, it says nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from curate.code.languages import python_tree
from evaluate_suite.answers.first_answer import CONTINUATION, answer_of
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import answered, parse_rate, prompt_echo, stopped_by_itself, trailing_share
from evaluate_suite.metrics.types import Metric, Score

CANNOT_SEE = "the form alone: whether an answer is right, or ends when it runs, is not seen"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def score(generation: Generation) -> Score:
    """Return 1 when it answers, stops by itself, parses, has nothing unrelated after it, no echo of the prompt and no
    function that calls itself whatever happens; else 0.

    Code that cannot be checked, or none, is no fault. Where it is not known how the text ended, the score is 0 if
    another condition fails and absent otherwise. `detail` says which conditions failed.
    """
    trailing = trailing_share.score(generation)
    checks = {
        "answered": answered.score(generation).value == 1,
        "parses": parse_rate.score(generation).value != 0,
        "nothing_unrelated": not trailing.detail.get("unrelated"),
        "no_echo": prompt_echo.score(generation).value != 1,
        "no_endless_recursion": not _recurses_endlessly(generation),
    }
    stopped = stopped_by_itself.score(generation).value
    if stopped is not None:
        checks["stopped_by_itself"] = stopped == 1
    failed = [name for name, good in checks.items() if not good]
    if stopped is None and not failed:
        return Score(None, "stop_reason_unknown")
    return Score(float(not failed), detail={"failed": failed})


def _recurses_endlessly(generation: Generation) -> bool:
    """Whether a function of the answer's Python calls itself before anything could make it return."""
    answer = answer_of(generation)
    if answer.language != "python" or answer.code is None:
        return False
    before = f"{generation.prompt.removesuffix(chr(10))}\n" if answer.form == CONTINUATION else ""
    tree = python_tree(before + answer.code)
    return not isinstance(tree, str) and any(
        isinstance(stmt, _Function) and any(call == stmt.name for call in _certain_calls(stmt.body))
        for stmt in tree.body
    )


def _certain_calls(body: list[ast.stmt]) -> Iterator[str]:
    """The names that are called for certain when `body` runs: up to its first branch, loop, `with` or `return`."""
    for stmt in body:
        if not isinstance(stmt, ast.Expr | ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return):
            return
        nodes: list[ast.AST] = [stmt]
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await):
                return
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield node.func.id
            if isinstance(node, ast.IfExp):
                nodes.append(node.test)
            elif isinstance(node, ast.BoolOp):
                nodes.append(node.values[0])
            elif isinstance(node, ast.Compare):
                nodes += [node.left, node.comparators[0]]
            elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                nodes += ast.iter_child_nodes(node)
        if isinstance(stmt, ast.Return):
            return


METRIC = Metric(
    "well_formed_answer", "well-formed answer", "Has it the form of an answer to take as it is?", score, headline=True
)
