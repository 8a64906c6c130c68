"""What the steps of a report hand on: the request, the runs with what was measured, the tasks that were executed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from curate.artifact import digest_json
from curate.selection.record import Selection
from evaluate_suite.config import ReportConfig
from evaluate_suite.execution.backends import is_own
from evaluate_suite.execution.limits import DEFAULT_LIMITS
from evaluate_suite.generation.raw_prompts import RawPrompt
from evaluate_suite.generation.record import DecodingSettings, Generation
from evaluate_suite.metrics import ExecutionOutcome
from evaluate_suite.metrics.generation_files import ScoredFile
from evaluate_suite.reporting.eval_loss import EvalRows, RowEval
from evaluate_suite.reporting.models import ReportModels
from evaluate_suite.reporting.record import ShownRow
from evaluate_suite.tasks.task_files import Task
from finetune.run.record import Run


@dataclass
class Evaluation:
    """One run with everything measured about it. Losses are in the order of the scored held-out rows."""

    run: Run
    selection: Selection
    base_losses: list[RowEval] = field(default_factory=list)
    tuned_losses: list[RowEval] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.run.path.name)


@dataclass
class Work:
    """What the steps hand on."""

    config: ReportConfig
    evaluations: list[Evaluation]
    settings: DecodingSettings
    prompts: list[RawPrompt]
    rows: EvalRows
    models: ReportModels
    execution: Execution | None = None
    base_generations: list[Generation] = field(default_factory=list)
    shown_rows: list[ShownRow] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of a block to the manifest's `seconds`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


@dataclass
class Execution:
    """The tasks, and by model (base first) its answers and what running them showed."""

    tasks: dict[str, Task]
    backend: str
    generations: dict[str, list[Generation]] = field(default_factory=dict)
    outcomes: dict[str, dict[tuple[str, int], ExecutionOutcome]] = field(default_factory=dict)

    @property
    def prompts(self) -> list[RawPrompt]:
        return [RawPrompt(task.task_id, task.prompt, "python") for task in self.tasks.values()]

    @property
    def digest(self) -> str:
        backend = [] if is_own(self.backend) else [self.backend]
        return digest_json([[asdict(task) for task in self.tasks.values()], asdict(DEFAULT_LIMITS), *backend])


@dataclass(frozen=True)
class Scored:
    """Every model's generations with their scores, base first, then the runs in order."""

    names: list[str]
    files: list[ScoredFile]
