"""What goes wrong in fine-tuning, one function a trap: None, or one sentence that says what and what to do.

Every function is pure: it looks at `Facts`, which `finetune.preflight` gathers. A trap whose facts could not be had is
reported as not checked, never as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.selection.record import Selection
from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import IGNORED
from finetune.config import RunConfig

USUAL_LEARNING_RATES = (1e-6, 2e-3)
MOST_EPOCHS = 5
FEWEST_EVAL_ROWS = 8
GIB = 2**30


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
    shape: Any = None
    context: int | None = None
    matched_targets: int | None = None
    attention_problem: str | None = None
    local_files: Sequence[str] | None = None
    model_can_exist: bool | None = None
    notes: Sequence[str] = ()  # about the rows in the tokenizer's hands
    unknown: dict[str, str] = field(default_factory=dict)


def learning_rate_unusual(facts: Facts) -> str | None:
    """Far outside what LoRA is trained with."""
    low, high = USUAL_LEARNING_RATES
    rate = facts.config.learning_rate
    if low <= rate <= high:
        return None
    return f"learning_rate {rate:g} is outside {low:g} to {high:g}, where LoRA trains. Try 2e-4."


def warmup_fills_the_run(facts: Facts) -> str | None:
    """The full learning rate is never reached."""
    if facts.steps is None or facts.config.warmup_steps < facts.steps:
        return None
    return f"warmup_steps {facts.config.warmup_steps} fills all {facts.steps} steps. Use at most {facts.steps // 2}."


def more_steps_than_data(facts: Facts) -> str | None:
    """The same rows again and again: the model learns them by heart."""
    if facts.steps is None or not facts.bins_per_epoch:
        return None
    config = facts.config
    epochs = facts.steps * config.per_device_train_batch_size * config.gradient_accumulation_steps
    epochs_seen = epochs / facts.bins_per_epoch
    if epochs_seen <= MOST_EPOCHS:
        return None
    return f"{facts.steps} steps show every row {epochs_seen:.0f} times. Lower max_steps, or select more rows."


def batch_larger_than_data(facts: Facts) -> str | None:
    """One step would hold more than an epoch."""
    config = facts.config
    size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    if facts.bins_per_epoch is None or size <= facts.bins_per_epoch:
        return None
    return f"One step takes {size} bins and the data fill {facts.bins_per_epoch}. Lower gradient_accumulation_steps."


def no_holdout(facts: Facts) -> str | None:
    """Nothing says whether the run helped."""
    return None if facts.selection.holdout else "The selection has no held-out rows. Select again with --holdout 200."


def few_eval_rows(facts: Facts) -> str | None:
    """The eval loss would be mostly noise."""
    rows = len(facts.selection.holdout[: facts.config.eval_rows])
    if rows == 0 or rows >= FEWEST_EVAL_ROWS:
        return None
    return f"The eval loss comes from {rows} rows. Use eval_rows={FEWEST_EVAL_ROWS} or more."


def evaluated_only_at_the_end(facts: Facts) -> str | None:
    """No best checkpoint can be told and no overfitting seen."""
    if facts.steps is None or facts.config.eval_steps < facts.steps or facts.steps == 1:
        return None
    return f"eval_steps {facts.config.eval_steps} leaves one evaluation in {facts.steps} steps. Lower eval_steps."


def alpha_out_of_proportion(facts: Facts) -> str | None:
    """LoRA's update is scaled by alpha / r."""
    scale = facts.config.lora_alpha / facts.config.r
    if 0.25 <= scale <= 8:
        return None
    return f"lora_alpha / r is {scale:g}; usual is 1 to 2. Set lora_alpha={2 * facts.config.r}."


def dropout_high(facts: Facts) -> str | None:
    """Most of the adapter is switched off at every step."""
    share = facts.config.lora_dropout
    return None if share <= 0.3 else f"lora_dropout is {share:g}; usual is 0 to 0.1."


def float16_on_a_cpu(facts: Facts) -> str | None:
    """Slow, and without the gradient scaler that keeps it from underflowing."""
    if facts.config.dtype != "float16" or facts.config.device == "cuda" or facts.has_gpu:
        return None
    return "dtype is float16 and there is no GPU. Set dtype=float32."


def float16_overflows(facts: Facts) -> str | None:
    """Models trained in bfloat16 whose activations pass 65,504."""
    if facts.shape is None or facts.config.dtype != "float16" or not facts.shape.model_type.startswith("gemma"):
        return None
    return f"{facts.config.model} overflows in float16. Set dtype=bfloat16 (or float32 on a card without it)."


def bfloat16_absent(facts: Facts) -> str | None:
    """T4 and V100 have no bfloat16."""
    if facts.config.dtype != "bfloat16" or facts.gpu_has_bfloat16 is not False:
        return None
    return "dtype is bfloat16 and this card has none. Use --preset colab-t4, or dtype=float16."


