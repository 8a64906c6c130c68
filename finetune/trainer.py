"""TRL's trainer on our batches and with our loss. The only file that imports trl."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors import SafetensorError
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import align_special_tokens
from trl import SFTConfig, SFTTrainer

from curate.errors import UserError
from curate.loading import quiet
from finetune.batches.packing import build_packed_batch
from finetune.batches.token_loss import token_nll
from finetune.config import RunConfig
from finetune.kernels import accelerate_model
from finetune.model import (
    attach_adapter,
    build_flat_optimizer,
    load_base_model,
    resolve_device,
    resolve_dtype,
    save_adapter,
)
from finetune.parallel.processes import batch_shape, own_bins
from finetune.run.job import Job


def build_trainer(job: Job) -> Any:
    """TRL's SFTTrainer on our batches, with our loss, evaluation, history and best checkpoint."""
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
                with quiet():  # or every removal of an old checkpoint is a warning on some file systems
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

    arguments = training_arguments(job, device, dtype, model.config)
    if arguments.n_gpu > 1:  # the trainer would spread this process over all GPUs it sees; --gpus starts one for each
        arguments._n_gpu = 1
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"bin": list(range(len(bins)))}),
        data_collator=collate,
        processing_class=job.tokenizer,
    )
    trainer.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step, not batch by batch
    for name, parameter in model.named_parameters():
        # TRL rounds the adapter of a 4-bit model to bfloat16; float32 adapters are trained here, so that is undone.
        if parameter.requires_grad:
            parameter.data = before[name]

    with quiet():  # the trainer would do it itself, and say so
        align_special_tokens(trainer.model, job.tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer


def repeat_to_the_bit() -> None:
    """Have torch take only algorithms that give the same bits every time; on a GPU that costs speed."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def training_arguments(job: Job, device: str, dtype: str, shape: Any) -> Any:
    """SFTConfig with everything that matters set here: TRL's own defaults cut rows and cast adapters."""
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


def wants_checkpointing(config: RunConfig, shape: Any) -> bool:
    """Whether a batch's activations would not fit beside the model on this GPU.

    34 bytes a token, layer and hidden unit: Korthikanti et al., 2022, table 2, one device, fused attention.
    """
    tokens = config.per_device_train_batch_size * config.max_length
    activations = 34 * tokens * shape.hidden_size * shape.num_hidden_layers + 8 * tokens * shape.vocab_size
    free, _ = torch.cuda.mem_get_info()
    return bool(activations > 0.8 * free)
