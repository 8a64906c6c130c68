"""The line between program and judge carries plain data exactly, and nothing else whatever is written to it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate_suite.execution.cell.line import wire

KEYS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.floats(allow_nan=False))
VALUES = st.recursive(
    st.one_of(KEYS, st.complex_numbers(allow_nan=False), st.dates(), st.timedeltas(), st.fractions()),
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner), st.sets(KEYS), st.frozensets(KEYS)
    ),
    max_leaves=20,
)  # fmt: skip


def shape(value: Any) -> Any:
    """Types all the way down: 1 == True == 1.0 would hide a changed one."""
    if isinstance(value, dict):
        return dict, [(shape(k), shape(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shape(v) for v in value]
    return type(value)


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_plain_data_arrives_as_it_left(value: Any) -> None:
    back = wire.decode(wire.encode(value))
    assert back == value
    assert shape(back) == shape(value)


@given(st.binary(max_size=200))
@settings(max_examples=800, deadline=None)
def test_noise_is_refused_or_plain_data(data: bytes) -> None:
    try:
        value = wire.decode(data, lambda reference: None)
    except wire.BadFrame:
        return
    assert type(value).__module__ in ("builtins", "collections", "datetime", "decimal", "fractions")


@given(VALUES, st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_never_raises_anything_else(value: Any, place: int, byte: int) -> None:
    data = bytearray(wire.encode(value))
    data[place % len(data)] = byte
    try:
        wire.decode(bytes(data))
    except wire.BadFrame:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"l" + struct.pack("<I", 2**32 - 1),
        (b"l" + struct.pack("<I", 1)) * 5000 + b"N",
        b"v" + wire.encode(("os", "system")) + wire.encode(("true",)),
        b"v" + wire.encode(("datetime", "sys")) + wire.encode(()),
        wire.encode(1) + b"x",
        b"",
    ],
)
def test_what_would_hurt_is_refused(data: bytes) -> None:
    with pytest.raises(wire.BadFrame):
        wire.decode(data)
