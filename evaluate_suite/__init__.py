"""Judge finished runs: loss, generations, executed code, statistics, one page.

import evaluate_suite

print(evaluate_suite.verdict("history.jsonl").verdict)
report = evaluate_suite.report(evaluate_suite.ReportConfig())  # on every finished run
print(report.path / "index.html")
"""

from typing import TYPE_CHECKING

from curate.lazy import load_when_used

if TYPE_CHECKING:
    from evaluate_suite.comparison.models import ComparedModels, compare
    from evaluate_suite.config import ExecuteConfig, ReportConfig
    from evaluate_suite.execution.recipe import ExecutionSummary, execute
    from evaluate_suite.metrics.generation_files import ScoredFile, score
    from evaluate_suite.reporting.recipe import Report, read_report, report
    from evaluate_suite.reporting.record import ReportRecord
    from evaluate_suite.training_curve.runs import verdict
    from evaluate_suite.training_curve.types import Verdict

__all__ = [
    "ComparedModels",
    "ExecuteConfig",
    "ExecutionSummary",
    "Report",
    "ReportConfig",
    "ReportRecord",
    "ScoredFile",
    "Verdict",
    "compare",
    "execute",
    "read_report",
    "report",
    "score",
    "verdict",
]

__getattr__ = load_when_used(
    __name__,
    {
        "ComparedModels": "evaluate_suite.comparison.models",
        "ExecuteConfig": "evaluate_suite.config",
        "ExecutionSummary": "evaluate_suite.execution.recipe",
        "Report": "evaluate_suite.reporting.recipe",
        "ReportConfig": "evaluate_suite.config",
        "ReportRecord": "evaluate_suite.reporting.record",
        "ScoredFile": "evaluate_suite.metrics.generation_files",
        "Verdict": "evaluate_suite.training_curve.types",
        "compare": "evaluate_suite.comparison.models",
        "execute": "evaluate_suite.execution.recipe",
        "read_report": "evaluate_suite.reporting.recipe",
        "report": "evaluate_suite.reporting.recipe",
        "score": "evaluate_suite.metrics.generation_files",
        "verdict": "evaluate_suite.training_curve.runs",
    },
)
