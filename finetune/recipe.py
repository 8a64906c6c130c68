"""THE RECIPE of `finetune run`: read the selection, plan the batches, load, adapt, train, keep the best, record."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from curate.artifact import one_writer
from curate.console import say
from curate.errors import UserError
from curate.selection.record import Selection, read_selection
from finetune.config import RunConfig
from finetune.memory.eligibility import NO_GPU
from finetune.parallel.launch import launch
from finetune.parallel.layout import ONE, Layout, build_layout, require_layout
from finetune.parallel.processes import ALONE, Processes, process_group
from finetune.parallel.software import difference, software_here
from finetune.run.callback import StepCallback, out_of_patience
from finetune.run.checkpoints import hand_out_adapter, latest_checkpoint, read_meter_state, step_of
from finetune.run.job import Job, prepare, tracked
from finetune.run.progress import Live
from finetune.run.record import (
    ADAPTER,
    CONFIG,
    Run,
    finish_run,
    read_run,
    resuming,
    run_digest,
    run_folder,
    selected_tokens,
    start_run,
)
from finetune.tracking.table import NONE, require_tracker
from finetune.tracking.types import Tracker
from finetune.trainer import PackedTrainer, build_trainer

NEARLY_ALL = 0.98  # of the selected tokens; the notebook's packing drops the end of its stream


def train(
    config: RunConfig,
    selection: Selection,
    out: Path | None = None,
    resume: bool = False,
    track: str | None = None,
    command: Sequence[str] = (),
    gpus: int = 1,
    parallel: str = "ddp",
    nodes: int = 1,
    rendezvous: str | None = None,
) -> Run:
    """The finished run for this config and selection, trained or, where the same one exists already, reused.

    With `gpus` above 1 as many processes share every step, on each of `nodes` machines that run the same command, meet
    at `rendezvous` (HOST:PORT) and see the same folder; the run is the same up to rounding. `parallel` "fsdp" spreads
    the frozen weights over all of them, "ddp" gives each the whole model.
    """
    layout = build_layout(gpus, parallel, nodes, rendezvous)
    if layout.size > 1:
        require_layout(layout, config)
    folder = run_folder(config, selection, out)
    work = (config.model_dump(), str(selection.path), str(folder), resume, track, list(command), layout)
    if layout.nodes > 1:  # which machine's process writes is known once they have met
        launch(train_on_machines, layout, run_digest(config, selection), work)
        return read_run(folder)
    with one_writer(folder):
        if start_run(folder, config, selection, resume, layout.as_record()):
            return read_run(folder)
        if layout.size > 1:
            launch(train_worker, layout, folder.name, work)
        else:
            train_in(config, selection, folder, resume, track, command)
    return read_run(folder)


def train_on_machines(
    config: dict[str, Any],
    selection: str,
    folder: str,
    resume: bool,
    track: str | None,
    command: list[str],
    layout: Layout,
    processes: Processes,
) -> None:
    """Train in one process of several machines: the first process takes the folder, all look at what it left there."""
    whole, rows, place = RunConfig.model_validate(config), read_selection(selection), Path(folder)
    with process_group(whole.device), ExitStack() as held:
        different = difference(processes.gather({**software_here(), "run": run_digest(whole, rows)}))
        if different is not None:
            raise UserError(different, "Install the same versions on every machine, and name the same selection.")

        def take() -> bool:
            held.enter_context(one_writer(place))
            return start_run(place, whole, rows, resume, layout.as_record())

        if processes.by_first(take):
            return
        blind = [name for name in processes.gather(None if (place / CONFIG).is_file() else platform.node()) if name]
        if blind:
            raise UserError(f"{blind[0]} does not see {place}.", "Name an --out on a folder that all machines share.")
        train_in(whole, rows, place, resume, track, command, layout, processes)


def train_worker(
    config: dict[str, Any],
    selection: str,
    folder: str,
    resume: bool,
    track: str | None,
    command: list[str],
    layout: Layout,
    processes: Processes,
) -> None:
    """Train in one of several processes of this machine, from plain data: what the launcher calls."""
    whole = RunConfig.model_validate(config)
    with process_group(whole.device):
        train_in(whole, read_selection(selection), Path(folder), resume, track, command, layout, processes)


def train_in(
    config: RunConfig,
    selection: Selection,
    folder: Path,
    resume: bool,
    track: str | None,
    command: Sequence[str],
    layout: Layout = ONE,
    processes: Processes = ALONE,
) -> None:
    """Train in this process, one of `processes`, from the last whole checkpoint in `folder` or from the start."""
    started = time.perf_counter()
    processes.use_own_gpu()
    tracker = require_tracker(track) if processes.first else NONE
    job = prepare(config, selection, folder, processes)
    say_what_is_left_out(job)
    trainer = build_trainer(job)
    if processes.first and config.kernels == "auto" and job.kernels_refused not in (None, NO_GPU):
        say(f"transformers computes, without the kernels: {job.kernels_refused}.")
    job.seconds["load"] = time.perf_counter() - started
    run_steps(job, trainer, tracker, resume)
    job.seconds["train"] = time.perf_counter() - started - job.seconds["load"]
    if processes.first:
        finish(job, command, str(trainer.model.device), layout)
    processes.wait()


def say_what_is_left_out(job: Job) -> None:
    """Say where the run will see a part of its rows only, never reaches its learning rate, or lacks what a GPU has."""
    if job.config.device == "mps":
        say("On mps there are neither kernels nor the paged optimizer: transformers and torch's AdamW compute.")
    for sentence in settings_without_effect(job):
        say(sentence)
    planned, selected = job.plan.tokens, selected_tokens(job.selection)
    if planned < NEARLY_ALL * selected:
        say(
            f"{job.plan.max_steps} steps train on {planned:,} of the {selected:,} selected tokens "
            f"({planned / selected:.0%}); without max_steps a run sees every row."
        )
    if job.config.warmup_steps >= job.plan.max_steps and job.config.lr_scheduler_type != "constant":
        reached = job.plan.max_steps / (job.config.warmup_steps + 1)
        say(
            f"warmup_steps {job.config.warmup_steps} fills all {job.plan.max_steps} steps: "
            f"the learning rate reaches {reached:.0%} of {job.config.learning_rate:g}."
        )


def settings_without_effect(job: Job) -> list[str]:
    """Return a sentence for each setting that the rows leave without the effect that its value asks for."""
    config, held_out, steps = job.config, len(job.selection.holdout), job.plan.max_steps
    sentences = []
    if config.max_steps is not None and config.max_steps > steps:
        one_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
        bins = (config.max_steps - 1) * one_step + 1
        enough = -(-bins * config.num_train_epochs // len(job.plan.bins))
        sentences.append(
            f"max_steps is {config.max_steps}, and num_train_epochs={config.num_train_epochs} ends after {steps} steps"
            f"; num_train_epochs={enough} is enough for all."
        )
    if config.eval_rows is not None and config.eval_rows > held_out > 0:
        sentences.append(
            f"eval_rows is {config.eval_rows}, and the selection holds out {held_out} rows: the eval loss is of these."
        )
    if config.early_stopping_patience is not None and not held_out:
        sentences.append("early_stopping_patience does nothing: the selection has no held-out rows to evaluate on.")
    if config.group_by_length and config.packing != "none":
        sentences.append("group_by_length does nothing to packed rows; packing=none would batch rows of like length.")
    return sentences


def run_steps(job: Job, trainer: PackedTrainer, tracker: Tracker, resume: bool = False) -> None:
    """Every step that is left, from the last whole checkpoint or from the start; nothing where none is."""
    checkpoint = go_on_from(job, resume)
    if is_over(job):
        return
    try:
        done = 0 if checkpoint is None else step_of(checkpoint)
        with tracked(job, tracker) as session, Live(job.plan.max_steps, done) as live, job.interrupt:
            trainer.add_callback(StepCallback(job, live, session))
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if job.interrupt.asked and not is_over(job):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        again = "the same command" if job.selection.is_part else resuming(job.folder)
        say(f"Stopped. Everything up to the last checkpoint is kept; go on with: {again}")
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


def finish(job: Job, command: Sequence[str], device: str, layout: Layout = ONE) -> None:
    """Put the best adapter in its place and write card and manifest."""
    job.history.write(job.folder)
    hand_out_adapter(job.checkpoints, job.history, job.folder / ADAPTER)
    best, last = job.history.best(), job.history.lines[-1]
    results = {
        "steps": last["step"],
        "tokens_seen": last["tokens_seen"],
        "trained_tokens": last["tokens_seen"],
        "selected_tokens": selected_tokens(job.selection),
        "epochs": round(last["tokens_seen"] / selected_tokens(job.selection), 4),
        "best_step": best[0] if best else None,
        "best_eval_loss": best[1] if best else None,
        **layout.as_record(),
    }
    counts = {"rows": len(job.selection.selected), "eval_rows": len(job.eval_examples), "bins": len(job.plan.bins)}
    finish_run(job.folder, job.config, job.selection, command, results, counts, job.seconds, device)
