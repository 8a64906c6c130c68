"""The judge's end of the line: asks the tested program, answers what it asks back, knows what is whose."""

from __future__ import annotations

import _thread
import _weakref
import sys

from ..line import shared, values, wire
from . import lending, remote, surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


TEST_FILE = "<test>"


class CandidateGone(BaseException):
    """The tested program ended or broke the protocol; no `except Exception` of a test may swallow it."""


class Session:
    """One tested program, seen from its judge."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.broken = ""
        self.why = ""
        self.asked = 0
        self.lent_names = False  # the test works with things of the program beside the function it tests
        self.own_rule = ""  # the last comparison that an object of the program would have decided by itself
        self.needs_together = ""  # what the test asked for that only one process can do
        self.raised: BaseException | None = None
        self.raised_text = ""
        self.declared: set[int] = set()
        self.trusting = False
        self.classes: dict[int, Any] = {}
        self.remotes: dict[int, Any] = {}
        self.kept: dict[int, Any] = {}
        self.dropped: list[int] = []
        self.running: dict[int, wire.Reference] = {}  # generators and coroutines of the program, by id
        self.lent = lending.Lent(self)
        self.shared = shared.Shared(0)
        self.mirror = surroundings.Mirror()
        self.raise_lines: set[int] = set()
        self.lock = _thread.RLock()
        remote.HERE.session = self

    def undecided(self, what: str) -> Any:
        """Raise for what only one process can do; the test is then unscored unless it passes all the same."""
        self.needs_together = self.needs_together or what
        raise remote.NeedsTogetherError(what)

    def note_rule(self, value: Any, name: str, other: Any) -> None:
        """Note that a thing of the program was not asked how it compares with a value of the test's."""
        kind, its = type(value), type(other)
        self.own_rule = f"{kind.__name__}.{name} is the answer's own, and was not asked about a {its.__name__}"
        # A type of a library that cannot cross, compared with one of its kind: nobody can tell here.
        same = (kind.__module__, kind.__name__) == (its.__module__, its.__name__)
        crosses = values.parts_of(other) is not None or shared.kind_of(other) is not None
        if same and not crosses and its.__module__ not in ("builtins", lending.TEST_MODULE):
            self.needs_together = self.needs_together or f"comparing a {its.__module__}.{its.__name__}"

    def trusts(self, value: Any) -> bool:
        """Whether the task names the class of a thing, or one that it came from: what is tested is how it behaves."""
        if isinstance(value, remote.RemoteType):
            return remote.HERE.references[value].number in self.declared
        if not isinstance(type(value), remote.RemoteType):
            return False
        return bool(remote.state(value).get(remote.TRUSTED))

    def ask(self, operation: str, *arguments: Any) -> Any:
        if self.broken:
            raise CandidateGone
        with self.lock:
            before = self.trusting
            self.trusting = self.trusts(arguments[operation == "special"])
            try:
                return self._ask(operation, arguments)
            finally:
                self.trusting = before

    def _ask(self, operation: str, arguments: tuple[Any, ...]) -> Any:
        unused = self.shared.unused()
        for number in unused:
            self.shared.forget(number)
        dropped, self.dropped = [n for n in self.dropped if self._alive(n) is None], []
        for number in dropped:
            self.remotes.pop(number, None)
        changes = self.mirror.changes()
        self.asked += 1
        self._send(("ask", operation, arguments, changes, tuple(unused), tuple(dropped)))
        while True:
            answer = self._receive()
            if answer[0] == "back" and len(answer) == 4:
                self._answer_back(*answer[1:])
            elif answer[0] == "ok" and len(answer) == 2:
                return answer[1]
            elif answer[0] == "error" and len(answer) == 3 and isinstance(answer[1], BaseException):
                self.raised, self.raised_text = answer[1], str(answer[2])[:500]
                raise self.raised
            elif answer[0] == "raise" and len(answer) == 2 and isinstance(self.lent.value(answer[1]), BaseException):
                raise self.lent.value(answer[1])
            else:
                self._break("tampered")

    def _answer_back(self, operation: Any, number: Any, arguments: Any) -> None:
        before = self.needs_together
        try:
            self._send(self.lent.answer(operation, number, arguments))
        except remote.NeedsTogetherError:
            if operation in ("call", "next"):  # what a function of the test's returns; the rest is the program's choice
                raise
            self.needs_together = before
            self._send(("error", None, ("TypeError",), ("this cannot be handed over",), -1))

    def _send(self, message: Any) -> None:
        try:
            data = self.shared.pack(message, self, tuple)
        except wire.BadFrame as error:
            self.undecided(f"handing over what cannot be sent ({error})")
        try:
            wire.send(self.fd, data)
        except wire.BadFrame:
            self.undecided(f"handing over {len(data)} bytes")
        except wire.Closed:
            self._break("exited")

    def _receive(self) -> Any:
        try:
            answer = self.shared.unpack(wire.receive(self.fd), self, self._learn)
        except wire.Closed:
            self._break("exited")
        except wire.BadFrame as error:
            self.why = str(error)[:200]
            self._break("tampered")
        if type(answer) is not tuple or not answer:
            self._break("tampered")
        return answer

    def _break(self, how: str) -> None:
        self.broken = self.broken or how
        raise CandidateGone

    def _learn(self, classes: Any) -> None:
        for number, name, module, bases, special, overridden, unhashable in classes:
            known = self._known_exception(module, name)
            local = [self.classes[base] if type(base) is int else values.global_of(base) for base in bases]
            description = {
                "name": str(name)[:100].replace("\0", ""), "module": str(module)[:100], "special": special,
                "overridden": overridden, "unhashable": bool(unhashable),
            }  # fmt: skip
            reference = wire.Reference("h", number, "class")
            self.classes.setdefault(number, known or remote.local_class(reference, description, local))

    def _known_exception(self, module: Any, name: Any) -> Any:
        """Return the judge's own class of an exception of the standard library that its test has loaded."""
        if module == "builtins":
            return remote.builtin_exception(module, name)
        if str(module).split(".")[0] not in sys.stdlib_module_names:
            return None
        known = getattr(sys.modules.get(module), str(name), None)
        return known if remote.is_exception(known) and known.__module__ == module else None

    def outgoing(self, value: Any) -> Any:
        if isinstance(value, remote.RemoteType):
            return remote.HERE.references[value]
        if shared.kind_of(value) is not None:
            return wire.Reference("S", self.shared.number_of(value))
        if isinstance(type(value), remote.RemoteType) and remote.REFERENCE in remote.state(value):
            return remote.state(value)[remote.REFERENCE]
        return self.running.get(id(value)) or self.lent.lend(value)

    def incoming(self, reference: wire.Reference) -> Any:
        if reference.space == "S":
            return self.shared.entries[reference.number].value
        if reference.space == "j":
            return self.lent.value(reference.number)
        if reference.note == "class":
            return self.classes[reference.number]
        known = self._alive(reference.number)
        if known is None:
            known = self._stand_in(reference)
        if self.trusting and isinstance(type(known), remote.RemoteType):
            remote.state(known)[remote.TRUSTED] = True
        return known

    def _alive(self, number: int) -> Any:
        if number in self.kept:
            return self.kept[number]
        return self.remotes[number]() if number in self.remotes else None

    def _stand_in(self, reference: wire.Reference) -> Any:
        number, _, kind = reference.note.partition(":")
        if kind in ("generator", "coroutine"):
            hidden = wire.Reference("h", reference.number, number)
            stand_in = _generator(self, hidden) if kind == "generator" else _coroutine(self, hidden)
            self.running[id(stand_in)] = reference
            self.kept[reference.number] = stand_in
            return stand_in
        stand_in = object.__new__(self.classes[int(number)])
        remote.state(stand_in)[remote.REFERENCE] = reference
        self.remotes[reference.number] = _weakref.ref(stand_in)
        return stand_in

    def incoming_decayed(self, reference: wire.Reference, plain: Any) -> Any:
        cls = self.classes[int(reference.note.partition(":")[0])]
        if reference.number in self.kept:
            return self.kept[reference.number]
        if remote.is_exception(cls):
            stand_in: Any = remote.exception_of(cls, plain)
        else:
            base: Any = remote.plain_base(cls)
            if base is not type(plain):
                raise wire.BadFrame("not of its base")
            stand_in = base.__new__(cls, plain)
        if isinstance(type(stand_in), remote.RemoteType):
            self._note(stand_in, reference)
            self.kept[reference.number] = stand_in
        return stand_in

    def _note(self, stand_in: Any, reference: wire.Reference) -> None:
        remote.state(stand_in).update({remote.REFERENCE: reference, remote.TRUSTED: self.trusting})

    def receive_container(self, number: int, name: Any, value: Any, known: Any) -> None:
        if known is not None:
            cls = self.classes[int(known.note.partition(":")[0])]
            base: Any = remote.plain_base(cls)
            if base is not type(value):
                raise wire.BadFrame("not of its base")
            value = base.__new__(cls)  # type: ignore[call-overload]
            self._note(value, known)
        self.shared.register(number, name, value)

    def unpickle(self, data: bytes, reference: wire.Reference) -> Any:
        raise wire.BadFrame("a pickle")

    def item(self, value: Any) -> Any:
        """Return the next item of an iterator of the program; `StopIteration` at its end."""
        reply = self.ask("next", value)
        if type(reply) is tuple and len(reply) == 2 and reply[0] == "item":
            return reply[1]
        raise StopIteration

    def await_(self, value: Any) -> Any:
        """Return what an awaitable of the program comes to, run there to its end."""
        reply = self.ask("await", value)
        if type(reply) is tuple and len(reply) == 2 and reply[0] == "item":
            return reply[1]
        raise StopAsyncIteration

    def leave(self, value: Any, error: BaseException | None, name: str) -> bool:
        """Tell a context manager of the program that its block ends, and return whether the error ends there too.

        Only what the program raised or the test raised on purpose can: not what the test found wrong.
        """
        handed = error if remote.is_foreign(error) or isinstance(error, Exception) else None
        kind = None if handed is None else type(handed)
        reply = self.ask("leave", value, name, (kind, handed, None))
        return bool(reply) and (error is self.raised or self._on_purpose(error))

    def _on_purpose(self, error: BaseException | None) -> bool:
        trace = None if error is None or isinstance(error, AssertionError) else error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        return (
            trace is not None and trace.tb_frame.f_code.co_filename == TEST_FILE and trace.tb_lineno in self.raise_lines
        )

    def signature(self, value: Any) -> Any:
        """Return the signature of a function of the program."""
        inspect = __import__("inspect")
        parameters = [
            inspect.Parameter(name, inspect._ParameterKind(kind), **dict(more))
            for name, kind, more in self.ask("signature", value)
        ]
        return inspect.Signature(parameters)


def _generator(session: Session, hidden: wire.Reference) -> Any:
    operation: str = "next"
    arguments: tuple[Any, ...] = ()
    while True:
        reply = session.ask(operation, hidden, *arguments)
        if type(reply) is not tuple or len(reply) != 2 or reply[0] != "item":
            return reply[1] if type(reply) is tuple and len(reply) == 2 else None
        try:
            sent = yield reply[1]
        except GeneratorExit:
            session.ask("close", hidden)
            raise
        except Exception as error:
            operation, arguments = "throw", (error,)
        else:
            operation, arguments = ("next", ()) if sent is None else ("send", (sent,))


async def _coroutine(session: Session, hidden: wire.Reference) -> Any:
    reply = session.ask("await", hidden)
    return reply[1] if type(reply) is tuple and len(reply) == 2 else None
