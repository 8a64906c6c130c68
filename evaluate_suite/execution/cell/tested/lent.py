"""Stand-ins in the tested program for what the judge lends: each use asks the judge."""

from __future__ import annotations

from ..line import operators

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEPT = "_rowpick"


class Lent:
    """A function, an iterator, a coroutine or an object of the test's."""

    def __init__(self, ends: Any, number: int, kind: str) -> None:
        object.__setattr__(self, _KEPT, (ends, number, kind))

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _ask(self, "call", arguments, keywords)

    def __iter__(self) -> Any:
        return self if _kind(self) == "iterator" else _ask(self, "special", "__iter__")

    def __next__(self) -> Any:
        kind, value = _ask(self, "next")
        if kind == "end":
            raise StopIteration
        return value

    def __await__(self) -> Any:
        return _ask(self, "await")
        yield

    def __hash__(self) -> int:
        return int(_ask(self, "hash")) if _kind(self) == "object" else object.__hash__(self)

    def __bool__(self) -> bool:
        return bool(_ask(self, "bool")) if _kind(self) == "object" else True

    def __eq__(self, other: object) -> Any:
        if self is other or _kind(self) != "object":
            return self is other
        return _ask(self, "special", "__eq__", other)

    def __instancecheck__(self, value: Any) -> bool:
        return bool(_ask(self, "isinstance", value))

    def __getattr__(self, name: str) -> Any:
        if _kind(self) == "call" and name in ("__name__", "__qualname__", "__signature__", "__code__"):
            return _described(self, name)
        if name.startswith("_"):
            raise AttributeError(name)
        return _ask(self, "getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "setattr", name, value)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return _ask(self, "describe")[1] if _kind(self) == "call" else None


def _ask(lent: Lent, operation: str, *arguments: Any) -> Any:
    ends, number, _ = object.__getattribute__(lent, _KEPT)
    return ends.ask(operation, number, arguments)


def _kind(lent: Lent) -> str:
    return str(object.__getattribute__(lent, _KEPT)[2])


def _described(lent: Lent, name: str) -> Any:
    """Return what a function of the test's says of itself, under the name that Python has for it."""
    own, _, parameters = _ask(lent, "describe")
    if name in ("__name__", "__qualname__"):
        return own
    if name == "__code__":
        import types

        names = tuple(p[0] for p in parameters if p[1] in (0, 1))
        return types.SimpleNamespace(co_argcount=len(names), co_varnames=names, co_name=own)
    import inspect

    return inspect.Signature(
        [
            inspect.Parameter(p[0], inspect._ParameterKind(p[1]), **({"default": p[2][0]} if p[2] else {}))
            for p in parameters
        ]
    )


def _special(name: str) -> Any:
    def method(self: Lent, *arguments: Any) -> Any:
        return _ask(self, "special", name, *arguments)

    return method


_OWN = {name for name in operators.FORWARDED if name in vars(Lent)} | {"__anext__"}
for _name in operators.FORWARDED - _OWN:
    if not _name.startswith("__i") or _name in ("__int__", "__index__", "__invert__"):
        setattr(Lent, _name, _special(_name))
