"""Plain data as bytes and back: the only thing that crosses between the tested program and its judge.

Decoding never runs code of the sender and yields exact built-in types, so no value carries an `__eq__`.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False  # the module typing costs more to import than all of this one
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_FRAME_BYTES = 32 << 20
MAX_DEPTH = 200
_STDLIB_VALUES = {
    ("collections", "Counter"), ("collections", "OrderedDict"), ("collections", "deque"), ("decimal", "Decimal"),
    ("fractions", "Fraction"), ("datetime", "date"), ("datetime", "datetime"), ("datetime", "timedelta"),
    ("datetime", "time"),
}  # fmt: skip


class Closed(Exception):
    """The other end is gone."""


class BadFrame(Exception):
    """What arrived is not a frame of this format."""


class Reference:
    """A value that stays in the tested program; `number` names it there."""

    __slots__ = ("kind", "number")

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind


def read_exactly(fd: int, size: int) -> bytes:
    """`size` bytes of `fd`; `Closed` when it ends before."""
    parts = []
    while size:
        try:
            part = os.read(fd, min(size, 1 << 20))
        except OSError:
            raise Closed from None
        if not part:
            raise Closed
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def send(fd: int, data: bytes) -> None:
    """Write one frame: four bytes of length, then `data`."""
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame("value too large")
    view = memoryview(struct.pack("<I", len(data)) + data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError:
            raise Closed from None


def receive(fd: int) -> bytes:
    """The next frame of `fd`."""
    (size,) = struct.unpack("<I", read_exactly(fd, 4))
    if size > MAX_FRAME_BYTES:
        raise BadFrame("frame too large")
    return read_exactly(fd, size)


def _sized(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("<I", len(body)) + body


def encode(value: Any, keep: Callable[[Any], Reference] | None = None) -> bytes:
    """`value` as bytes. What is not plain data goes through `keep`, which returns a `Reference` to it."""
    out: list[bytes] = []
    _encode(value, out, keep, 0)
    return b"".join(out)


def _encode(value: Any, out: list[bytes], keep: Callable[[Any], Reference] | None, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadFrame("value nested too deeply")
    kind = type(value)
    if value is None:
        out.append(b"N")
    elif kind is bool:
        out.append(b"T" if value else b"F")
    elif kind is int:
        out.append(_sized(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)))
    elif kind is float:
        out.append(b"f" + struct.pack("<d", value))
    elif kind is complex:
        out.append(b"c" + struct.pack("<dd", value.real, value.imag))
    elif kind is str:
        out.append(_sized(b"s", value.encode("utf-8", "surrogatepass")))
    elif kind is bytes or kind is bytearray:
        out.append(_sized(b"b" if kind is bytes else b"a", bytes(value)))
    elif kind in _SEQUENCES:
        out.append(_SEQUENCES[kind] + struct.pack("<I", len(value)))
        for item in list(value):
            _encode(item, out, keep, depth + 1)
    elif kind is dict:
        out.append(b"d" + struct.pack("<I", len(value)))
        for key, item in list(value.items()):
            _encode(key, out, keep, depth + 1)
            _encode(item, out, keep, depth + 1)
    elif kind is range:
        out.append(b"r")
        for item in (value.start, value.stop, value.step):
            _encode(item, out, keep, depth + 1)
    elif kind is Reference:
        out.append(_sized(b"h", struct.pack("<I", value.number) + value.kind.encode("utf-8", "replace")))
    else:
        _encode_other(value, out, keep, depth)


_SEQUENCES: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"e", frozenset: b"z"}


def _encode_other(value: Any, out: list[bytes], keep: Callable[[Any], Reference] | None, depth: int) -> None:
    kind = type(value)
    name = (kind.__module__, kind.__name__)
    if name in _STDLIB_VALUES:
        out.append(b"v")
        _encode(name, out, None, depth + 1)
        _encode(_constructor_arguments(value, kind.__name__), out, keep, depth + 1)
        return
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        _encode(value.tolist(), out, keep, depth + 1)
        return
    if kind.__name__ == "defaultdict":
        _encode(dict(value), out, keep, depth)
        return
    base: Any
    for base in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict):
        if isinstance(value, base) and keep is not None:
            plain: Any = {**value} if base is dict else base.__new__(base) if base in (list, set, bytearray) else None
            if base is list:
                plain = list.__getitem__(value, slice(None))
            elif base in (set, frozenset, tuple):
                plain = base([*value])
            elif plain is None or base is bytearray:
                plain = base(value)
            if type(plain) is base:
                _encode(plain, out, keep, depth + 1)
                return
    if keep is None:
        raise BadFrame(f"{kind.__name__} is not plain data")
    _encode(keep(value), out, None, depth + 1)


def _constructor_arguments(value: Any, name: str) -> tuple[Any, ...]:
    if name in ("Counter", "OrderedDict"):
        return (dict(value),)
    if name == "deque":
        return (list(value), value.maxlen)
    if name == "Decimal":
        return (str(value),)
    if name == "Fraction":
        return (value.numerator, value.denominator)
    if name == "timedelta":
        return (value.days, value.seconds, value.microseconds)
    if name == "date":
        return (value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond)
    return clock if name == "time" else (value.year, value.month, value.day, *clock)


def decode(data: bytes, resolve: Callable[[Reference], Any] | None = None) -> Any:
    """The value that `encode` wrote. References go through `resolve`; anything malformed is `BadFrame`."""
    try:
        value, end = _decode(data, 0, resolve, 0)
    except BadFrame:
        raise
    except Exception as error:
        raise BadFrame(type(error).__name__) from None
    if end != len(data):
        raise BadFrame("bytes left over")
    return value


def _decode(data: bytes, at: int, resolve: Callable[[Reference], Any] | None, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH + 5:
        raise BadFrame("nested too deeply")
    tag = data[at : at + 1]
    at += 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == b"f":
        return struct.unpack_from("<d", data, at)[0], at + 8
    if tag == b"c":
        return complex(*struct.unpack_from("<dd", data, at)), at + 16
    if tag == b"r":
        bounds = []
        for _ in range(3):
            item, at = _decode(data, at, resolve, depth + 1)
            bounds.append(item)
        return range(*bounds), at
    if tag == b"v":
        name, at = _decode(data, at, None, depth + 1)
        arguments, at = _decode(data, at, resolve, depth + 1)
        if name not in _STDLIB_VALUES:
            raise BadFrame("unknown type")
        return getattr(__import__(name[0]), name[1])(*arguments), at
    (size,) = struct.unpack_from("<I", data, at)
    at += 4
    if tag in b"ltezd":
        if size > len(data):
            raise BadFrame("length too large")
        items = []
        for _ in range(size * 2 if tag == b"d" else size):
            item, at = _decode(data, at, resolve, depth + 1)
            items.append(item)
        if tag == b"d":
            return dict(zip(items[::2], items[1::2], strict=True)), at
        return {b"l": list, b"t": tuple, b"e": set, b"z": frozenset}[tag](items), at
    body = data[at : at + size]
    if len(body) != size:
        raise BadFrame("truncated")
    at += size
    if tag == b"i":
        return int.from_bytes(body, "little", signed=True), at
    if tag == b"s":
        return body.decode("utf-8", "surrogatepass"), at
    if tag == b"b":
        return body, at
    if tag == b"a":
        return bytearray(body), at
    if tag == b"h" and resolve is not None:
        return resolve(Reference(struct.unpack_from("<I", body)[0], body[4:].decode("utf-8", "replace"))), at
    raise BadFrame("unknown tag")


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}
