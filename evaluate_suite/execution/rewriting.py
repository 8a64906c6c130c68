"""What the judge is told of a test beside its text: comparisons to make twice, and what the test changes around it."""

from __future__ import annotations

import ast
import sys
from functools import lru_cache

from curate.code.syntax import parse_python
from evaluate_suite.execution.cell.judging.libraries import LOOKING
from evaluate_suite.execution.cell.judging.twice import COMPARE, MARK

_SEEDED = ("random", "numpy.random")
_ONE_PROCESS = (
    ({"catch_warnings", "assertWarns", "assertWarnsRegex", "warns", "showwarning"}, "the warnings of the program"),
    ({"assertLogs", "assertNoLogs", "getLogger", "basicConfig"}, "the log of the program"),
    ({"_getframe", "settrace", "setprofile", "tracemalloc", "getrefcount", "get_objects"}, "the frames or the memory"),
    ({"active_count", "enumerate_threads", "active_children"}, "the threads or processes of the program"),
)
_LEFT_ALONE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)


class Twice(ast.NodeTransformer):
    """Rewrites such comparisons; the rest of a test stays as it is."""

    def __init__(self) -> None:
        self.rewritten = False

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1 or isinstance(node.ops[0], ast.Is | ast.IsNot):
            return node
        left, right = node.left, node.comparators[0]
        handed = _names_handed_over(left)
        read = handed & {n.id for n in ast.walk(right) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        if not read or any(isinstance(inner, _LEFT_ALONE) for inner in ast.walk(node)):
            return node
        self.rewritten = True
        names = ast.Tuple([ast.Name(name, ast.Load()) for name in sorted(read)], ast.Load())
        answer = ast.Name("__rowpick_answer__", ast.Load())
        parameters = [ast.arg(arg="__rowpick_answer__"), *(ast.arg(arg=name) for name in sorted(read))]
        again = ast.Lambda(_arguments(parameters), ast.Compare(answer, node.ops, [right]))
        marked = ast.Call(ast.Name(MARK, ast.Load()), [names], [])
        first = ast.Lambda(_arguments([]), left)
        now = ast.Lambda(_arguments([]), names)
        return ast.copy_location(ast.Call(ast.Name(COMPARE, ast.Load()), [marked, first, now, again], []), node)


def _arguments(parameters: list[ast.arg]) -> ast.arguments:
    return ast.arguments(posonlyargs=[], args=parameters, kwonlyargs=[], kw_defaults=[], defaults=[])


def _names_handed_over(node: ast.AST) -> set[str]:
    names: set[str] = set()
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            values = [a.value if isinstance(a, ast.Starred) else a for a in call.args] + [
                k.value for k in call.keywords
            ]
            names |= {value.id for value in values if isinstance(value, ast.Name)}
    return names


@lru_cache(maxsize=4096)
def rewrite(test: str) -> str:
    """Return the test with its comparisons rewritten, the same text where there are none."""
    tree = parse_python(test)
    twice = Twice()
    changed = ast.fix_missing_locations(twice.visit(tree))
    return ast.unparse(changed) if twice.rewritten else test


@lru_cache(maxsize=4096)
def raise_lines(test: str) -> list[int]:
    """Return the lines on which the test raises something on purpose."""
    return sorted({node.lineno for node in ast.walk(parse_python(test)) if isinstance(node, ast.Raise)})


@lru_cache(maxsize=4096)
def patched_names(test: str) -> list[tuple[str, str]]:
    """Return the names of modules (module, name) that the test replaces."""
    tree = parse_python(test)
    aliases = _aliases(tree)
    return sorted({name for node in ast.walk(tree) for name in _patched(node, aliases)})


@lru_cache(maxsize=4096)
def seeded_modules(test: str) -> list[str]:
    """Return the modules of random numbers that the test gives a seed."""
    tree = parse_python(test)
    aliases = _aliases(tree)
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "seed":
            first, *rest = ast.unparse(node.value).split(".")
            modules.add(".".join([aliases.get(first, first), *rest]))
    return sorted(modules & set(_SEEDED))


@lru_cache(maxsize=4096)
def modules_that_look(test: str) -> list[str]:
    """Return the modules that the test imports whose functions look into an object."""
    modules = set()
    for node in ast.walk(parse_python(test)):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return sorted(modules & set(LOOKING))


@lru_cache(maxsize=4096)
def looks_at_its_process(test: str) -> str:
    """Return what a test looks at that a program in another process does not change, "" where there is nothing."""
    used = {node.attr for node in ast.walk(parse_python(test)) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(parse_python(test)) if isinstance(node, ast.Name)}
    return next((what for names, what in _ONE_PROCESS if used & names), "")


def _aliases(tree: ast.Module) -> dict[str, str]:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return {(name.asname or name.name): name.name for node in imports for name in node.names}


def _patched(node: ast.AST, aliases: dict[str, str]) -> list[tuple[str, str]]:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
        return [(aliases[node.value.id], node.attr)] if node.value.id in aliases else []
    if not isinstance(node, ast.Call) or not node.args:
        return []
    first = node.args[0]
    called = ast.unparse(node.func).split(".")
    if called[-1] == "patch" and isinstance(first, ast.Constant) and isinstance(first.value, str):
        module, _, name = first.value.rpartition(".")
        return [(module, name)] if module.split(".")[0] in sys.stdlib_module_names else []
    second = node.args[1] if len(node.args) > 1 else None
    patches = called[-1] == "setattr" or called[-2:] == ["patch", "object"]
    if patches and isinstance(first, ast.Name) and isinstance(second, ast.Constant) and first.id in aliases:
        return [(aliases[first.id], str(second.value))]
    return []
