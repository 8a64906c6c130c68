"""TRL's trainer on our batches and with our loss. The only file that imports trl."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import datasets
import torch
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import align_special_tokens
from trl import SFTConfig, SFTTrainer

from curate.console import say
from curate.errors import UserError
from curate.loading import quiet
from finetune.batches.packing import build_packed_batch
from finetune.batches.token_loss import token_nll
from finetune.config import RunConfig
from finetune.kernels import accelerate_model
from finetune.memory.forecast import GIB, forecast
from finetune.memory.shapes import load_shape
from finetune.model import (
    attach_adapter,
    build_flat_optimizer,
    load_base_model,
    own_device,
    resolve_device,
    resolve_dtype,
    save_adapter,
)
from finetune.parallel.processes import Processes, batch_shape, own_bins
from finetune.parallel.sharding import leave_to_sharding, place_whole_parts, shard_frozen_weights
from finetune.run.job import Job
from finetune.run.record import resuming

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from finetune.model import AdaptedModel


class PackedTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose batches come in the plan's order and whose loss, schedule and checkpoints are ours.

    Several of the methods that it overrides are not part of TRL's and transformers' promise: pyproject.toml bounds both
    libraries, and a test names these methods with their parameters.
    """

    optimizer: Any
    lr_scheduler: Any  # of the libraries' own kind, None until it is built

    def __init__(self, job: Job, model: AdaptedModel, arguments: SFTConfig) -> None:
        self.job = job
        self.own_bins = own_bins(job.plan.bins, job.config, job.processes)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=datasets.Dataset.from_dict({"bin": list(range(len(self.own_bins)))}),
            data_collator=self.collate_bins,
            processing_class=job.tokenizer,
        )
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step, not by batch

    def collate_bins(self, rows: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        """Return the batch of the bins that `rows` name."""
        plan = self.job.plan
        batch = [[plan.examples[i] for i in self.own_bins[row["bin"]]] for row in rows]
        return build_packed_batch(batch, self.job.pad_token_id, self.job.config.completion_only_loss)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[dict[str, torch.Tensor]]:
        """Return the bins in the plan's order."""
        return torch.utils.data.DataLoader(
            self.train_dataset, self.args.per_device_train_batch_size, collate_fn=self.collate_bins,
            pin_memory=self.args.dataloader_pin_memory,
        )  # fmt: skip

    def create_optimizer(self, *model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return one flat paged AdamW where the kernels compute, else the library's own."""
        if self.optimizer is None and self.job.uses_kernels and self.args.optim == "paged_adamw_8bit":
            _, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            kept = {name: options[name] for name in ("lr", "betas", "eps")}
            self.optimizer = build_flat_optimizer(self.trained, weight_decay=self.args.weight_decay, **kept)
        optimizer: torch.optim.Optimizer = super().create_optimizer(*model)
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the library's schedule with a warm-up that starts above 0."""
        if self.lr_scheduler is None:
            scheduler = super().create_scheduler(num_training_steps, optimizer)
            if self.args.lr_scheduler_type != "constant" and self.args.warmup_steps:
                warmup = int(self.args.warmup_steps)
                shares: list[Callable[[int], float]] = [
                    partial(rate_share, warmup_steps=warmup, schedule=share) for share in scheduler.lr_lambdas
                ]
                self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(scheduler.optimizer, shares)
        return cast("torch.optim.lr_scheduler.LRScheduler", self.lr_scheduler)

    def floating_point_ops(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Return 0: nobody reads it, and counting walks over every module at every step."""
        return 0

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        if not self.job.uses_kernels:
            norm: torch.Tensor = super()._clip_grad_norm(model)
            return norm
        return torch.nn.utils.clip_grad_norm_(self.trained, self.args.max_grad_norm)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["bin"]

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the summed loss of the batch's labelled tokens over those of the whole step."""
        nll, _ = token_nll(model, inputs)
        self.job.meter.add(nll, inputs["sample_ids"])
        total = nll.sum() / (len(nll) if num_items_in_batch is None else num_items_in_batch)
        return total * self.job.processes.size  # several processes average their gradients; the step wants the sum

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write nothing: the run's own card comes at the end; TRL's would stand among the checkpoints."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        try:
            with quiet():  # or every removal of an old checkpoint is a warning on some file systems
                super()._save_checkpoint(model, trial)
        except (OSError, SafetensorError, RuntimeError) as error:  # each library has its own for a full disk
            step = self.state.global_step
            shutil.rmtree(self.job.checkpoints / f"checkpoint-{step}", ignore_errors=True)
            raise UserError(
                f"Could not write the checkpoint of step {step} ({error}).",
                f"Nothing was left half-written; free space, then: {resuming(self.job.folder)}",
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        save_adapter(self.model, Path(str(output_dir)))

    def log(self, *_: object, **__: object) -> None:
        """Write nothing: the history's lines are written after each step."""


def rate_share(step: int, warmup_steps: int, schedule: Callable[[int], float]) -> float:
    """Return the share of the learning rate at `step` (from 0): 1 / (warmup_steps + 1), 2 / ..., then `schedule`'s.

    The libraries' warm-up starts at 0, so that the first step, or a run of one step, trains nothing.
    """
    return (step + 1) / (warmup_steps + 1) if step < warmup_steps else schedule(step)


def build_trainer(job: Job) -> PackedTrainer:
    """Return the trainer of `job`: its model loaded, adapted and, where the kernels can compute it, accelerated."""
    config = job.config
    if config.deterministic:
        repeat_to_the_bit()
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    through_memory = job.processes.sharded and device == "cuda" and not fits_whole(config)
    model = attach_adapter(load_base_model(config, "cpu" if through_memory else None), config)
    if through_memory:
        place_whole_parts(model, own_device(device))
    batch, _ = batch_shape(config, job.processes.size)
    own = config.model_copy(update={"per_device_train_batch_size": batch})  # what one process computes at a time
    shards = job.processes.size if job.processes.sharded else 1
    job.kernels_refused = accelerate_model(model, own, getattr(torch, dtype), shards)
    if job.processes.sharded:
        leave_to_sharding(model)
        if job.kernels_refused is not None:
            say(f"The weights are spread over {job.processes.size} GPUs without the kernels: {job.kernels_refused}.")
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    arguments = training_arguments(job, device, dtype, model.config)
    if arguments.n_gpu > 1:  # the trainer would spread this process over all GPUs it sees; --gpus starts one for each
        arguments._n_gpu = 1
    trainer = PackedTrainer(job, model, arguments)
    for name, parameter in model.named_parameters():
        # TRL rounds the adapter of a 4-bit model to bfloat16; float32 adapters are trained here, so that is undone.
        if parameter.requires_grad:
            parameter.data = before[name]

    with quiet():  # the trainer would do it itself, and say so
        align_special_tokens(trainer.model, job.tokenizer)
    trainer.remove_callback(PrinterCallback)
    if job.processes.sharded:
        trainer.add_callback(Sharding(job.processes, own_device(device)))
    return trainer


class Sharding(TrainerCallback):  # type: ignore[misc]
    """Spreads the frozen weights once DDP has taken the adapters, which it would refuse to do afterwards."""

    def __init__(self, processes: Processes, device: str) -> None:
        self.processes, self.device = processes, device

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: AdaptedModel,
        **_: object,
    ) -> None:
        """Come before every other pass through the model."""
        shard_frozen_weights(model, self.processes, self.device)


def fits_whole(config: RunConfig) -> bool:
    """Whether this GPU holds all frozen weights for a moment, until they are spread."""
    free, _ = torch.cuda.mem_get_info()
    return forecast(config, load_shape(config.model)).base_weights_gib * GIB < 0.9 * free


def repeat_to_the_bit() -> None:
    """Have torch take only algorithms that give the same bits every time; on a GPU that costs speed."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def training_arguments(job: Job, device: str, dtype: str, shape: PretrainedConfig) -> SFTConfig:
    """SFTConfig with everything that matters set here: TRL's own defaults cut rows and cast adapters."""
    config = job.config
    checkpointing = config.gradient_checkpointing
    if job.uses_kernels:  # the kernels do it themselves
        checkpointing = False
    elif checkpointing == "auto":
        checkpointing = device == "cuda" and wants_checkpointing(config, shape)
    batch, accumulation = batch_shape(config, job.processes.size)
    optim = config.optim if config.optim != "auto" else ("paged_adamw_8bit" if device == "cuda" else "adamw_torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SFTConfig(
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


def wants_checkpointing(config: RunConfig, shape: PretrainedConfig) -> bool:
    """Whether a batch's activations would not fit beside the model on this GPU.

    34 bytes a token, layer and hidden unit: Korthikanti et al., 2022, table 2, one device, fused attention.
    """
    tokens = config.per_device_train_batch_size * config.max_length
    activations = 34 * tokens * shape.hidden_size * shape.num_hidden_layers + 8 * tokens * shape.vocab_size
    free, _ = torch.cuda.mem_get_info()
    return bool(activations > 0.8 * free)
