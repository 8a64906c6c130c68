"""Values of the standard library (and of NumPy) that cross the line as plain data, each with what it is made of.

What stands in these tables is all that a message can name: making one runs its type's own constructor and nothing else.
"""

from __future__ import annotations

import builtins
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BUILTIN = type(len)
_KINDS = set("biufcSUmM?")  # of NumPy's types: those that hold no objects
# Types and functions that mean the same on both sides. The functions have no effect but their result.
_TYPES = "bool int float complex str bytes bytearray list tuple set frozenset dict range slice object"
_FUNCTIONS = "abs all any len max min sum sorted round divmod pow ord chr hex bin oct repr hash ascii"
_GLOBALS: dict[tuple[str, str], Any] = {
    ("builtins", name): getattr(builtins, name) for name in (_TYPES + " " + _FUNCTIONS).split()
}
_GLOBALS |= {
    ("builtins", name): value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException) and value.__name__ == name
}
_GLOBALS |= {("types", "NoneType"): type(None), ("types", "EllipsisType"): type(...)}
_NAMES = {id(value): name for name, value in _GLOBALS.items()}
# Types of the standard library that a program may name and whose modules are loaded when it does.
STANDARD_TYPES = {
    *(("collections", name) for name in ("Counter", "OrderedDict", "deque", "defaultdict", "ChainMap", "UserList",
      "UserDict", "UserString")),
    ("decimal", "Decimal"), ("fractions", "Fraction"), ("datetime", "date"), ("datetime", "datetime"),
    ("datetime", "timedelta"), ("datetime", "time"), ("datetime", "timezone"), ("uuid", "UUID"), ("array", "array"),
    ("pathlib", "Path"), ("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"), ("types", "SimpleNamespace"),
    ("enum", "Enum"), ("enum", "IntEnum"), ("io", "StringIO"), ("io", "BytesIO"),
}  # fmt: skip


def global_name(value: Any) -> tuple[str, str] | None:
    """Return the name under which both sides know a type or function, None where it has none."""
    if id(value) in _NAMES:
        return _NAMES[id(value)]
    if isinstance(value, type):
        name = (_module_of(value), str(getattr(value, "__name__", "")))
        if name in STANDARD_TYPES and getattr(sys.modules.get(name[0]), name[1], None) is value:
            return name
    return None


def global_of(name: Any) -> Any:
    """Return the type or function of a name of the tables; anything else is a `KeyError`."""
    if name in STANDARD_TYPES:
        return getattr(__import__(name[0]), name[1])
    return _GLOBALS[name]


def _module_of(kind: type) -> str:
    module = getattr(kind, "__module__", "")
    return {"_io": "io", "_collections": "collections", "_decimal": "decimal", "_datetime": "datetime"}.get(
        module, module if type(module) is str else ""
    )


def _date(v: Any) -> tuple[Any, ...]:
    return (v.year, v.month, v.day)


def _time(v: Any) -> tuple[Any, ...]:
    return (v.hour, v.minute, v.second, v.microsecond, v.tzinfo, v.fold)


def _clock(kind: Any, *parts: Any) -> Any:
    return kind(*parts[:-1], fold=parts[-1])


def _numpy_parts(v: Any) -> tuple[Any, ...]:
    return (v.dtype.str, v.tobytes())


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    return array_of(dtype, (), data)[()]


def array_of(dtype: Any, shape: Any, data: bytes | None) -> Any:
    """Return a NumPy array of plain numbers, texts or times (zeros without `data`).

    The letters that `dtype` may have admit no objects.
    """
    if type(dtype) is not str or dtype[:1] not in "<>|=" or dtype[1:2] not in _KINDS or "," in dtype:
        raise ValueError("dtype")
    numpy = __import__("numpy")
    if data is None:
        return numpy.zeros(shape, numpy.dtype(dtype))
    return numpy.frombuffer(data, numpy.dtype(dtype)).reshape(shape).copy()


def _tensor(kind: Any, dtype: Any, shape: Any, data: Any, name: str) -> Any:
    torch = __import__("torch")
    tensor = torch.from_numpy(array_of(dtype, shape, data))
    return tensor.to(getattr(torch, name)) if name == "bfloat16" else tensor


def _tensor_parts(v: Any) -> tuple[Any, ...]:
    name = str(v.dtype).removeprefix("torch.")
    array = (v.float() if name == "bfloat16" else v).detach().cpu().numpy()
    return (array.dtype.str, array.shape, array.tobytes(), name)


def _series_parts(v: Any) -> tuple[Any, ...]:
    return (tuple(v.tolist()), str(v.dtype), *_index_parts(v.index), v.name)


def _index_parts(v: Any) -> tuple[Any, ...]:
    if type(v).__name__ == "RangeIndex":
        return (range(v.start, v.stop, v.step), "range", v.name)
    return (tuple(v.tolist()), str(v.dtype), v.name)


def _index(data: Any, dtype: str, name: Any) -> Any:
    pandas = __import__("pandas")
    return pandas.RangeIndex(data, name=name) if dtype == "range" else pandas.Index(list(data), dtype=dtype, name=name)


def _series(kind: Any, data: Any, dtype: str, index: Any, index_type: str, index_name: Any, name: Any) -> Any:
    return kind(list(data), dtype=dtype, index=_index(index, index_type, index_name), name=name)


def _frame_parts(v: Any) -> tuple[Any, ...]:
    columns = tuple((tuple(c.tolist()), str(c.dtype)) for c in (v.iloc[:, i] for i in range(v.shape[1])))
    return (columns, *_index_parts(v.index), *_index_parts(v.columns))


