"""Stand-ins for what stays in the tested program: an object of a local class for each of its classes.

A stand-in has the special methods that the program's class has; each asks the program. What could let an answer decide
by itself whether it is right is asked only where both sides are the program's own, or where the object comes from a
class that the task itself names (`Session.trusts`).
"""

from __future__ import annotations

import builtins

from ..line import operators

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..line import wire
    from .asking import Asks


class _Here:
    """The one session of this process; no attribute of a stand-in, where it would hide one of the program's."""

    session: Asks
    references: dict[type, wire.Reference]


HERE = _Here()
HERE.references = {}
# The names under which a stand-in keeps the judge's own notes: no attribute of a program can have them.
REFERENCE, TRUSTED = " reference", " trusted"
_ENDS_ITERATION = (StopIteration, StopAsyncIteration, GeneratorExit)


class NeedsTogetherError(Exception):
    """The test asks for what only one process can do; whatever the program is, it cannot be judged apart."""


def state(value: Any) -> dict[str, Any]:
    """Return what the judge itself keeps in a stand-in."""
    notes: dict[str, Any] = _NOTES.__get__(value)
    return notes


class RemoteType(type):
    """A class of the tested program."""

    def __new__(cls, name: str, bases: Any, space: dict[str, Any], *, reference: Any = None) -> Any:
        if reference is None:
            HERE.session.undecided("a subclass of a class of the program")
        created = super().__new__(cls, name, bases, space)
        HERE.references[created] = reference
        return created

    def __init__(cls, name: str, bases: Any, space: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, space)

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        return HERE.session.ask("call", cls, arguments, keywords)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name not in operators.READABLE:
            raise AttributeError(name)
        return HERE.session.ask("getattr", cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith(("_abc_", "__")):
            type.__setattr__(cls, name, value)
        else:
            HERE.session.ask("setattr", cls, name, value)

    @property
    def __annotations__(cls) -> Any:  # type: ignore[override]
        return HERE.session.ask("getattr", cls, "__annotations__")

    def __iter__(cls) -> Any:
        return HERE.session.ask("iter", cls)

    def __len__(cls) -> Any:
        return HERE.session.ask("special", "__len__", cls)

    def __getitem__(cls, key: Any) -> Any:
        return HERE.session.ask("getitem", cls, key)

    def __contains__(cls, key: Any) -> bool:
        return bool(HERE.session.ask("special", "__contains__", cls, key))

    def __repr__(cls) -> str:
        return str(HERE.session.ask("repr", cls))

    def __eq__(cls, other: object) -> bool:
        return cls is other

    def __hash__(cls) -> int:
        return type.__hash__(cls)

    def __instancecheck__(cls, value: Any) -> bool:
        if type.__instancecheck__(cls, value):
            return True
        foreign = isinstance(type(value), RemoteType) or HERE.session.trusts(cls)
        return foreign and HERE.session.ask("isinstance", value, cls) is True


class _About:
    """An attribute that Python keeps for every class and that is asked of the program here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, value: Any, owner: Any) -> Any:
        return HERE.session.ask("getattr", owner if value is None else value, self.name)


class Remote:
    """A thing of the tested program."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in operators.READABLE:
            if name == "__signature__" and callable(self):
                return HERE.session.signature(self)
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        if name in operators.DECIDING_METHODS and not HERE.session.trusts(self):
            HERE.session.note_rule(self, name, None)
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}' that the test can rely on")
        return HERE.session.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            object.__setattr__(self, name, value)
        else:
            HERE.session.ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        HERE.session.ask("delattr", self, name)

    def __copy__(self) -> Any:
        return _copied(self, "copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return _copied(self, "deepcopy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return HERE.session.undecided(f"pickling a {type(self).__name__} of the program")

    def __del__(self) -> None:
        kept = state(self)
        if REFERENCE in kept:
            HERE.session.dropped.append(kept[REFERENCE].number)


def _copied(value: Any, how: str) -> Any:
    copied = HERE.session.ask(how, value)
    if not (isinstance(type(copied), RemoteType) or HERE.session.trusts(value)):
        raise TypeError(f"a {how} of a {type(value).__name__} that is something else")
    return copied


_ARGUMENTS: Any = vars(BaseException)["args"]
_NOTES: Any = vars(Remote)["__dict__"]  # a stand-in's own `__dict__` is the program's


def is_foreign(value: Any) -> bool:
    """Whether a value is the program's own: one of its classes, or an object of one."""
    return isinstance(type(value), RemoteType) or isinstance(value, RemoteType)


def _forward(name: str) -> Any:
    """Return the special method `name` that asks the program."""

    def ask(self: Any, *arguments: Any, **keywords: Any) -> Any:
        session = HERE.session
        return session.ask("special", name, self, *arguments, **keywords)

    def deciding(self: Any, other: Any, *more: Any) -> Any:
        session = HERE.session
        if is_foreign(other) or session.trusts(self):
            return session.ask("special", name, self, other, *more)
        plain = plain_base(type(self))
        if plain is not None:
            return getattr(plain, name)(self, other, *more) if hasattr(plain, name) else NotImplemented
        session.note_rule(self, name, other)
        return NotImplemented

    def contains(self: Any, key: Any) -> Any:
        session = HERE.session
        if is_foreign(key) or session.trusts(self):
            return session.ask("special", name, self, key)
        session.note_rule(self, name, key)
        return any(key is item or key == item for item in iter(self))

    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return HERE.session.ask("call", self, arguments, keywords)

    def advance(self: Any) -> Any:
        return HERE.session.item(self)

    def awaited(self: Any) -> Any:
        return HERE.session.await_(self)
        yield

    def leave(self: Any, kind: Any, error: Any, trace: Any) -> Any:
        return HERE.session.leave(self, error, name)

    async def leave_later(self: Any, kind: Any, error: Any, trace: Any) -> Any:
        return HERE.session.leave(self, error, name)

    special = {
        "__contains__": contains, "__call__": call, "__next__": advance, "__await__": awaited, "__exit__": leave,
        "__aexit__": leave_later,
    }  # fmt: skip
    method = special.get(name, deciding if name in operators.DECIDING else ask)
    method.__name__ = name
    return method


_FORWARDERS = {name: _forward(name) for name in operators.FORWARDED}


def plain_base(cls: type) -> type | None:
    """Return the plain type that objects of a local class really are, None where they are only stand-ins."""
    base = next((c for c in cls.__mro__ if not isinstance(c, RemoteType) and c is not Remote), object)
    return None if base is object else base


def _overridden(name: str) -> property:
    return property(lambda self: HERE.session.ask("getattr", self, name))


def local_class(reference: wire.Reference, description: dict[str, Any], bases: list[Any]) -> Any:
    """Return the local class for a class of the program that has these bases and special methods."""
    space: dict[str, Any] = {name: _FORWARDERS[name] for name in description["special"] if name in _FORWARDERS}
    plain = next((b for b in (plain_base(base) for base in bases) if b is not None), None)
    if description["unhashable"]:
        space["__hash__"] = None
    if plain is None:
        space |= {"__doc__": _About("__doc__"), "__dict__": _About("__dict__"), "__module__": description["module"]}
    else:
        for name in description["overridden"]:
            if not name.startswith("_") and hasattr(plain, name):
                space[name] = _overridden(name)
    known = [base for base in bases if base is not object]
    local = known if any(isinstance(base, RemoteType) for base in known) else [Remote, *known]
    for choice in (tuple(local), (Remote, plain) if plain is not None else (Remote,), (Remote,)):
        try:
            return RemoteType(description["name"], choice, space, reference=reference)
        except TypeError:
            continue
    raise TypeError(description["name"])


def is_exception(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, BaseException)


def exception_of(cls: Any, contents: tuple[Any, ...]) -> BaseException:
    """Return an exception of a class of the judge's own or of a local one, none that would end an iteration.

    `contents` are its arguments, its text, what its type is made of, and its cause.
    """
    arguments, text, parts, cause = contents
    if not is_exception(cls) or issubclass(cls, _ENDS_ITERATION):
        return RuntimeError(str(text))
    error: BaseException
    if type(cls) is RemoteType:
        error = cls.__new__(cls)  # type: ignore[call-arg, arg-type]
        _ARGUMENTS.__set__(error, arguments)
    else:
        try:
            error = cls(*(parts or arguments))
        except Exception:
            error = cls.__new__(cls)
            _ARGUMENTS.__set__(error, arguments)
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    return error


def builtin_exception(module: str, name: str) -> Any:
    """Return the exception type that both sides know by this name, None where there is none."""
    builtin = getattr(builtins, name, None) if module == "builtins" else None
    return builtin if is_exception(builtin) else None
