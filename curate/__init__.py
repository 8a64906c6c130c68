"""Choose rows: a pool in, a bounded and explained selection out.

import curate

selection = curate.select(curate.SelectConfig(dataset="stdlib", model="smollm2-135m", k=1000))
print(selection.path, len(selection.selected))
"""

from typing import TYPE_CHECKING

from curate.lazy import load_when_used

if TYPE_CHECKING:
    from curate.comparison.recipe import compare
    from curate.comparison.record import Comparison, read_comparison
    from curate.config import CompareConfig, SelectConfig
    from curate.errors import GateError, UsageError, UserError
    from curate.pipeline import select
    from curate.selection.record import Selection, read_selection

__all__ = [
    "CompareConfig",
    "Comparison",
    "GateError",
    "SelectConfig",
    "Selection",
    "UsageError",
    "UserError",
    "compare",
    "read_comparison",
    "read_selection",
    "select",
]

__getattr__ = load_when_used(
    __name__,
    {
        "CompareConfig": "curate.config",
        "Comparison": "curate.comparison.record",
        "GateError": "curate.errors",
        "SelectConfig": "curate.config",
        "Selection": "curate.selection.record",
        "UsageError": "curate.errors",
        "UserError": "curate.errors",
        "compare": "curate.comparison.recipe",
        "read_comparison": "curate.comparison.record",
        "read_selection": "curate.selection.record",
        "select": "curate.pipeline",
    },
)
