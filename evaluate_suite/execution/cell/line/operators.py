"""The special methods that are forwarded over the line, and what each may give away."""

from __future__ import annotations

_COMPARE = "eq ne lt le gt ge"
_ARITHMETIC = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor"
_PLAIN = (
    "neg pos abs invert int float complex index round trunc floor ceil bool len length_hint str repr bytes format hash "
    "reversed getitem setitem delitem missing call enter exit aenter aexit aiter fspath dir"
)
# Handed a value of the test's, these would let the answer decide by itself whether it is right.
DECIDING = frozenset(
    f"__{before}{name}__"
    for name in (_COMPARE + " " + _ARITHMETIC).split()
    for before in ("", "r", "i")
) | {"__contains__"}  # fmt: skip
# Methods of sets that do the same: a thing that only has them is not the set that the test asks for.
DECIDING_METHODS = frozenset(
    {"issubset", "issuperset", "isdisjoint", "startswith", "endswith", "count", "index", "equals"}
)
FORWARDED = DECIDING | {f"__{name}__" for name in _PLAIN.split()} | {"__iter__", "__next__", "__await__", "__anext__"}
# Attributes with such names that say how a thing was made; others with two underscores are the judge's own.
READABLE = frozenset(
    f"__{name}__"
    for name in [
        "name",
        "qualname",
        "annotations",
        "defaults",
        "kwdefaults",
        "code",
        "wrapped",
        "self",
        "func",
        "closure",
        "notes",
        "members",
        "slots",
        "dataclass_fields",
        "dataclass_params",
        "match_args",
        "abstractmethods",
        "isabstractmethod",
        "orig_bases",
        "origin",
        "args",
        "parameters",
        "total",
        "required_keys",
        "optional_keys",
        "enter",
        "exit",
        "call",
        "len",
        "iter",
        "next",
        "getitem",
        "contains",
        "add",
        "eq",
        "lt",
        "hash",
        "str",
        "repr",
        "init",
        "new",
    ]
)
