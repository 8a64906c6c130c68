"""Our metrics for the `evaluate` library: `evaluate.load(adapter_path(), "parse_rate")`."""

from pathlib import Path


def adapter_path() -> str:
    """The path that `evaluate.load` takes; the second argument names a metric of `evaluate_suite.metrics.METRICS`."""
    return str(Path(__file__).parent / "rowpick_metric.py")
