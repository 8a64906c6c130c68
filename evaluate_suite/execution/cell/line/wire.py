"""Values as bytes and back: the only thing that crosses between the tested program and its judge.

Decoding never runs code of the sender. What is no plain data crosses as a `Reference`, a number that its owner knows.
"""

from __future__ import annotations

import os
import struct

from . import values

TYPE_CHECKING = False  # the module typing costs more to import than all of this one
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Ends(Protocol):
        """What an end of the line does with the values that are no plain data."""

        def outgoing(self, value: Any) -> Reference | Decayed | Pickled | None: ...

        def incoming(self, reference: Reference) -> Any: ...

        def incoming_decayed(self, reference: Reference, plain: Any) -> Any: ...

        def unpickle(self, data: bytes, reference: Reference) -> Any: ...


MAX_FRAME_BYTES = 128 << 20
MAX_DEPTH = 200


class Closed(Exception):
    """The other end is gone."""


class BadFrame(Exception):
    """What arrived is not a frame of this format."""


class Reference:
    """A value by number: `space` says whose numbers (h: the program's things, j: the judge's, S: shared containers)."""

    __slots__ = ("note", "number", "space")

    def __init__(self, space: str, number: int, note: str = "") -> None:
        self.space = space
        self.number = number
        self.note = note


class Decayed:
    """A value of a subclass of a plain type: a reference to it, and the plain value that it amounts to."""

    __slots__ = ("plain", "reference")

    def __init__(self, reference: Reference, plain: Any) -> None:
        self.reference = reference
        self.plain = plain


class Pickled:
    """A value of the judge's as a pickle, which only the tested program's end unpacks."""

    __slots__ = ("data", "reference")

    def __init__(self, reference: Reference, data: bytes) -> None:
        self.reference = reference
        self.data = data


def read_exactly(fd: int, size: int) -> bytes:
    """Return `size` bytes of `fd`; `Closed` when it ends before."""
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
    for view in (memoryview(struct.pack("<I", len(data))), memoryview(data)):
        while view:
            try:
                view = view[os.write(fd, view) :]
            except OSError:
                raise Closed from None


def receive(fd: int) -> bytes:
    """Return the next frame of `fd`."""
    (size,) = struct.unpack("<I", read_exactly(fd, 4))
    if size > MAX_FRAME_BYTES:
        raise BadFrame("frame too large")
    return read_exactly(fd, size)


def _sized(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("<I", len(body)) + body


def encode(value: Any, ends: Ends | None = None) -> bytes:
    """Return `value` as bytes. What is not plain data is asked of `ends`; without them it is a `BadFrame`."""
    out: list[bytes] = []
    _encode(value, out, ends, 0)
    return b"".join(out)


def _encode(value: Any, out: list[bytes], ends: Ends | None, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadFrame("value nested too deeply")
    kind = type(value)
    if value is None:
        out.append(b"N")
    elif kind is bool:
        out.append(b"T" if value else b"F")
    elif kind is int:
        out.append(_sized(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)))
    elif kind is float and (value == value or ends is None):
        out.append(b"f" + struct.pack("<d", value))
    elif kind is complex:
        out.append(b"c" + struct.pack("<dd", value.real, value.imag))
    elif kind is str:
        out.append(_sized(b"s", value.encode("utf-8", "surrogatepass")))
    elif kind is bytes:
        out.append(_sized(b"b", value))
    elif kind is tuple or kind is frozenset or (ends is None and kind in _SEQUENCES):
        out.append(_SEQUENCES[kind] + struct.pack("<I", len(value)))
        for item in list(value):
            _encode(item, out, ends, depth + 1)
    elif kind is Reference:
        out.append(_sized(b"h", value.space.encode() + struct.pack("<I", value.number) + _note(value.note)))
    elif value is Ellipsis or value is NotImplemented:
        out.append(b"." if value is Ellipsis else b"!")
    else:
        _encode_other(value, out, ends, depth)


def _note(text: str) -> bytes:
    return text.encode("utf-8", "replace")


_SEQUENCES: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"e", frozenset: b"z"}


