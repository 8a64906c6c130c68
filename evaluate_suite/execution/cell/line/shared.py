"""Containers that both ends hold: each keeps a copy, and every message brings the other's copy up to date.

So that a list which the tested program sorts in place is sorted for the test too, an alias stays an alias, and the
list that comes back is the one that was handed over. The judge numbers with even numbers, the program with odd ones.
"""

from __future__ import annotations

import sys
from operator import is_

from . import values, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Kind:
    """How a type of container is made, read and filled."""

    __slots__ = ("by_value", "content", "fill", "make", "parameters")

    def __init__(
        self,
        content: Callable[[Any], Any],
        fill: Callable[[Any, Any], object],
        make: Callable[..., Any],
        parameters: Callable[[Any], tuple[Any, ...]] = lambda v: (),
        *,
        by_value: bool = False,
    ) -> None:
        self.content = content
        self.fill = fill
        self.make = make
        self.parameters = parameters
        self.by_value = by_value


def _standard(module: str, name: str) -> Callable[..., Any]:
    return lambda *arguments: getattr(__import__(module), name)(*arguments)


def _fill_list(value: Any, content: Any) -> None:
    list.__setitem__(value, slice(None), content)


def _pairs(value: Any) -> tuple[Any, ...]:
    return tuple(part for pair in dict.items(value) for part in pair)


def _fill_dict(value: Any, content: Any) -> None:
    dict.clear(value)
    for key, item in zip(content[::2], content[1::2], strict=True):
        dict.__setitem__(value, key, item)


def _fill_ordered(value: Any, content: Any) -> None:
    value.clear()
    for key, item in zip(content[::2], content[1::2], strict=True):
        value[key] = item


def _fill_set(value: Any, content: Any) -> None:
    set.clear(value)
    set.update(value, content)


def _fill_by_extending(value: Any, content: Any) -> None:
    value.clear()
    value.extend(content)


def _fill_array(value: Any, content: Any) -> None:
    del value[:]
    value.extend(content)


def _fill_file(value: Any, content: Any) -> None:
    value.seek(0)
    value.truncate()
    value.write(content[0])
    value.seek(content[1])


def _fill_ndarray(value: Any, content: Any) -> None:
    value[...] = values.array_of(value.dtype.str, value.shape, content)


def _set_data(value: Any, content: Any) -> None:
    value.data = content[0]


def _fill_namespace(value: Any, content: Any) -> None:
    vars(value).clear()
    vars(value).update(content[0])


KINDS: dict[tuple[str, str], Kind] = {
    ("builtins", "list"): Kind(lambda v: tuple(list.__iter__(v)), _fill_list, list),
    ("builtins", "dict"): Kind(_pairs, _fill_dict, dict),
    ("builtins", "set"): Kind(lambda v: tuple(set.__iter__(v)), _fill_set, set),
    ("builtins", "bytearray"): Kind(
        bytes, lambda v, c: bytearray.__setitem__(v, slice(None), c), bytearray, by_value=True
    ),
    ("collections", "deque"): Kind(
        tuple, _fill_by_extending, lambda n: _standard("collections", "deque")((), n), lambda v: (v.maxlen,)
    ),
    ("collections", "Counter"): Kind(_pairs, _fill_dict, _standard("collections", "Counter")),
    ("collections", "OrderedDict"): Kind(
        lambda v: tuple(part for pair in v.items() for part in pair),
        _fill_ordered,
        _standard("collections", "OrderedDict"),
    ),
    ("collections", "defaultdict"): Kind(
        _pairs, _fill_dict, _standard("collections", "defaultdict"), lambda v: (v.default_factory,)
    ),
    ("collections", "UserList"): Kind(lambda v: (v.data,), _set_data, _standard("collections", "UserList")),
    ("collections", "UserDict"): Kind(lambda v: (v.data,), _set_data, _standard("collections", "UserDict")),
    ("types", "SimpleNamespace"): Kind(
        lambda v: (dict(vars(v)),), _fill_namespace, _standard("types", "SimpleNamespace")
    ),
    ("array", "array"): Kind(tuple, _fill_array, _standard("array", "array"), lambda v: (v.typecode,), by_value=True),
    ("io", "StringIO"): Kind(
        lambda v: (v.getvalue(), v.tell()), _fill_file, lambda: _standard("io", "StringIO")("", ""), by_value=True
    ),
    ("io", "BytesIO"): Kind(
        lambda v: (v.getvalue(), v.tell()), _fill_file, _standard("io", "BytesIO"), by_value=True
    ),
    ("numpy", "ndarray"): Kind(
        lambda v: v.tobytes(),
        _fill_ndarray,
        lambda dtype, shape: values.array_of(dtype, shape, None),
        lambda v: (v.dtype.str, v.shape),
        by_value=True,
    ),
}  # fmt: skip
MANY = 64  # containers; with more of them, those that the program does not hold are forgotten after each call
_PLAIN_BASES = (list, dict, set, bytearray)


def kind_of(value: Any) -> tuple[str, str] | None:
    """Return the kind of container that `value` is exactly, or is a subclass's object of; None where it is none."""
    exact = type(value)
    module = getattr(exact, "__module__", "")
    name = ({"_io": "io", "_collections": "collections"}.get(module, module), exact.__name__)
    if name in KINDS:
        if name[0] == "builtins" or getattr(sys.modules.get(name[0]), name[1], None) is exact:
            closed = name[0] == "io" and value.closed
            objects = name[0] == "numpy" and value.dtype.kind not in "biufcSUmM"
            return None if closed or objects else name
        return None
    for base in _PLAIN_BASES:
        if isinstance(value, base):
            return ("builtins", base.__name__)
    return None


