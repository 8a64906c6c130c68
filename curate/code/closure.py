"""Python statements as units with names, and the closure of names over them."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from curate.code.names import StatementNames, names_of
from curate.code.python_text import Run, line_starts, parsed_runs

# Calls whose effect a program needs, though nothing it names is changed by them.
_LIMITS = frozenset({"setrecursionlimit", "set_int_max_str_digits"})


@dataclass(frozen=True)
class Unit:
    """Statements that stand on the same lines of one block, with their names. `block` -1 is the prompt's code."""

    block: int
    source: str
    names: StatementNames
    defines: bool
    kind: str  # definition, import, assignment, effect, other
    stub: bool = False


def units_of(code: str, block: int) -> list[Unit]:
    """Return the units of all Python statements in `code`, prose and broken statements passed over."""
    units: list[Unit] = []
    for run in parsed_runs(code):
        units += _units_of_run(code[run.start : run.end], run, block)
    return units


def _units_of_run(source: str, run: Run, block: int) -> list[Unit]:
    starts = line_starts(source)
    groups: list[list[ast.stmt]] = []
    last = -1
    for stmt in run.tree.body:
        if groups and stmt.lineno <= last:
            groups[-1].append(stmt)
        else:
            groups.append([stmt])
        last = max(last, stmt.end_lineno or stmt.lineno)
    units = []
    for group in groups:
        first = min([group[0].lineno, *(d.lineno for d in getattr(group[0], "decorator_list", []))])
        end = max(stmt.end_lineno or stmt.lineno for stmt in group)
        text = source[starts[first - 1] : starts[end] if end < len(starts) else len(source)]
        units.append(_unit(group, text.rstrip() + "\n", block))
    return units


def _unit(group: list[ast.stmt], source: str, block: int) -> Unit:
    stmt = group[0]
    defines = len(group) == 1 and isinstance(stmt, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if defines:
        kind = "definition"
    elif all(isinstance(s, ast.Import | ast.ImportFrom) for s in group):
        kind = "import"
    elif all(isinstance(s, ast.Assign | ast.AnnAssign | ast.AugAssign) for s in group):
        kind = "assignment"
    elif all(isinstance(s, ast.Expr) for s in group):
        kind = "effect"
    else:
        kind = "main" if isinstance(stmt, ast.If) and _is_main(stmt.test) else "other"
    return Unit(block, source, names_of(*group), defines, kind, defines and _is_stub(stmt))


def _is_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _is_stub(stmt: ast.stmt) -> bool:
    """Whether a function has no body but a docstring, `pass`, `...` or `raise NotImplementedError`."""
    if not isinstance(stmt, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    for node in stmt.body:
        if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
            continue
        return False
    return True


def defines_any(units: Sequence[Unit], wanted: Collection[str]) -> bool:
    """Whether any wanted name has a complete definition, or a value, among `units`."""
    return any(
        not unit.stub and unit.kind in ("definition", "assignment", "other") and unit.names.bound & set(wanted)
        for unit in units
    )


def closure_of(units: Sequence[Unit], wanted: Collection[str]) -> set[int]:
    """The places of the units that `wanted` needs, by fixpoint; each name is looked up once."""
    providers: dict[str, list[int]] = {}
    changers: dict[str, list[int]] = {}
    writers: dict[str, list[int]] = {}
    for place, unit in enumerate(units):
        if unit.kind == "main":
            continue
        for name in unit.names.bound:
            providers.setdefault(name, []).append(place)
        for name in unit.names.changed | (unit.names.needed if unit.defines and unit.source.startswith("@") else set()):
            changers.setdefault(name, []).append(place)
        for name in unit.names.written:
            writers.setdefault(name, []).append(place)
    taken = {place for place, unit in enumerate(units) if _always(unit)}
    queue: list[tuple[str, int]] = [(name, -2) for name in wanted]
    queue += [(name, units[place].block) for place in taken for name in units[place].names.needed]
    seen: set[str] = set()
    while queue:
        name, asking = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        providing = _provided(units, providers.get(name, []), name, asking)
        changing = {place for place in changers.get(name, []) if _changes(units[place], name, units, providing)}
        filling = _calls_of_writers(units, writers.get(name, []), providers, providing)
        for place in (providing | changing | filling) - taken:
            taken.add(place)
            queue += [(needed, units[place].block) for needed in units[place].names.needed]
    return taken


def _always(unit: Unit) -> bool:
    """The prompt's imports, star imports, the future's, and a raised recursion limit."""
    if unit.kind == "import":
        return unit.block < 0 or "import *" in unit.source or unit.source.startswith("from __future__")
    return unit.kind == "effect" and any(name in unit.source for name in _LIMITS)


def _provided(units: Sequence[Unit], places: Sequence[int], name: str, asking: int) -> set[int]:
    """The units that give `name` its value: one definition, complete and of the asking block where there is one, with
    the assignments that wrap it; or all imports and assignments."""
    others = {place for place in places if not units[place].defines}
    own = any(units[place].block >= 0 for place in others)
    definitions = [
        place
        for place in places
        if units[place].defines and not (own and (units[place].stub or units[place].block < 0))
    ]
    if not definitions:
        return others
    best = min(
        definitions,
        key=lambda place: (
            units[place].stub,
            units[place].block < 0,
            asking >= 0 and units[place].block != asking,
            place,
        ),
    )
    return {best} | {place for place in others if name in units[place].names.needed or units[place].kind == "other"}


def _changes(unit: Unit, name: str, units: Sequence[Unit], providing: set[int]) -> bool:
    """Whether `unit` makes `name` another thing: it sets a part of it, decorates with it, or calls a method of data."""
    if unit.kind in ("assignment", "other"):
        return True
    if unit.defines:
        head = unit.source.split("def ", 1)[0].split("class ", 1)[0]
        return re.search(rf"@\s*{re.escape(name)}\.", head) is not None
    data = [units[place].kind in ("assignment", "import") for place in providing]
    return unit.kind == "effect" and bool(data) and all(data) and not unit.source.startswith("print")


def _calls_of_writers(
    units: Sequence[Unit], writing: Sequence[int], providers: dict[str, list[int]], providing: set[int]
) -> set[int]:
    """Bare calls, such as `sieve()`, of functions that fill what was asked for; data alone is filled so."""
    if not any(units[place].kind == "assignment" for place in providing):
        return set()
    names = {name for place in writing if units[place].defines for name in units[place].names.bound}
    calls = {
        place
        for place, unit in enumerate(units)
        if unit.kind == "effect" and re.match(r"(\w+)\(", unit.source) and unit.source.split("(", 1)[0] in names
    }
    return calls | {place for name in names for place in providers.get(name, [])} if calls else set()