def _frame(kind: Any, columns: Any, *parts: Any) -> Any:
    pandas = __import__("pandas")
    index = _index(*parts[:3])
    series = {i: pandas.Series(list(data), dtype=dtype, index=index) for i, (data, dtype) in enumerate(columns)}
    frame = kind(series, index=index)
    frame.columns = _index(*parts[3:])
    return frame


def _pairs(*items: Any) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


# (module, type): what it is made of, and how it is made of that; the type itself comes as first argument.
_VALUES: dict[tuple[str, str], tuple[Callable[[Any], tuple[Any, ...]], Callable[..., Any]]] = {
    ("builtins", "range"): (lambda v: (v.start, v.stop, v.step), lambda k, *a: k(*a)),
    ("builtins", "slice"): (lambda v: (v.start, v.stop, v.step), lambda k, *a: k(*a)),
    ("builtins", "dict_keys"): (tuple, lambda k, *a: dict.fromkeys(a).keys()),
    ("builtins", "dict_values"): (tuple, lambda k, *a: dict(enumerate(a)).values()),
    ("builtins", "dict_items"): (lambda v: tuple(x for p in v for x in p), lambda k, *a: _pairs(*a).items()),
    ("builtins", "memoryview"): (lambda v: (v.tobytes(),), lambda k, *a: k(*a)),
    ("decimal", "Decimal"): (lambda v: (str(v),), lambda k, *a: k(*a)),
    ("fractions", "Fraction"): (lambda v: (v.numerator, v.denominator), lambda k, *a: k(*a)),
    ("datetime", "date"): (_date, lambda k, *a: k(*a)),
    ("datetime", "datetime"): (lambda v: (*_date(v), *_time(v)), _clock),
    ("datetime", "time"): (_time, _clock),
    ("datetime", "timedelta"): (lambda v: (v.days, v.seconds, v.microseconds), lambda k, *a: k(*a)),
    ("datetime", "timezone"): (lambda v: v.__getinitargs__(), lambda k, *a: k(*a)),
    ("uuid", "UUID"): (lambda v: (v.bytes,), lambda k, b: k(bytes=b)),
    ("pathlib", "PosixPath"): (lambda v: (str(v),), lambda k, *a: k(*a)),
    ("pathlib", "PurePosixPath"): (lambda v: (str(v),), lambda k, *a: k(*a)),
    ("collections", "UserString"): (lambda v: (v.data,), lambda k, *a: k(*a)),
    ("ipaddress", "IPv4Address"): (lambda v: (str(v),), lambda k, *a: k(*a)),
    ("ipaddress", "IPv6Address"): (lambda v: (str(v),), lambda k, *a: k(*a)),
    ("ipaddress", "IPv4Network"): (lambda v: (str(v),), lambda k, *a: k(*a)),
    ("types", "MappingProxyType"): (lambda v: (dict(v),), lambda k, *a: k(*a)),
    ("re", "Pattern"): (lambda v: (v.pattern, v.flags), lambda k, p, f: __import__("re").compile(p, f)),
    ("pandas", "Series"): (_series_parts, _series),
    ("pandas", "DataFrame"): (_frame_parts, _frame),
    ("pandas", "Index"): (_index_parts, lambda k, *a: _index(*a)),
    ("pandas", "RangeIndex"): (_index_parts, lambda k, *a: _index(*a)),
    ("torch", "Tensor"): (_tensor_parts, _tensor),
    ("zoneinfo", "ZoneInfo"): (lambda v: (v.key,), lambda k, *a: k(*a)),
}


def parts_of(value: Any) -> tuple[tuple[str, str], tuple[Any, ...]] | None:
    """Return the name of a value's type and what it is made of, None where the tables do not have it."""
    kind = type(value)
    module = _module_of(kind)
    if module == "numpy" and _is_numpy_scalar(value):
        return ("numpy", "generic"), _numpy_parts(value)
    if module.startswith("numpy.dtype"):
        return _dtype_parts(value)
    if module.startswith("pandas."):
        module = "pandas"
    name = (module, str(getattr(kind, "__name__", "")))
    if name == ("builtins", "mappingproxy"):
        name = ("types", "MappingProxyType")
    known = name[0] == "builtins" or getattr(sys.modules.get(name[0]), name[1], None) is kind
    if name not in _VALUES or not known:
        return None
    try:
        return name, _VALUES[name][0](value)
    except Exception:  # a value that its type can hold and these tables cannot
        return None


def _dtype_parts(value: Any) -> tuple[tuple[str, str], tuple[Any, ...]] | None:
    known = isinstance(value, sys.modules["numpy"].dtype) and value.kind in _KINDS
    return (("numpy", "dtype"), (value.str,)) if known else None


def _is_numpy_scalar(value: Any) -> bool:
    generic = getattr(sys.modules.get("numpy"), "generic", None)
    dtype: Any = getattr(value, "dtype", None)
    return isinstance(generic, type) and isinstance(value, generic) and dtype.kind in _KINDS


def made_of(name: Any, parts: Any) -> Any:
    """Return the value of that type and parts."""
    if name == ("numpy", "generic"):
        return _numpy_scalar(*parts)
    if name == ("numpy", "dtype"):
        empty: Any = array_of(parts[0], (0,), None)
        return empty.dtype
    make = _VALUES[name][1]
    kind = getattr(__import__(name[0]), name[1], None)
    return make(kind, *parts)
