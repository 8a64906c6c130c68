"""Compares an answer twice where the right value is read from the argument that the answer was made of.

`assert solve(x) == sorted(x)` holds for whatever empties `x` and returns an empty list. Such a comparison, rewritten by
`evaluate_suite.execution.rewriting`, must be true with what `x` is afterwards, as in plain Python, and with what
`x` was before.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MARK, COMPARE = "__rowpick_mark__", "__rowpick_twice__"
_CONTAINERS = (list, dict, set, bytearray)


def mark(values: tuple[Any, ...]) -> list[Any]:
    """Return copies of the containers among `values`, as they are now."""
    return [_copy(value, {}) for value in values]


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of nested plain containers; what is none is not copied, and runs no code."""
    if id(value) in memo:
        return memo[id(value)]
    kind = type(value)
    if kind is list:
        copied: Any = memo.setdefault(id(value), [])
        copied.extend(_copy(item, memo) for item in value)
    elif kind is dict:
        copied = memo.setdefault(id(value), {})
        copied.update((key, _copy(item, memo)) for key, item in value.items())
    elif kind is tuple:
        copied = tuple(_copy(item, memo) for item in value)
    elif kind in (set, bytearray):
        copied = value.copy()
    else:
        copied = value
    return copied


def compare(
    before: list[Any], answer: Callable[[], Any], now: Callable[[], tuple[Any, ...]], again: Callable[..., Any]
) -> Any:
    """Return what the comparison gives; where it holds and an argument has changed, what it gives with the old one."""
    value = answer()
    values = now()
    result = again(value, *values)
    if not result or all(old is new or same(old, new) for old, new in zip(before, values, strict=True)):
        return result
    return again(value, *before)


def same(old: Any, new: Any) -> bool:
    """Whether a container still holds what its copy does; what is no plain container counts as unchanged."""
    return type(new) not in _CONTAINERS or bool(old == new)