class Entry:
    """One container and what the other end was last told of it."""

    __slots__ = ("kind", "snapshot", "value")

    def __init__(self, kind: Kind, value: Any) -> None:
        self.kind = kind
        self.value = value
        self.snapshot: Any = None

    def changed(self) -> bool:
        now = self.kind.content(self.value)
        if self.kind.by_value or type(self.snapshot) is not tuple:
            return bool(now != self.snapshot)
        if len(now) != len(self.snapshot):
            return True
        return not all(map(is_, now, self.snapshot))


class Shared:
    """One end's table of shared containers, and the messages that keep it level with the other end's."""

    def __init__(self, first_number: int, *, releases: bool = False) -> None:
        self.next = first_number
        self.releases = releases
        self.entries: dict[int, Entry] = {}
        self.numbers: dict[int, int] = {}
        self.queue: list[int] = []
        self.news: list[tuple[int, tuple[str, str], tuple[Any, ...], wire.Reference | None]] = []

    def number_of(self, value: Any, known: wire.Reference | None = None) -> int:
        """Return the number of a container; a new one is told to the other end with the message that names it."""
        number = self.numbers.get(id(value))
        if number is None:
            name = kind_of(value)
            if name is None:
                raise wire.BadFrame("no container")
            number, self.next = self.next, self.next + 2
            self.register(number, name, value)
            self.news.append((number, name, KINDS[name].parameters(value), known))
            self.queue.append(number)
        return number

    def register(self, number: int, name: tuple[str, str], value: Any) -> None:
        self.entries[number] = Entry(KINDS[name], value)
        self.numbers[id(value)] = number

    def forget(self, number: int) -> None:
        entry = self.entries.pop(number, None)
        if entry is not None:
            self.numbers.pop(id(entry.value), None)

    def unused(self) -> list[int]:
        """Return the numbers of the containers that nothing but this table holds."""
        alone = []
        for number, entry in list(self.entries.items()):
            value = entry.value
            if sys.getrefcount(value) > 3:
                continue
            # The entry, the name here and the argument are three; what the other end does not know yet must go first.
            if not entry.changed():
                alone.append(number)
            del value
        return alone

    def pack(self, body: Any, ends: Any, classes: Callable[[], Any]) -> bytes:
        """Return the message of `body`: new classes, new containers, what changed in the containers, then the body."""
        self.queue = [number for number, entry in self.entries.items() if entry.changed()]
        self.news = []
        try:
            last = wire.encode(body, ends)
            contents = []
            while self.queue:
                number = self.queue.pop()
                entry = self.entries[number]
                entry.snapshot = entry.kind.content(entry.value)
                contents.append(wire.encode((number, entry.snapshot), ends))
            news, count = b"", 0
            while count < len(self.news):  # parameters may be containers or things of their own
                news += wire.encode(self.news[count], _WithReferences(ends))
                count += 1
            if self.queue:
                raise wire.BadFrame("a container that needs another one to be made")
        except BaseException:
            for number, *_ in self.news:
                self.forget(number)
            raise
        released = self._release() if self.releases and len(self.entries) > MANY else ()
        new_classes = classes()
        if not (new_classes or count or contents or released):
            return _NOTHING_NEW + last
        parts = [wire.encode(new_classes), wire.encode(released), wire.encode(count), news, wire.encode(len(contents))]
        return b"".join([*parts, *contents, last])

    def _release(self) -> tuple[int, ...]:
        """Forget the containers that nothing else here holds, for the other end to forget them too.

        Without this, a test that keeps a thousand arguments would have all of them compared at each call.
        """
        released: list[int] = []
        while unused := self.unused():
            for number in unused:
                self.forget(number)
            released += unused
        return tuple(released)

    def unpack(self, data: bytes, ends: Any, learn: Callable[[Any], object]) -> Any:
        """Return the body of a message, with the containers brought up to date; anything malformed is `BadFrame`."""
        try:
            if data.startswith(_NOTHING_NEW):
                body, at = wire.decode_at(data, len(_NOTHING_NEW), ends)
                if at != len(data):
                    raise wire.BadFrame("bytes left over")
                return body
            classes, at = wire.decode_at(data, 0)
            learn(classes)
            released, at = wire.decode_at(data, at)
            count, at = wire.decode_at(data, at)
            for _ in range(count):
                (number, name, parameters, known), at = wire.decode_at(data, at, _WithReferences(ends))
                if number in self.entries or number % 2 == self.next % 2:
                    raise wire.BadFrame("a number that is not the sender's to give")
                ends.receive_container(number, name, KINDS[name].make(*parameters), known)
            count, at = wire.decode_at(data, at)
            filled = []
            for _ in range(count):
                (number, content), at = wire.decode_at(data, at, ends)
                filled.append((self.entries[number], content))
            for entry, content in filled:
                entry.kind.fill(entry.value, content)
                entry.snapshot = entry.kind.content(entry.value)
            body, at = wire.decode_at(data, at, ends)
            for number in released:
                self.forget(number)
        except (wire.BadFrame, MemoryError):
            raise
        except Exception as error:
            raise wire.BadFrame(f"{type(error).__name__}: {error}") from None
        if at != len(data):
            raise wire.BadFrame("bytes left over")
        return body


# No new classes, nothing released, no new and no changed containers.
_NOTHING_NEW = wire.encode(()) + wire.encode(()) + wire.encode(0) + wire.encode(0)


class _WithReferences:
    """Leaves the references to a container's own object as they are."""

    def __init__(self, ends: Any) -> None:
        self.outgoing = ends.outgoing
        self.incoming_decayed = ends.incoming_decayed
        self.unpickle = ends.unpickle
        self.ends = ends

    def incoming(self, reference: wire.Reference) -> Any:
        return reference if reference.note.endswith(":container") else self.ends.incoming(reference)
