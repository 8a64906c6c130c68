"""What the traps look at, gathered by `finetune.check.preflight`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PretrainedConfig

from curate.selection.record import Selection
from curate.tokens.tokenizers import EncodedExample
from finetune.config import RunConfig
from finetune.parallel.layout import ONE, Layout
from finetune.parallel.software import Software


@dataclass(frozen=True)
class Facts:
    """What the traps look at. None means: could not be had (the reason is in `unknown`)."""

    config: RunConfig
    selection: Selection
    has_gpu: bool
    gpu_has_bfloat16: bool | None = None
    memory_bytes: int | None = None
    free_disk_bytes: int | None = None
    needed_disk_bytes: int | None = None
    needed_memory_gib: float | None = None
    spread_memory_gib: float | None = None  # what each GPU would need were the weights spread over those asked for
    layout: Layout = ONE
    gpu_count: int = 0  # of this machine
    rendezvous_problem: str | None = None
    machines: Sequence[Software] | None = None  # what each machine of the run computes with
    start_ids: Sequence[int] | None = None
    end_id: int | None = None
    pad_known: bool | None = None
    largest_id: int | None = None
    tokenizer_matches: bool | None = None
    examples: Sequence[EncodedExample] | None = None
    trained: Sequence[EncodedExample] | None = None  # what the batches are built from; other than `examples` when cut
    batches: Sequence[dict[str, Any]] | None = None  # batches as the run builds them
    bins_per_epoch: int | None = None
    steps: int | None = None
    shape: PretrainedConfig | None = None
    context: int | None = None
    matched_targets: int | None = None
    attention_problem: str | None = None
    local_files: Sequence[str] | None = None
    model_can_exist: bool | None = None
    notes: Sequence[str] = ()  # about the rows in the tokenizer's hands
    unknown: dict[str, str] = field(default_factory=dict)
