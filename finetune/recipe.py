"""THE RECIPE of `finetune run`: read the selection, plan the batches, load, adapt, train, keep the best, record."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.artifact import one_writer
from curate.console import say
from curate.errors import UserError
from curate.selection.record import Selection, read_selection
from finetune.config import RunConfig
from finetune.parallel.launch import launch
from finetune.parallel.processes import ALONE, Processes, batch_shape, require_gpus
from finetune.run.base_loss import require_reading
from finetune.run.checkpoints import complete_checkpoint, hand_out_adapter, latest_checkpoint, read_meter_state, step_of
from finetune.run.history import History, peak_memory_gib
from finetune.run.job import Job, open_tracker, prepare
from finetune.run.progress import Live
from finetune.run.record import ADAPTER, Run, finish_run, read_run, run_folder, start_run
from finetune.tracking.wandb_tracker import Mode, Tracker, resolve_mode
from finetune.trainer import build_trainer


def train(
    config: RunConfig,
    selection: Selection,
    out: Path | None = None,
    resume: bool = False,
    wandb_mode: str | None = None,
    command: Sequence[str] = (),
    gpus: int = 1,
) -> Run:
    """The finished run for this config and selection, trained or, where the same one exists already, reused.

    With `gpus` above 1 as many processes share every step; the run is the same up to rounding.
    """
    if gpus > 1:
        require_gpus(gpus, config.device)
        batch_shape(config, gpus)
    folder = run_folder(config, selection, out)
    with one_writer(folder):
        if start_run(folder, config, selection, resume, gpus):
            return read_run(folder)
        if gpus > 1:
            work = (config.model_dump(), str(selection.path), str(folder), resume, wandb_mode, list(command))
            launch(train_worker, gpus, folder.name, work)
        else:
            train_in(config, selection, folder, resume, wandb_mode, command)
    return read_run(folder)


def train_worker(
    config: dict[str, Any],
    selection: str,
    folder: str,
    resume: bool,
    wandb_mode: str | None,
    command: list[str],
    processes: Processes,
) -> None:
    """Train in one of several processes, from plain data: what the launcher calls."""
    whole = RunConfig.model_validate(config)
    train_in(whole, read_selection(selection), Path(folder), resume, wandb_mode, command, processes)


def train_in(
    config: RunConfig,
    selection: Selection,
    folder: Path,
    resume: bool,
    wandb_mode: str | None,
    command: Sequence[str],
    processes: Processes = ALONE,
) -> None:
    """Train in this process, one of `processes`, from the last whole checkpoint in `folder` or from the start."""
    started = time.perf_counter()
    processes.use_own_gpu()
    mode = resolve_mode(wandb_mode) if processes.first else "off"
    job = prepare(config, selection, folder, processes)
    trainer = build_trainer(job)
    job.seconds["load"] = time.perf_counter() - started
    run_steps(job, trainer, mode, resume)
    job.seconds["train"] = time.perf_counter() - started - job.seconds["load"]
    if processes.first:
        finish(job, command, str(trainer.model.device))


def run_steps(job: Job, trainer: Any, mode: Mode, resume: bool = False) -> None:
    """Every step that is left, from the last whole checkpoint or from the start; nothing where none is."""
    checkpoint = go_on_from(job, resume)
    if is_over(job):
        return
    try:
        done = 0 if checkpoint is None else step_of(checkpoint)
        with open_tracker(job, mode) as tracker, Live(job.plan.max_steps, done) as live, job.interrupt:
            trainer.add_callback(build_callback(job, live, tracker))
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if job.interrupt.asked and not is_over(job):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        say(f"Stopped. Everything up to the last checkpoint is kept; go on with: finetune run --resume {job.folder}")
        raise


def go_on_from(job: Job, resume: bool) -> Path | None:
    """The checkpoint that training goes on from, with history and meter as they were there; None at the start."""
    if job.processes.first:
        latest_checkpoint(job.checkpoints)  # the first to look removes what is half-written
    job.processes.wait()
    checkpoint = latest_checkpoint(job.checkpoints)
    if checkpoint is not None:
        job.history.continue_from(checkpoint)
        state = read_meter_state(checkpoint)
        job.meter.restore(state if job.processes.first else {"tokens_seen": state["tokens_seen"]})
        say(f"Going on from step {step_of(checkpoint)}.")
    elif resume:
        job.history.continue_from(None)
        say("No whole checkpoint was written yet; starting at step 0.")
    return checkpoint


def is_over(job: Job) -> bool:
    """Whether the last step, or the one at which patience ran out, has its line and its checkpoint."""
    step = job.history.lines[-1]["step"] if job.history.lines else 0
    return step >= job.plan.max_steps or out_of_patience(job.history, job.config)


def build_callback(job: Job, live: Live, tracker: Tracker) -> Any:
    """What happens around the steps: the base model's loss first, then lines, evaluations, the best kept."""
    from transformers import TrainerCallback

    config, history, meter = job.config, job.history, job.meter

    class Callback(TrainerCallback):  # type: ignore[misc]
        """Writes history, evaluates, keeps the best adapter, stops where it is asked to."""

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if not history.lines:
                loss = evaluate(job, model, live)
                vocabulary = model.config.get_text_config().vocab_size
                require_reading(model, config.model, loss, vocabulary, job.eval_examples, job.pad_token_id)
                write(0, None, loss)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            step, last = state.global_step, state.global_step >= state.max_steps
            live.step()
            evaluating = step % config.eval_steps == 0 or last
            if evaluating or step % config.logging_steps == 0:
                rate = more["lr_scheduler"].get_last_lr()[0]
                write(step, rate, evaluate(job, model, live) if evaluating else None)
            control.should_save = evaluating
            if job.processes.any(job.interrupt.asked):
                job.interrupt.asked = control.should_save = control.should_training_stop = True
            if evaluating and out_of_patience(history, config):
                say(f"Stopping early: no lower eval loss in {config.early_stopping_patience} evaluations.")
                control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            meter_state = meter.state(job.processes)
            job.processes.wait()  # until every process has written its part
            if job.processes.first:
                complete_checkpoint(job.checkpoints, state.global_step, history, meter_state)
            history.resume_clock()

    def write(step: int, rate: float | None, eval_loss: float | None) -> None:
        loss, share, tokens = meter.take(job.processes)
        for name, value in (("train", loss), ("eval", eval_loss)):
            if value is not None and not math.isfinite(value):
                told = [x if x is None or math.isfinite(x) else str(x) for x in (loss, eval_loss)]  # JSON has no NaN
                history.append(step, told[0], told[1], rate, meter.tokens_seen, share, tokens, None)
                raise UserError(
                    f"The {name} loss at step {step} is {value}: the run has diverged.",
                    f"Lower learning_rate (it is {config.learning_rate:g}) or set dtype=float32, and start anew.",
                )
        line = history.append(step, loss, eval_loss, rate, meter.tokens_seen, share, tokens, peak_memory_gib())
        history.resume_clock()
        tracker.log(line)
        live.line(line)

    return Callback()


