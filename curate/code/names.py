"""Which names a Python statement binds, needs from outside itself, and changes in place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class StatementNames:
    """The names of one top-level statement.

    `bound` are those it gives a value (a definition's own name, imports, targets), `needed` those that must have one
    before it runs or is called, `changed` those whose value it changes in place: `x.a = 1`, `x[0] = 1`, `x.append(1)`,
    `x += 1`. `written` are the globals that functions in it assign or change when they are called.
    """

    bound: frozenset[str]
    needed: frozenset[str]
    changed: frozenset[str]
    written: frozenset[str]


@dataclass
class _Scope:
    """The names one scope binds, reads, changes and declares global; those of a class are seen by none inside it."""

    parent: int | None
    is_class: bool = False
    bound: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    declared_global: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)


def names_of(*statements: ast.stmt) -> StatementNames:
    """Return the names of statements that stand on the same lines; iterative, so that no nesting is too deep for it."""
    scopes = [_Scope(None)]
    stack: list[tuple[ast.AST, int]] = [(stmt, 0) for stmt in reversed(statements)]
    while stack:
        node, here = stack.pop()
        stack.extend(_visit(node, here, scopes))
    for place in range(len(scopes) - 1, 0, -1):
        scope = scopes[place]
        own = scope.bound - scope.declared_global
        free = (scope.read - own) | scope.declared_global | (scope.outer if scope.is_class else scope.outer - own)
        parent = scopes[scope.parent or 0]
        parent.outer |= free
    top = scopes[0]
    inner = scopes[1:]
    written = {name for scope in inner for name in (scope.changed - scope.bound) | scope.declared_global}
    return StatementNames(
        frozenset(top.bound), frozenset(top.read | top.outer), frozenset(top.changed), frozenset(written)
    )


def _visit(node: ast.AST, here: int, scopes: list[_Scope]) -> list[tuple[ast.AST, int]]:
    """Enter `node` into its scope; return the nodes to visit next, each with the place of its scope."""
    scope = scopes[here]
    if isinstance(node, ast.Name):
        (scope.read if isinstance(node.ctx, ast.Load) else scope.bound).add(node.id)
        return []
    if isinstance(node, _SCOPES):
        return _enter(node, here, scopes)
    if isinstance(node, _COMPREHENSIONS):
        scopes.append(_Scope(here))
        return [(child, len(scopes) - 1) for child in ast.iter_child_nodes(node)]
    if isinstance(node, ast.Import | ast.ImportFrom):
        scope.bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    elif isinstance(node, ast.Global):
        scope.declared_global |= set(node.names)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        scope.bound.add(node.name)
    elif isinstance(node, ast.MatchMapping) and node.rest:
        scope.bound.add(node.rest)
    scope.changed |= set(_changes(node))
    return [(child, here) for child in ast.iter_child_nodes(node)]


def _enter(node: ast.AST, here: int, scopes: list[_Scope]) -> list[tuple[ast.AST, int]]:
    """Open the scope of a function, lambda or class; its decorators, defaults, bases and annotations stand outside."""
    inside = len(scopes)
    scopes.append(_Scope(here, isinstance(node, ast.ClassDef)))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scopes[here].bound.add(node.name)
    following: list[tuple[ast.AST, int]] = []
    for name, value in ast.iter_fields(node):
        nodes = value if isinstance(value, list) else [value]
        place = inside if name in ("body", "type_params") else here
        following += [(child, place) for child in nodes if isinstance(child, ast.AST)]
    for argument in _arguments(node):
        scopes[inside].bound.add(argument.arg)
    return following


def _arguments(node: ast.AST) -> Iterator[ast.arg]:
    arguments = getattr(node, "args", None)
    if isinstance(arguments, ast.arguments):
        yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        yield from (argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None)


def _changes(node: ast.AST) -> Iterator[str]:
    """The names whose value this node changes in place."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield from _base(node.value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _base(node.func.value)


def _base(node: ast.AST) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id
