"""What happens around the steps: the base model's loss first, then lines, evaluations, the best kept."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curate.console import say
from curate.errors import UserError
from finetune.batches.token_loss import mean_loss, row_losses
from finetune.config import RunConfig
from finetune.run.base_loss import require_reading
from finetune.run.checkpoints import complete_checkpoint
from finetune.run.history import History, peak_memory_gib
from finetune.run.job import Job
from finetune.run.progress import Live
from finetune.tracking.types import Session


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """Writes history, evaluates, keeps the best adapter, stops where it is asked to."""

    def __init__(self, job: Job, live: Live, session: Session) -> None:
        self.job, self.live, self.session = job, live, session
        self.rate: float | None = None  # of the step at work: after it the schedule already holds the next one's

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **_: object,
    ) -> None:
        """Measure the base model, and refuse one that reads the rows as noise."""
        job = self.job
        if not job.history.lines:
            loss = evaluate(job, model, self.live)
            vocabulary = model.config.get_text_config().vocab_size
            require_reading(model, job.config.model, loss, vocabulary, job.eval_examples, job.pad_token_id)
            self.write(0, None, loss)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        lr_scheduler: LRScheduler,
        **_: object,
    ) -> None:
        """Note the learning rate that this step uses."""
        self.rate = float(lr_scheduler.get_last_lr()[0])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **_: object,
    ) -> None:
        """Write a line, evaluate, and stop where the config, patience or Ctrl-C say so."""
        job, config = self.job, self.job.config
        step, last = state.global_step, state.global_step >= state.max_steps
        self.live.step()
        evaluating = step % config.eval_steps == 0 or last
        if evaluating or step % config.logging_steps == 0:
            self.write(step, self.rate, evaluate(job, model, self.live) if evaluating else None)
        control.should_save = evaluating
        if job.processes.any(job.interrupt.asked):
            job.interrupt.asked = control.should_save = control.should_training_stop = True
        if evaluating and out_of_patience(job.history, config):
            say(f"Stopping early: no lower eval loss in {config.early_stopping_patience} evaluations.")
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Mark the checkpoint as whole once every process has written its part."""
        job = self.job
        meter_state = job.meter.state(job.processes)
        job.processes.wait()
        if job.processes.first:
            complete_checkpoint(job.checkpoints, state.global_step, job.history, meter_state)
        job.history.resume_clock()

    def write(self, step: int, rate: float | None, eval_loss: float | None) -> None:
        """Write one line to history, tracker and terminal; a loss that is no number ends the run."""
        job, history, meter = self.job, self.job.history, self.job.meter
        loss, share, tokens = meter.take(job.processes)
        for name, value in (("train", loss), ("eval", eval_loss)):
            if value is not None and not math.isfinite(value):
                shown = [x if x is None or math.isfinite(x) else str(x) for x in (loss, eval_loss)]  # JSON has no NaN
                history.append(step, shown[0], shown[1], rate, meter.tokens_seen, share, tokens, None)
                raise UserError(
                    f"The {name} loss at step {step} is {value}: the run has diverged.",
                    f"Lower learning_rate (it is {job.config.learning_rate:g}) or set dtype=float32, and start anew.",
                )
        line = history.append(step, loss, eval_loss, rate, meter.tokens_seen, share, tokens, peak_memory_gib())
        history.resume_clock()
        measured = {name: value for name, value in line.items() if name != "step" and value is not None}
        self.session.log(measured, step)
        self.live.line(line)


def evaluate(job: Job, model: torch.nn.Module, live: Live) -> float | None:
    """Return the mean eval loss a token over the run's held-out rows; None when the selection has no holdout."""
    with live.evaluating(len(job.eval_examples)) as advance:
        losses = row_losses(model, job.eval_examples, job.pad_token_id, advance, processes=job.processes)
        return mean_loss(losses)


def out_of_patience(history: History, config: RunConfig) -> bool:
    """Return whether the last `early_stopping_patience` evaluations all lie above the best one before them."""
    if config.early_stopping_patience is None:
        return False
    measured = [line["eval_loss"] for line in history.lines if line["eval_loss"] is not None and line["step"]]
    recent = measured[-config.early_stopping_patience :]
    earlier = measured[: -config.early_stopping_patience]
    return bool(earlier) and min(recent) >= min(earlier)