def evaluate(job: Job, model: Any, live: Live) -> float | None:
    """Mean eval loss a token over the run's held-out rows; None when the selection has no holdout."""
    from finetune.batches.token_loss import mean_loss, row_losses

    with live.evaluating(len(job.eval_examples)) as advance:
        losses = row_losses(model, job.eval_examples, job.pad_token_id, advance, processes=job.processes)
        return mean_loss(losses)


def out_of_patience(history: History, config: RunConfig) -> bool:
    """Whether the last `early_stopping_patience` evaluations all lie above the best one before them."""
    if config.early_stopping_patience is None:
        return False
    measured = [line["eval_loss"] for line in history.lines if line["eval_loss"] is not None and line["step"]]
    recent = measured[-config.early_stopping_patience :]
    earlier = measured[: -config.early_stopping_patience]
    return bool(earlier) and min(recent) >= min(earlier)


def finish(job: Job, command: Sequence[str], device: str) -> None:
    """Put the best adapter in its place and write card and manifest."""
    job.history.write(job.folder)
    hand_out_adapter(job.checkpoints, job.history, job.folder / ADAPTER)
    best = job.history.best()
    results = {
        "steps": job.history.lines[-1]["step"],
        "tokens_seen": job.history.lines[-1]["tokens_seen"],
        "best_step": best[0] if best else None,
        "best_eval_loss": best[1] if best else None,
        "gpus": job.processes.size,
    }
    counts = {"rows": len(job.selection.selected), "eval_rows": len(job.eval_examples), "bins": len(job.plan.bins)}
    finish_run(job.folder, job.config, job.selection, command, results, counts, job.seconds, device)
