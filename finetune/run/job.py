"""What a run works on, gathered before anything heavy is loaded: rows encoded, batches planned, files in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from curate.artifact import digest_json
from curate.console import say
from curate.errors import UserError
from curate.selection.record import Selection
from curate.tokens.tokenizers import EncodedExample, refuse_earlier_rule
from finetune.batches.dataset import Plan, build_plan, encode_rows, refuse_other_counts
from finetune.config import RunConfig
from finetune.parallel.processes import ALONE, Processes
from finetune.run.history import History, Meter
from finetune.run.interrupt import Interrupt
from finetune.run.record import CHECKPOINTS, run_digest
from finetune.run.tokenizer import load_training_tokenizer, require_selections_tokenizer
from finetune.tracking.types import Session, TrackedRun, Tracker


@dataclass
class Job:
    """What training needs beside the trainer: the plan, what to evaluate on, and where it is all written."""

    config: RunConfig
    selection: Selection
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    pad_token_id: int
    plan: Plan
    eval_examples: list[EncodedExample]
    history: History
    processes: Processes = ALONE
    meter: Meter = field(default_factory=Meter)
    seconds: dict[str, float] = field(default_factory=dict)
    kernels_refused: str | None = "no model is loaded yet"  # why the kernels do not compute; None where they do
    interrupt: Interrupt = field(default_factory=Interrupt)

    @property
    def uses_kernels(self) -> bool:
        """Whether the model computes with the kernels."""
        return self.kernels_refused is None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints and of the best adapter so far."""
        return self.folder / CHECKPOINTS


def prepare(config: RunConfig, selection: Selection, folder: Path, processes: Processes = ALONE) -> Job:
    """Encode the rows with the model's tokenizer and the selection's template, and plan every batch."""
    tokenizer = load_training_tokenizer(config.model, selection)
    refuse_earlier_rule(tokenizer, selection.manifest.config["tokenizer_digest"], selection.path.name)
    require_selections_tokenizer(tokenizer, config.model, selection)
    if config.packing == "joined":
        say("The notebook's packing: rows are joined and cut, samples see each other, the prompt is trained on.")
    selected = encode_rows(tokenizer, selection, selection.selected)
    refuse_other_counts(selection, selected)
    plan = build_plan(selected, config)
    held_out = selection.holdout[: config.eval_rows]
    examples = encode_rows(tokenizer, selection, held_out)
    history = History(folder, processes.first)
    return Job(config, selection, folder, tokenizer, pad_token(tokenizer, config), plan, examples, history, processes)


def pad_token(tokenizer: PreTrainedTokenizerBase, config: RunConfig) -> int:
    """The id that fills up batches. It never carries loss, so it matters only where a config names one."""
    if config.pad_token is not None:
        token_id = tokenizer.convert_tokens_to_ids(config.pad_token)
        if token_id is None or (token_id == tokenizer.unk_token_id and config.pad_token != tokenizer.unk_token):
            raise UserError(
                f'pad_token "{config.pad_token}" is not in the vocabulary.', "Name a token of the tokenizer."
            )
        return int(token_id)
    return int(
        next(i for i in (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id) if i is not None)
    )


@contextmanager
def tracked(job: Job, tracker: Tracker) -> Iterator[Session]:
    """Yield the session of this folder's run: a resumed run goes on in the same one."""
    recorded = {**job.config.model_dump(), "selection_digest": job.selection.digest, "gpus": job.processes.size}
    identity = digest_json([run_digest(job.config, job.selection), str(job.folder.resolve())])[:16]
    session = tracker.start(TrackedRun(job.folder.name, identity, job.folder, recorded))
    try:
        yield session
    finally:
        session.finish()
