"""The metrics: one file each, one line each in `METRICS`, in the order reports show them.

Another package adds one with an entry point of the group `rowpick.metrics`: a report computes what every metric needs
and has a column for each.
"""

from curate.extensions import Table
from evaluate_suite.metrics import (
    answered,
    chrf,
    contains_code,
    language_match,
    memorisation,
    parse_rate,
    passes_tests,
    prompt_echo,
    repeated_ngrams,
    runs,
    stop_gap,
    stopped_by_itself,
    trailing_share,
    well_formed_answer,
)
from evaluate_suite.metrics.types import (
    ExecutionOutcome,
    Metric,
    MetricContext,
    MetricSummary,
    Score,
    apply,
    summarise,
)

_OWN: dict[str, Metric] = {
    "well_formed_answer": well_formed_answer.METRIC,
    "answered": answered.METRIC,
    "stopped_by_itself": stopped_by_itself.METRIC,
    "contains_code": contains_code.METRIC,
    "parse_rate": parse_rate.METRIC,
    "language_match": language_match.METRIC,
    "trailing_share": trailing_share.METRIC,
    "prompt_echo": prompt_echo.METRIC,
    "repeated_ngrams": repeated_ngrams.METRIC,
    "chrf": chrf.METRIC,
    "memorisation": memorisation.METRIC,
    "runs": runs.METRIC,
    "passes_tests": passes_tests.METRIC,
    "stop_gap": stop_gap.METRIC,
}
METRICS = Table("rowpick.metrics", Metric, _OWN)
# Names that metrics had in earlier versions; artifacts and scripts may hold them.
OLD_NAMES = {"clean_answer": "well_formed_answer"}


def metrics_that_need(*needs: str) -> tuple[str, ...]:
    """Return the names of the metrics whose declared need is one of these, in the table's order."""
    return tuple(name for name, metric in METRICS.items() if metric.needs in needs)


__all__ = [
    "METRICS",
    "OLD_NAMES",
    "ExecutionOutcome",
    "Metric",
    "MetricContext",
    "MetricSummary",
    "Score",
    "apply",
    "metrics_that_need",
    "summarise",
]
