"""The names of a test that only the tested program can provide."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from functools import lru_cache

MODULES = {name: name for name in sys.stdlib_module_names} | {"np": "numpy", "numpy": "numpy"}


@lru_cache(maxsize=4096)
def names_of_test(test: str) -> tuple[list[str], dict[str, str]]:
    """The names a test reads and does not define itself, sorted, and the module that some of them mean.

    A module is a name of the standard library, or NumPy's, that the test only ever takes attributes of, as in
    `math.isclose`.
    """
    if not test:
        return [], {}
    table = symtable.symtable(test, "<test>", "exec")
    own = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    read = _read_globals(table) - own - set(dir(builtins))
    bases: set[str] = set()
    other: set[str] = set()
    tree = ast.parse(test)
    attributes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            (bases if id(node) in attributes else other).add(node.id)
    return sorted(read), {name: MODULES[name] for name in sorted(read & (bases - other) & set(MODULES))}


def _read_globals(table: symtable.SymbolTable) -> set[str]:
    top = table.get_type() == "module"
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    for child in table.get_children():
        found |= _read_globals(child)
    return found