def _encode_other(value: Any, out: list[bytes], ends: Ends | None, depth: int) -> None:
    kind = type(value)
    if kind is dict and ends is None:
        out.append(b"d" + struct.pack("<I", len(value)))
        for item in [part for pair in list(value.items()) for part in pair]:
            _encode(item, out, ends, depth + 1)
        return
    if kind is bytearray and ends is None:
        out.append(_sized(b"a", bytes(value)))
        return
    if isinstance(value, type) or kind is values.BUILTIN:
        if (name := values.global_name(value)) is not None:
            out.append(b"g")
            _encode(name, out, None, depth + 1)
            return
    elif (parts := values.parts_of(value)) is not None:
        out.append(b"v")
        _encode(parts[0], out, None, depth + 1)
        _encode(parts[1], out, ends, depth + 1)
        return
    known = None if ends is None else ends.outgoing(value)
    if type(known) is Decayed:
        out.append(b"k")
        _encode(known.reference, out, None, depth + 1)
        _encode(known.plain, out, ends, depth + 1)
    elif type(known) is Pickled:
        out.append(b"p")
        _encode(known.reference, out, None, depth + 1)
        _encode(known.data, out, None, depth + 1)
    elif known is not None:
        _encode(known, out, None, depth + 1)
    elif kind is float:
        out.append(b"f" + struct.pack("<d", value))
    else:
        raise BadFrame(f"{kind.__name__} is not plain data")


def decode(data: bytes, ends: Ends | None = None) -> Any:
    """Return the value that `encode` wrote. References go through `ends`; anything malformed is `BadFrame`."""
    value, end = decode_at(data, 0, ends)
    if end != len(data):
        raise BadFrame("bytes left over")
    return value


def decode_at(data: bytes, at: int, ends: Ends | None = None) -> tuple[Any, int]:
    """Return the value that starts at `at`, and where it ends."""
    try:
        return _decode(data, at, ends, 0)
    except BadFrame:
        raise
    except Exception as error:
        raise BadFrame(type(error).__name__) from None


def _decode(data: bytes, at: int, ends: Ends | None, depth: int) -> tuple[Any, int]:
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
    if tag == b"g":
        name, at = _decode(data, at, None, depth + 1)
        return values.global_of(name), at
    if tag in b"vkp" and tag:
        first, at = _decode(data, at, _AsReference if tag != b"v" else None, depth + 1)
        second, at = _decode(data, at, ends, depth + 1)
        return _put_together(tag, first, second, ends), at
    (size,) = struct.unpack_from("<I", data, at)
    at += 4
    if tag and tag in b"ltezd":
        return _decode_many(tag, size, data, at, ends, depth)
    body = data[at : at + size]
    if len(body) != size:
        raise BadFrame("truncated")
    return _decode_sized(tag, body, ends), at + size


def _decode_many(tag: bytes, size: int, data: bytes, at: int, ends: Ends | None, depth: int) -> tuple[Any, int]:
    if size > len(data):
        raise BadFrame("length too large")
    items = []
    for _ in range(size * 2 if tag == b"d" else size):
        item, at = _decode(data, at, ends, depth + 1)
        items.append(item)
    if tag == b"d":
        return dict(zip(items[::2], items[1::2], strict=True)), at
    return {b"l": list, b"t": tuple, b"e": set, b"z": frozenset}[tag](items), at


def _put_together(tag: bytes, first: Any, second: Any, ends: Ends | None) -> Any:
    if tag == b"v":
        return values.made_of(first, second)
    if ends is None or type(first) is not Reference:
        raise BadFrame("no reference")
    return ends.incoming_decayed(first, second) if tag == b"k" else ends.unpickle(second, first)


def _decode_sized(tag: bytes, body: bytes, ends: Any) -> Any:
    if tag == b"i":
        return int.from_bytes(body, "little", signed=True)
    if tag == b"s":
        return body.decode("utf-8", "surrogatepass")
    if tag == b"b":
        return body
    if tag == b"a":
        return bytearray(body)
    if tag == b"h" and ends is not None:
        (number,) = struct.unpack_from("<I", body, 1)
        reference = Reference(body[:1].decode(), number, body[5:].decode("utf-8", "replace"))
        return reference if ends is _AsReference else ends.incoming(reference)
    raise BadFrame("unknown tag")


_AsReference: Any = object()
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False, b".": Ellipsis, b"!": NotImplemented}