def paged_optimizer_without_gpu(facts: Facts) -> str | None:
    """bitsandbytes' paged optimisers need CUDA's unified memory."""
    if facts.config.optim != "paged_adamw_8bit" or (facts.has_gpu and facts.config.device != "cpu"):
        return None
    return "optim is paged_adamw_8bit and there is no GPU to page to. Set optim=auto."


def gpu_absent(facts: Facts) -> str | None:
    """Asked for and not there."""
    if facts.config.device != "cuda" or facts.has_gpu:
        return None
    return "device is cuda and there is no GPU that torch can use. Set device=cpu, or use --preset cpu-demo."


def samples_see_each_other(facts: Facts) -> str | None:
    """The notebook's packing."""
    if facts.config.packing != "joined":
        return None
    return "packing is joined: rows in a bin attend to each other. Set packing=best-fit."


def prompt_is_trained_on(facts: Facts) -> str | None:
    """The model spends itself on writing prompts."""
    if facts.config.completion_only_loss:
        return None
    return "completion_only_loss is false: the loss counts the prompt. Set completion_only_loss=true."


def rows_are_cut(facts: Facts) -> str | None:
    """Pieces of rows: outputs without their beginning or end."""
    if facts.examples is None or facts.trained is None:
        return None
    whole = {tuple(example.input_ids) for example in facts.examples}
    pieces = sum(tuple(example.input_ids) not in whole for example in facts.trained)
    return f"{pieces} of {len(facts.trained)} samples are no whole row. Set packing=best-fit." if pieces else None


def row_over_limit(facts: Facts) -> str | None:
    """Rows are never cut, so the run would stop."""
    if facts.examples is None or facts.config.packing == "joined":
        return None
    long = [len(e.input_ids) for e in facts.examples if len(e.input_ids) > facts.config.max_length]
    if not long:
        return None
    return f"{len(long)} rows are longer than max_length {facts.config.max_length}. Set max_length={max(long)} or more."


def over_context(facts: Facts) -> str | None:
    """Positions the model has never seen, or does not have."""
    if facts.context is None or not facts.examples:
        return None
    longest = max(len(example.input_ids) for example in facts.examples)
    if longest <= facts.context:
        return None
    return f"A row has {longest} tokens and the context {facts.context}. Select with --max-tokens {facts.context}."


def end_token_missing(facts: Facts) -> str | None:
    """A model that never sees the end of an answer never learns to stop."""
    if facts.end_id is None or not facts.trained:
        return None
    without = sum(example.input_ids[-1] != facts.end_id for example in facts.trained)
    return (
        f"{without} of {len(facts.trained)} training samples do not end with the end token. Set packing=best-fit."
        if without
        else None
    )


def end_token_masked(facts: Facts) -> str | None:
    """Present, but without loss: the usual fault of pad = end with a collator that masks by id."""
    if facts.end_id is None or not facts.batches:
        return None
    masked = 0
    for batch in facts.batches:
        ends = (batch["input_ids"] == facts.end_id) & (batch["sample_ids"] >= 0)
        last = batch["sample_ids"] != batch["sample_ids"].roll(-1, dims=1)
        last[:, -1] = True
        masked += int((ends & last & (batch["labels"] == IGNORED)).sum())
    return f"{masked} end tokens carry no loss in the batches as built. Use another pad_token." if masked else None


def start_token_doubled(facts: Facts) -> str | None:
    """The template writes a start token and the tokenizer adds one."""
    if not facts.start_ids or not facts.examples:
        return None
    start = facts.start_ids[0]
    doubled = sum(list(example.input_ids[:2]) == [start, start] for example in facts.examples)
    return f"{doubled} rows begin with two start tokens. Take it out of the prompt template." if doubled else None


def nothing_labelled(facts: Facts) -> str | None:
    """Bins without a target train nothing and make the loss not a number."""
    if not facts.batches:
        return None
    empty = sum(int(((batch["labels"] != IGNORED).sum(dim=1) == 0).sum()) for batch in facts.batches)
    return f"{empty} bins hold no token with loss: every place is masked." if empty else None


def empty_outputs(facts: Facts) -> str | None:
    """They teach to answer nothing."""
    empty = sum(not row.output.strip() for row in facts.selection.selected)
    return f"{empty} selected rows have an empty output. Make the selection again." if empty else None


def token_counts_differ(facts: Facts) -> str | None:
    """Another template, tokenizer or edited rows: the bounds of the selection no longer hold."""
    if facts.examples is None:
        return None
    pairs = zip(facts.selection.selected, facts.examples, strict=True)
    differ = sum(row.token_count != len(example.input_ids) for row, example in pairs)
    if not differ:
        return None
    return f"{differ} rows have other token counts than the selection says: its template or tokenizer is another one."


def tokenizer_differs(facts: Facts) -> str | None:
    """The selection's counts and the model's ids would not belong together."""
    if facts.tokenizer_matches is not False:
        return None
    counted_with = facts.selection.manifest.config["tokenizer"] or facts.selection.manifest.config["model"]
    return (
        f"{facts.config.model} reads other ids than the tokenizer of {counted_with}, which the selection was counted "
        f"with. Select again with --model {facts.config.model} and without --tokenizer."
    )


