"""What a test hands to the tested program and is no plain data: functions, iterators, objects of the test's own.

The program gets a number. It can call a function, advance an iterator, and use the public attributes and the operators
of an object whose class the test itself defines; nothing else of the judge is within its reach.
"""

from __future__ import annotations

from ..line import operators, wire
from . import remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .asking import Asks

TEST_MODULE = "tests"
_OPEN_MODULES = (TEST_MODULE, "unittest.mock")
_BUILTIN, _METHOD, _MODULE = type(len), type(wire.Reference("j", 0).__init__), type(wire)  # type: ignore[misc]


async def _nothing() -> None:
    return


_first = _nothing()
_COROUTINE = type(_first)
_first.close()


def _description(value: Any) -> tuple[Any, ...]:
    """Return what a function says of itself: name, documentation, and its parameters as `inspect` has them."""
    inspect = __import__("inspect")
    try:
        parameters = [
            (p.name, int(p.kind), () if p.default is p.empty else (p.default,))
            for p in inspect.signature(value).parameters.values()
        ]
    except (TypeError, ValueError):
        parameters = []
    return (str(getattr(value, "__name__", "")), getattr(value, "__doc__", None), tuple(parameters))


def _run(coroutine: Any) -> Any:
    """Return what a coroutine of the test's comes to; one that waits for the test's own loop cannot be run here."""
    while True:
        try:
            waits_for = coroutine.send(None)
        except StopIteration as end:
            return end.value
        if waits_for is not None:
            remote.HERE.session.undecided("awaiting what the test's own loop provides")


class Lent:
    """The judge's things that the program has numbers of."""

    def __init__(self, session: Asks) -> None:
        self.session = session
        self.values: list[Any] = []
        self.kinds: list[str] = []
        self.numbers: dict[int, int] = {}

    def value(self, number: Any) -> Any:
        return self.values[number] if type(number) is int and 0 <= number < len(self.values) else None

    def _reference(self, value: Any, kind: str) -> wire.Reference:
        number = self.numbers.setdefault(id(value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
            self.kinds.append(kind)
        return wire.Reference("j", number, kind)

    def lend(self, value: Any) -> wire.Reference | wire.Decayed | wire.Pickled:
        """Return what crosses for a thing of the judge's; `NeedsTogetherError` where nothing can."""
        kind = type(value)
        if kind is float:
            return wire.Decayed(self._reference(value, "nan"), "nan")
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            names = ":".join([kind.__name__, *kind._fields])
            return wire.Decayed(self._reference(value, f"namedtuple:{names}"), tuple(value))
        own = kind.__module__ in _OPEN_MODULES
        if hasattr(kind, "__next__") and not own and kind.__module__ not in ("io", "_io"):
            return self._reference(value, "iterator")
        method = kind is _METHOD or (kind is _BUILTIN and type(value.__self__) is not _MODULE)
        data = None if method or own else self._pickled(value)
        if data is not None:
            return wire.Pickled(self._reference(value, "copy"), data)
        if own and not isinstance(value, type):
            return self._reference(value, "object")
        if kind is _COROUTINE:
            return self._reference(value, "coroutine")
        if callable(value):
            return self._reference(value, "call")
        self.session.undecided(f"handing over a {kind.__name__}")
        raise AssertionError

    def _pickled(self, value: Any) -> bytes | None:
        before = self.session.needs_together
        try:
            data: bytes = __import__("pickle").dumps(value)
        except Exception:  # whatever a type's own code raises where it cannot be copied
            self.session.needs_together = before
            return None
        return data

    def answer(self, operation: Any, number: Any, arguments: Any) -> tuple[Any, ...]:
        """Return the answer to what the program asks of a thing that was lent to it."""
        try:
            return ("ok", self._do(operation, number, *arguments))
        except Exception as error:
            names = [c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins"]
            known = error if remote.is_foreign(error) else None
            return ("error", known, tuple(names), tuple(map(str, error.args)), self._reference(error, "error").number)

    def _do(self, operation: Any, number: Any, *arguments: Any) -> Any:
        value, kind = self.values[number], self.kinds[number]
        if operation == "call" and kind in ("call", "object"):
            positional, keywords = arguments
            return value(*positional, **keywords)
        if operation == "next" and kind in ("iterator", "object"):
            try:
                return ("item", next(value))
            except StopIteration:
                return ("end", None)
        if operation == "describe" and kind == "call":
            return _description(value)
        if operation == "isinstance" and isinstance(value, type):
            return isinstance(arguments[0], value)
        if operation == "await" and kind == "coroutine":
            return _run(value)
        if kind == "object" and operation in ("hash", "bool"):
            return hash(value) if operation == "hash" else bool(value)
        if kind == "object" and operation == "special" and arguments[0] in operators.FORWARDED:
            return getattr(type(value), arguments[0])(value, *arguments[1:])
        public = kind == "object" and type(arguments[0]) is str and not arguments[0].startswith("_")
        if public and operation == "getattr":
            return getattr(value, arguments[0])
        if public and operation == "setattr":
            return setattr(value, *arguments)
        raise TypeError(f"{operation} of a {type(value).__name__} of the test")
