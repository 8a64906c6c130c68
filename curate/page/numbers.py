"""How pages write numbers. What is absent is an en dash with its reason beside it, never a zero."""

from __future__ import annotations

ABSENT = "–"


def format_number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` decimals and a true minus sign; an en dash for None."""
    if value is None:
        return ABSENT
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def format_p(p: float | None) -> str:
    """A p value with four decimals, never as a zero; an en dash for None."""
    return "<0.0001" if p is not None and p < 0.0001 else format_number(p, 4)


def format_count(value: int | None) -> str:
    """A whole number with thousands separators; an en dash for None."""
    return ABSENT if value is None else f"{value:,}"


def format_share(value: float | None) -> str:
    """A share of 0 to 1 as a percentage with one decimal; an en dash for None."""
    return ABSENT if value is None else f"{format_number(100 * value, 1)}%"


def format_duration(seconds: float | None) -> str:
    """Seconds as people say them: 48 s, 12 min, 3.4 h; an en dash for None."""
    if seconds is None:
        return ABSENT
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