def vocabulary_too_small(facts: Facts) -> str | None:
    """An id without a row in the embedding: an index error after the download."""
    if facts.largest_id is None or facts.shape is None or facts.largest_id < facts.shape.vocab_size:
        return None
    return f"The rows hold token id {facts.largest_id}; the model has {facts.shape.vocab_size}. Use its own tokenizer."


def targets_match_nothing(facts: Facts) -> str | None:
    """No layer would get an adapter."""
    if facts.matched_targets is None or facts.matched_targets > 0:
        return None
    return f"target_modules {facts.config.target_modules} match no layer of {facts.config.model}. Use all-linear."


def attention_unsupported(facts: Facts) -> str | None:
    """The family has no such attention."""
    if facts.attention_problem is None:
        return None
    return f"{facts.config.model} has no {facts.config.attn_implementation} attention. Set attn_implementation=eager."


def pad_token_unknown(facts: Facts) -> str | None:
    """A pad token that is not in the vocabulary."""
    if facts.pad_known is not False:
        return None
    return f'pad_token "{facts.config.pad_token}" is not in the vocabulary. Leave it out, or name one that is.'


def not_enough_memory(facts: Facts) -> str | None:
    """By the forecast, with gradient checkpointing wherever the config allows it."""
    if facts.memory_bytes is None or facts.needed_memory_gib is None:
        return None
    there = facts.memory_bytes / GIB
    if facts.needed_memory_gib <= there:
        return None
    return (
        f"The run needs about {facts.needed_memory_gib:.1f} GiB and there are {there:.1f}. "
        "Lower per_device_train_batch_size or max_length, or set gradient_checkpointing=true."
    )


def not_enough_disk(facts: Facts) -> str | None:
    """Checkpoints hold the adapter and the optimiser's state, two at a time."""
    if facts.free_disk_bytes is None or facts.needed_disk_bytes is None:
        return None
    if facts.needed_disk_bytes <= facts.free_disk_bytes:
        return None
    needed, free = facts.needed_disk_bytes / GIB, facts.free_disk_bytes / GIB
    return f"The run writes about {needed:.1f} GiB and {free:.1f} are free. Free space, or name --out on another disk."


def holdout_in_training(facts: Facts) -> str | None:
    """The eval loss would praise memory."""
    held = {(row.instruction, row.output) for row in facts.selection.holdout}
    shared = sum((row.instruction, row.output) in held for row in facts.selection.selected)
    return f"{shared} training rows are held-out rows too. Make the selection again." if shared else None


def rows_repeated(facts: Facts) -> str | None:
    """Exact duplicates count twice."""
    rows = [(row.instruction, row.output) for row in facts.selection.selected]
    again = len(rows) - len(set(rows))
    return f"{again} training rows are exact duplicates. Make the selection again." if again else None


def model_absent(facts: Facts) -> str | None:
    """A path that leads nowhere; whether a hub id exists is not asked."""
    if facts.model_can_exist is not False:
        return None
    return f"{facts.config.model} is neither a folder here with a config.json nor a hub id. Check the spelling."


def weights_not_safetensors(facts: Facts) -> str | None:
    """Pickled weights can run code; they are never loaded."""
    files = facts.local_files
    if files is None or any(name.endswith((".safetensors", ".safetensors.index.json")) for name in files):
        return None
    return f"{facts.config.model} holds no .safetensors file. Convert it with save_pretrained(safe_serialization=True)."


def remote_code(facts: Facts) -> str | None:
    """A model that brings its own Python: never run here."""
    if facts.shape is None or not getattr(facts.shape, "auto_map", None):
        return None
    return f"{facts.config.model} asks for its own code (auto_map), which is never run. Use a model transformers knows."


def grouping_without_effect(facts: Facts) -> str | None:
    """Packed bins are all of one length."""
    if not facts.config.group_by_length or facts.config.packing == "none":
        return None
    return "group_by_length does nothing to packed rows. Set packing=none, or leave it out."


TRAPS: tuple[Callable[[Facts], str | None], ...] = (
    end_token_missing, end_token_masked, rows_are_cut, start_token_doubled, token_counts_differ, nothing_labelled,
    empty_outputs, row_over_limit, over_context, tokenizer_differs, vocabulary_too_small, samples_see_each_other,
    prompt_is_trained_on, float16_on_a_cpu, float16_overflows, bfloat16_absent, paged_optimizer_without_gpu,
    gpu_absent, learning_rate_unusual, warmup_fills_the_run, more_steps_than_data, batch_larger_than_data,
    no_holdout, few_eval_rows, evaluated_only_at_the_end, alpha_out_of_proportion, dropout_high,
    targets_match_nothing, attention_unsupported, pad_token_unknown, holdout_in_training, rows_repeated,
    model_absent, weights_not_safetensors, remote_code, grouping_without_effect, not_enough_memory, not_enough_disk,
)  # fmt: skip
