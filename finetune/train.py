"""THE RECIPE of `finetune run`: read the selection, plan the batches, load, adapt, train, keep the best, record."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.console import quiet, say
from curate.errors import UserError
from curate.selection import Selection
from finetune.checkpoints import best_adapter, complete_checkpoint, latest_checkpoint, read_meter_state, step_of
from finetune.history import History, peak_memory_gib
from finetune.job import Job, open_tracker, prepare
from finetune.live import Live
from finetune.processes import ALONE, Processes, batch_shape, launch, own_bins, require_gpus
from finetune.run_record import ADAPTER, Run, finish_run, read_run, run_folder, start_run
from finetune.tracking import Mode, Tracker, resolve_mode

if TYPE_CHECKING:
    from finetune.config import RunConfig


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
    if start_run(folder, config, selection, resume, gpus):
        return read_run(folder)
    if gpus > 1:
        launch(gpus, config, selection.path, folder, resume, wandb_mode, command)
    else:
        train_in(config, selection, folder, resume, wandb_mode, command)
    return read_run(folder)


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
        job.history.continue_from(step_of(checkpoint))
        state = read_meter_state(checkpoint)
        job.meter.restore(state if job.processes.first else {"tokens_seen": state["tokens_seen"]})
        say(f"Going on from step {step_of(checkpoint)}.")
    elif resume:
        job.history.continue_from(-1)
        say("No whole checkpoint was written yet; starting at step 0.")
    return checkpoint


def is_over(job: Job) -> bool:
    """Whether the last step, or the one at which patience ran out, has its line and its checkpoint."""
    step = job.history.lines[-1]["step"] if job.history.lines else 0
    return step >= job.plan.max_steps or out_of_patience(job.history, job.config)


def build_trainer(job: Job) -> Any:
    """TRL's SFTTrainer on our batches, with our loss, evaluation, history and best checkpoint."""
    import datasets
    import torch
    from safetensors import SafetensorError
    from trl import SFTTrainer

    from finetune.kernels import accelerate_model
    from finetune.model import (
        attach_adapter,
        build_flat_optimizer,
        load_base_model,
        resolve_device,
        resolve_dtype,
        save_adapter,
    )
    from finetune.packing import build_packed_batch
    from finetune.token_loss import token_nll

    config = job.config
    if config.deterministic:
        repeat_to_the_bit()
    model = attach_adapter(load_base_model(config), config)
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    job.kernels = accelerate_model(model, config, getattr(torch, dtype))
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    trained = [p for p in model.parameters() if p.requires_grad]
    bins = own_bins(job.plan.bins, config, job.processes)

    class Trainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer whose batches come in the plan's order and whose loss is ours."""

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(
                self.train_dataset, self.args.per_device_train_batch_size, collate_fn=collate,
                pin_memory=self.args.dataloader_pin_memory,
            )  # fmt: skip

        optimizer: Any

        def create_optimizer(self, *model: Any) -> Any:
            if self.optimizer is None and job.kernels is None and self.args.optim == "paged_adamw_8bit":
                _, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                kept = {name: options[name] for name in ("lr", "betas", "eps")}
                self.optimizer = build_flat_optimizer(trained, weight_decay=self.args.weight_decay, **kept)
            return super().create_optimizer(*model)

        def floating_point_ops(self, inputs: Any) -> int:
            return 0  # nobody reads it, and counting walks over every module at every step

        def _clip_grad_norm(self, model: Any) -> Any:
            if job.kernels is not None:
                return super()._clip_grad_norm(model)
            return torch.nn.utils.clip_grad_norm_(trained, self.args.max_grad_norm)

        def _set_signature_columns_if_needed(self) -> None:
            self._signature_columns = ["bin"]

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            nll, _ = token_nll(model, inputs)
            job.meter.add(nll, inputs["sample_ids"])
            total = nll.sum() / num_items_in_batch
            return total * job.processes.size  # several processes average their gradients; the step wants the sum

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The run's own card is written at the end; TRL's would stand among the checkpoints."""

        def _save_checkpoint(self, *arguments: Any) -> None:
            try:
                super()._save_checkpoint(*arguments)
            except (OSError, SafetensorError, RuntimeError) as error:  # each library has its own for a full disk
                shutil.rmtree(job.checkpoints / f"checkpoint-{self.state.global_step}", ignore_errors=True)
                raise UserError(
                    f"Could not write the checkpoint of step {self.state.global_step} ({error}).",
                    f"Nothing was left half-written; free space, then: finetune run --resume {job.folder}",
                ) from error

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            save_adapter(self.model, Path(str(output_dir)))

        def log(self, *_: Any, **__: Any) -> None:
            """The history callback writes the lines; nothing else is to be logged."""

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = [[job.plan.examples[i] for i in bins[row["bin"]]] for row in rows]
        return build_packed_batch(batch, job.pad_token_id, config.completion_only_loss)

    trainer = Trainer(
        model=model,
        args=training_arguments(job, device, dtype, model.config),
        train_dataset=datasets.Dataset.from_dict({"bin": list(range(len(bins)))}),
        data_collator=collate,
        processing_class=job.tokenizer,
    )
    trainer.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step, not batch by batch
    for name, parameter in model.named_parameters():
        # TRL rounds the adapter of a 4-bit model to bfloat16; float32 adapters are trained here, so that is undone.
        if parameter.requires_grad:
            parameter.data = before[name]
    from transformers.trainer_callback import PrinterCallback
    from transformers.trainer_utils import align_special_tokens

    with quiet():  # the trainer would do it itself, and say so
        align_special_tokens(trainer.model, job.tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer


def repeat_to_the_bit() -> None:
    """Have torch take only algorithms that give the same bits every time; on a GPU that costs speed."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def training_arguments(job: Job, device: str, dtype: str, shape: Any) -> Any:
    """SFTConfig with everything that matters set here: TRL's own defaults cut rows and cast adapters."""
    import warnings

    from trl import SFTConfig

    config = job.config
    checkpointing = config.gradient_checkpointing
    if job.kernels is None:  # the kernels do it themselves
        checkpointing = False
    elif checkpointing == "auto":
        checkpointing = device == "cuda" and wants_checkpointing(config, shape)
    batch, accumulation = batch_shape(config, job.processes.size)
    optim = config.optim if config.optim != "auto" else ("paged_adamw_8bit" if device == "cuda" else "adamw_torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = SFTConfig(
            output_dir=str(job.checkpoints),
            max_length=None,
            packing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            learning_rate=config.learning_rate,
            lr_scheduler_type=config.lr_scheduler_type,
            warmup_steps=config.warmup_steps,
            num_train_epochs=1,
            max_steps=job.plan.max_steps,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            optim=optim,
            gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            bf16=device == "cuda" and dtype == "bfloat16",
            fp16=device == "cuda" and dtype == "float16",
            use_cpu=device == "cpu",
            save_strategy="steps",
            save_steps=config.eval_steps,
            save_total_limit=2,
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_num_workers=0,
            dataloader_pin_memory=device == "cuda",
            seed=config.seed,
            ddp_backend="gloo" if device == "cpu" and job.processes.size > 1 else None,
            ddp_find_unused_parameters=False,
        )
    if arguments.n_gpu > 1:  # the trainer would spread one process over all GPUs it sees; --gpus starts one each
        arguments._n_gpu = 1
    return arguments


def wants_checkpointing(config: RunConfig, shape: Any) -> bool:
    """Whether a batch's activations would not fit beside the model on this GPU.

    34 bytes a token, layer and hidden unit: Korthikanti et al., 2022, table 2, one device, fused attention.
    """
    import torch

    tokens = config.per_device_train_batch_size * config.max_length
    activations = 34 * tokens * shape.hidden_size * shape.num_hidden_layers + 8 * tokens * shape.vocab_size
    free, _ = torch.cuda.mem_get_info()
    return bool(activations > 0.8 * free)


def build_callback(job: Job, live: Live, tracker: Tracker) -> Any:
    """What happens around the steps: the base model's loss first, then lines, evaluations, the best kept."""
    from transformers import TrainerCallback

    config, history, meter = job.config, job.history, job.meter

    class Callback(TrainerCallback):  # type: ignore[misc]
        """Writes history, evaluates, keeps the best adapter, stops where it is asked to."""

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if not history.lines:
                write(0, None, evaluate(job, model, live))

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
    from finetune.token_loss import mean_loss, row_losses

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
    shutil.rmtree(job.folder / ADAPTER, ignore_errors=True)
    shutil.copytree(best_adapter(job.checkpoints, job.history), job.folder / ADAPTER)
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
