"""`finetune check`: every trap at once, before anything is downloaded or trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from curate.artifact import home
from curate.errors import UserError
from curate.errors.hub import no_downloads
from curate.selection.record import Selection
from curate.tokens.prompt import start_ids
from curate.tokens.tokenizers import text_notes
from finetune.batches.dataset import build_plan, encode_rows
from finetune.batches.packing import build_packed_batch
from finetune.check.facts import Facts
from finetune.check.traps import TRAPS
from finetune.config import RunConfig
from finetune.memory.forecast import forecast
from finetune.memory.shapes import context_length, load_shape
from finetune.memory.targets import find_targets
from finetune.parallel.layout import ONE, Layout, visible_gpus
from finetune.parallel.meeting import meet
from finetune.parallel.processes import can_share
from finetune.run.job import pad_token
from finetune.run.tokenizer import load_training_tokenizer, matches_selection


@dataclass(frozen=True)
class Findings:
    """`problems` (trap name -> sentence), what could not be looked at and why, how many traps there are, and `notes`:
    what is no problem, but nobody should be surprised by."""

    problems: dict[str, str]
    not_checked: dict[str, str]
    traps: int
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "problems": self.problems,
            "not_checked": self.not_checked,
            "notes": list(self.notes),
            "traps": self.traps,
        }


def find_problems(facts: Facts) -> Findings:
    """What the traps say about `facts`."""
    problems = {trap.__name__: sentence for trap in TRAPS if (sentence := trap(facts)) is not None}
    return Findings(problems, facts.unknown, len(TRAPS), facts.notes)


def check(config: RunConfig, selection: Selection, layout: Layout = ONE) -> Findings:
    """Gather the facts of a run that has not been started, and spring every trap on them."""
    return find_problems(gather_facts(config, selection, layout))


def gather_facts(config: RunConfig, selection: Selection, layout: Layout = ONE) -> Facts:
    """What can be known without a download: rows, tokenizer, shape, machine, and, of several machines, the others."""
    gpu = torch.cuda.is_available()
    unknown: dict[str, str] = {}
    known: dict[str, Any] = {}
    allowed = not is_offline_mode()
    parts = (("tokenizer", partial(_about_rows, config, selection)), ("model", partial(_about_model, config, layout)))
    for part, gather in parts:
        try:
            with no_downloads():
                known |= gather()
        except UserError as error:
            kept_out = allowed and "HF_HUB_OFFLINE" in str(error)
            absent = f"It is not on this machine yet, and a check downloads nothing ({config.model})."
            unknown[part] = absent if kept_out else str(error)
    if layout.nodes > 1:
        known |= _about_machines(layout)
    return Facts(
        config=config,
        selection=selection,
        layout=layout,
        gpu_count=visible_gpus(),
        has_gpu=gpu,
        gpu_has_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False) if gpu else None,
        memory_bytes=_memory(config, gpu),
        free_disk_bytes=_free_disk(),
        model_can_exist=_can_exist(config.model),
        unknown=unknown,
        **known,
    )


def _about_rows(config: RunConfig, selection: Selection) -> dict[str, Any]:
    tokenizer = load_training_tokenizer(config.model, selection)
    examples = encode_rows(tokenizer, selection, selection.selected)
    facts: dict[str, Any] = {
        "start_ids": start_ids(tokenizer),
        "end_id": tokenizer.eos_token_id,
        "tokenizer_matches": matches_selection(tokenizer, selection),
        "examples": examples,
        "largest_id": max((max(example.input_ids) for example in examples), default=None),
        "pad_known": True,
        "notes": text_notes(tokenizer, ((row.instruction, row.output) for row in selection.selected))[1],
    }
    try:
        pad = pad_token(tokenizer, config)
    except UserError:
        facts["pad_known"], pad = False, 0
    try:
        plan = build_plan(examples, config)
    except UserError:  # no rows, or a row over the limit: a trap of its own says so
        return facts
    epoch = build_plan(examples, config.model_copy(update={"num_train_epochs": 1, "max_steps": None}))
    size = config.per_device_train_batch_size
    facts |= {"bins_per_epoch": len(epoch.bins), "steps": plan.max_steps, "trained": plan.examples}
    seen = plan.bins[: len(epoch.bins)]
    facts["batches"] = [
        build_packed_batch(
            [[plan.examples[i] for i in places] for places in seen[start : start + size]],
            pad,
            config.completion_only_loss,
        )
        for start in range(0, len(seen), size)
    ]
    return facts


def _about_machines(layout: Layout) -> dict[str, Any]:
    """Meet the other machines, each of which runs this check, and hear what they compute with."""
    try:
        return {"machines": meet(layout)}
    except UserError as error:
        return {"rendezvous_problem": str(error)}


def _about_model(config: RunConfig, layout: Layout) -> dict[str, Any]:
    shape = load_shape(config.model)
    folder = Path(config.model)
    facts: dict[str, Any] = {
        "shape": shape,
        "context": context_length(shape),
        "local_files": [path.name for path in folder.iterdir()] if folder.is_dir() else None,
        "matched_targets": len(find_targets(config, shape).sizes),
    }
    try:
        checkpointing = config.gradient_checkpointing is not False
        shared = can_share(config, layout.size)
        needs = forecast(config, shape, checkpointing, layout if shared else ONE)
    except UserError as error:
        return facts | {"attention_problem": error.what}
    if shared and layout.size > 1:
        spread = forecast(config, shape, checkpointing, replace(layout, parallel="fsdp"))
        facts["spread_memory_gib"] = spread.peak_gib - spread.spare_gib
    if facts["matched_targets"]:
        facts["needed_memory_gib"] = needs.peak_gib - needs.spare_gib
        # Two checkpoints of adapter and float32 Adam state, the best adapter and the adapter itself.
        facts["needed_disk_bytes"] = needs.trainable_parameters * 4 * (2 * 3 + 2)
    return facts


def _can_exist(model: str) -> bool:
    if Path(model).exists():
        return (Path(model) / "config.json").is_file()
    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    return True


def _memory(config: RunConfig, gpu: bool) -> int | None:
    if gpu and config.device != "cpu":
        return int(torch.cuda.mem_get_info()[1])
    if config.device == "cuda":
        return None  # the card is not here to be asked
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []:
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _free_disk() -> int:
    place = home().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
