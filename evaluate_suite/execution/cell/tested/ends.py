"""The tested program's end of the line: numbers for what stays here, stand-ins for what the judge lends."""

from __future__ import annotations

import _thread

from ..line import operators, shared, values, wire
from .lent import Lent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PLAIN = (int, float, complex, str, bytes, tuple, frozenset)
_GENERATOR = type(None for _ in ())


class Ends:
    """Numbers of things and containers, and the messages about them."""

    def __init__(self, fd: int, handle: Callable[[Any], None]) -> None:
        self.fd = fd
        self.handle = handle
        self.shared = shared.Shared(1, releases=True)
        self.kept: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.next = 0
        self.described: set[int] = set()
        self.new_classes: list[tuple[Any, ...]] = []
        self.lent: dict[int, Any] = {}
        self.lent_numbers: dict[int, tuple[int, Any]] = {}
        self.lock = _thread.RLock()
        self.reserve = b""  # for the message that there is no memory left
        self.refill()

    def pack(self, body: Any) -> bytes:
        return self.shared.pack(body, self, self._take_classes)

    def _take_classes(self) -> tuple[Any, ...]:
        new, self.new_classes = tuple(self.new_classes), []
        return new

    def receive(self) -> Any:
        return self.shared.unpack(wire.receive(self.fd), self, lambda classes: None)

    def refill(self) -> None:
        if not self.reserve:
            try:
                self.reserve = bytes(1 << 21)
            except MemoryError:
                return

    def forget(self, unused: Any, dropped: Any) -> None:
        for number in unused:
            self.shared.forget(number)
        for number in dropped:
            value = self.kept.pop(number, None)
            self.numbers.pop(id(value), None)

    def error(self, error: BaseException) -> bytes:
        """Return the message that an exception was raised."""
        lent = getattr(error, "_rowpick_lent", None)
        if type(lent) is int:
            return self.pack(("raise", lent))
        text = _text_of(error)
        try:
            return self.pack(("error", error, text))
        except BaseException:
            return self.pack(("error", RuntimeError(f"{type(error).__name__[:100]}: {text}"), text))

    def ask(self, operation: str, number: int, arguments: tuple[Any, ...]) -> Any:
        """Return what the judge answers about a thing that it lent."""
        with self.lock:
            wire.send(self.fd, self.pack(("back", operation, number, arguments)))
            while True:
                answer = self.receive()
                if answer[0] == "ask":
                    self.handle(answer)
                elif answer[0] == "ok":
                    return answer[1]
                else:
                    _, known, names, parts, lent = answer
                    raise known if known is not None else _lent_error(names, parts, lent)

    def keep(self, value: Any) -> wire.Reference:
        """Return the reference to a thing that stays here."""
        number = self.numbers.get(id(value))
        if number is None:
            number, self.next = self.next, self.next + 1
            self.kept[number] = value
            self.numbers[id(value)] = number
        if isinstance(value, type):
            self._describe(value, number)
            return wire.Reference("h", number, "class")
        kind = type(value).__name__ if type(value) is _GENERATOR or type(value).__name__ == "coroutine" else ""
        return wire.Reference("h", number, f"{self.keep(type(value)).number}:{kind}")

    def _describe(self, cls: type, number: int) -> None:
        if number in self.described:
            return
        self.described.add(number)
        bases: list[Any] = []
        for base in cls.__bases__:
            if base is object:
                continue
            known = values.global_name(base)
            if known is not None and known[0] == "builtins":
                bases.append(known)
            else:
                bases.append(self.keep(base).number)
        own = dict(vars(cls))
        special = tuple(name for name in own if name in operators.FORWARDED and own[name] is not None)
        public = tuple(str(name) for name in own if not str(name).startswith("_"))
        unhashable = "__hash__" in own and own["__hash__"] is None
        name, module = str(cls.__name__)[:100], str(cls.__module__)[:100]
        self.new_classes.append((number, name, module, tuple(bases), special, public, unhashable))

    def outgoing(self, value: Any) -> Any:
        if id(value) in self.lent_numbers:
            return wire.Reference("j", self.lent_numbers[id(value)][0])
        kind = type(value)
        if kind is float:
            return None
        name = shared.kind_of(value)
        if name is not None:
            exact = name[0] != "builtins" or (kind.__name__ == name[1] and kind.__module__ == "builtins")
            if not exact:
                known = self.keep(value)
                known.note += "container"
                return wire.Reference("S", self.shared.number_of(value, known))
            return wire.Reference("S", self.shared.number_of(value))
        if isinstance(value, BaseException):
            return wire.Decayed(self.keep(value), (value.args, _text_of(value), _made_of(value), value.__cause__))
        for base in _PLAIN:
            if isinstance(value, base):
                return wire.Decayed(self.keep(value), _exact(base, value))
        return self.keep(value)

    def incoming(self, reference: wire.Reference) -> Any:
        if reference.space == "S":
            return self.shared.entries[reference.number].value
        if reference.space == "h":
            return self.kept[reference.number]
        if reference.number not in self.lent:
            self._register(Lent(self, reference.number, reference.note), reference.number)
        return self.lent[reference.number]

    def _register(self, value: Any, number: int) -> Any:
        self.lent[number] = value
        self.lent_numbers[id(value)] = (number, value)
        return value

    def incoming_decayed(self, reference: wire.Reference, plain: Any) -> Any:
        if reference.number in self.lent:
            return self.lent[reference.number]
        if reference.note == "nan":
            return self._register(float("nan"), reference.number)
        import collections

        _, name, *fields = reference.note.split(":")
        tuple_type: Any = collections.namedtuple(name, fields)  # type: ignore[misc]
        return self._register(tuple_type(*plain), reference.number)

    def unpickle(self, data: bytes, reference: wire.Reference) -> Any:
        if reference.number not in self.lent:
            import pickle

            self._register(pickle.loads(data), reference.number)
        return self.lent[reference.number]

    def receive_container(self, number: int, name: Any, value: Any, known: Any) -> None:
        self.shared.register(number, name, value)


def _exact(base: Any, value: Any) -> Any:
    """Return the plain value inside an object of a subclass, whatever its own methods say."""
    if base in (tuple, frozenset):
        return base(base.__iter__(value))
    if base is str:
        return str.__str__(value) if type(str.__str__(value)) is str else "".join(str.__iter__(value))
    if base is bytes:
        return bytes(bytes.__iter__(value))
    if base is int:
        return int.__add__(value, 0)
    if base is float:
        return float.__add__(value, 0.0)
    return complex.__add__(value, 0j)


def _made_of(error: BaseException) -> tuple[Any, ...]:
    """Return what the type of an exception of Python's own takes to make one like it."""
    if type(error).__module__ in ("solution", "__main__"):
        return ()
    try:
        parts = error.__reduce__()
        return parts[1] if type(parts) is tuple and type(parts[1]) is tuple else ()
    except Exception:
        return ()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException:
        return ""


def _lent_error(names: Any, parts: Any, lent: int) -> BaseException:
    """Return an exception that stands for one of the test's: raised through the program, it comes back as that one."""
    for name in names:
        kind = values.global_of(("builtins", name))
        try:
            error: BaseException = kind(*parts)
        except Exception:
            continue
        error._rowpick_lent = lent  # type: ignore[attr-defined]
        return error
    return RuntimeError(*parts)
