"""The names of a test that only the tested program can provide, and what the test itself says of them."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from dataclasses import dataclass, field
from functools import lru_cache

from curate.code.syntax import parse_python

MODULES = {name: name for name in sys.stdlib_module_names} | {
    "np": "numpy", "numpy": "numpy", "pd": "pandas", "pandas": "pandas", "torch": "torch", "scipy": "scipy",
}  # fmt: skip


@dataclass(frozen=True)
class TestNames:
    """`names` a test reads and does not define, sorted; `modules` that some of them mean, with the attributes taken.

    A module is a name of the standard library, or of a usual package, that the test only ever takes attributes of, as
    in `math.isclose`. `called` are the names that the test calls, `builtins` those of them that Python defines too.
    """

    names: list[str] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, list[str]] = field(default_factory=dict)
    called: list[str] = field(default_factory=list)
    builtins: list[str] = field(default_factory=list)

    __test__ = False


@lru_cache(maxsize=4096)
def names_of_test(test: str) -> TestNames:
    """Return the names of a test that is Python."""
    if not test:
        return TestNames()
    table = symtable.symtable(test, "<test>", "exec")
    own = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    read = _read_globals(table) - own
    known = set(dir(builtins))
    tree = parse_python(test)
    attributes: dict[str, set[str]] = {}
    bases: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
            bases.add(id(node.value))
    loads = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    bare = {node.id for node in loads if id(node) not in bases}
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)} & read
    modules = {name: MODULES[name] for name in sorted((read - known) & (set(attributes) - bare) & set(MODULES))}
    return TestNames(
        sorted(read - known), modules, {name: sorted(attributes[name]) for name in modules},
        sorted(called), sorted(called & known),
    )  # fmt: skip


def shadowed_builtins(names: TestNames, entry_point: str, defined: tuple[str, ...]) -> list[str]:
    """Return the built-in names that mean a function of the program's: the task's solution defines them, or no other.

    A program may not replace what the test relies on (`len`, `sorted`, ...); a test that calls nothing but such a name
    tests the function of that name.
    """
    if entry_point:
        return []
    if defined:
        return [name for name in names.builtins if name in defined]
    return names.builtins if not set(names.names) - set(names.modules) else []


def looks_like_class(name: str) -> bool:
    """Whether a name is written as names of classes are: CamelCase."""
    return name[:1].isupper() and "_" not in name


def _read_globals(table: symtable.SymbolTable) -> set[str]:
    top = table.get_type() == "module"
    names = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    for child in table.get_children():
        names |= _read_globals(child)
    return names
