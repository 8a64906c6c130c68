"""`finetune padding-study`: does padding change time or outcome? The same rows and seed, batched in different ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from curate.artifact import digest_json, home
from curate.console import say
from curate.errors import UserError
from curate.selection.record import Selection
from finetune.batches.dataset import build_plan, encode_rows
from finetune.batches.token_loss import mean_loss, row_losses
from finetune.config import RunConfig
from finetune.model import adapter_off, load_adapter, load_base_model
from finetune.padding_study.record import Arm
from finetune.recipe import train
from finetune.run.record import CONFIG, Run
from finetune.run.tokenizer import load_training_tokenizer, require_selections_tokenizer

RESAMPLES = 2000
LEARNT_NATS = 0.001  # a fall of the eval loss, in nats a token, that is more than rounding
SET_BY_THE_STUDY = {
    "max_steps": None, "num_train_epochs": 1, "early_stopping_patience": None, "packing": "best-fit",
    "group_by_length": False, "pad_token": None,
}  # fmt: skip
FEWEST_STEPS = 3  # of an arm: the first step also pays for what torch sets up once


def study_digest(config: RunConfig, selection: Selection, rows: int) -> str:
    """What the study's results depend on."""
    return digest_json([as_studied(config).model_dump(), selection.first_rows(rows).digest])


def as_studied(config: RunConfig) -> RunConfig:
    """Return the settings that the arms have in common, whatever `config` says of batching and of how long to train."""
    return config.model_copy(update=SET_BY_THE_STUDY)


def study(config: RunConfig, selection: Selection, rows: int, command: Sequence[str] = ()) -> list[Arm]:
    """Train every arm on the first `rows` selected rows, one epoch, and compare. Arms already trained are reused, and
    one that was stopped goes on.

    The runs lie in `$ROWPICK_HOME/padding-study/DIGEST`, apart from those that a report would pick up.

    Padded batches hold as many rows as make the packed batches' tokens on average, so that steps are equal work. The
    second pad token is one of the vocabulary that no row uses: a token added to the vocabulary would widen the softmax,
    which is a change of the model, not of the padding.
    """
    out = home() / "padding-study" / study_digest(config, selection, rows)[:8]
    if not selection.holdout:
        raise UserError("The selection has no held-out rows to compare on.", "Select again with --holdout 200.")
    tokenizer = load_training_tokenizer(config.model, selection)
    require_selections_tokenizer(tokenizer, config.model, selection)
    part = selection.first_rows(rows)
    examples = encode_rows(tokenizer, part, part.selected)
    unused = [
        f"{name}={value}" for name in SET_BY_THE_STUDY if (value := getattr(config, name)) != SET_BY_THE_STUDY[name]
    ]
    if unused:
        say(f"Every arm trains one epoch in its own way; not used: {', '.join(unused)}.")
    base = as_studied(config)
    per_bin = len(examples) / len(build_plan(examples, base).bins)
    width = max(1, round(config.per_device_train_batch_size * per_bin))
    padded = {"packing": "none", "per_device_train_batch_size": width}
    ways: dict[str, dict[str, Any]] = {
        "packed": {},
        "right padding": padded,
        "length-grouped": padded | {"group_by_length": True},
    }
    for way, change in ways.items():
        steps = build_plan(examples, base.model_copy(update=change)).max_steps
        if steps < FEWEST_STEPS:
            enough = math.ceil(len(examples) * FEWEST_STEPS / steps)
            more = f"--rows {enough} or more" if enough <= len(selection.selected) else f"a selection of {enough} rows"
            raise UserError(
                f"{len(examples)} rows make {steps} step(s) in the arm with {way}; a time or an outcome takes at least "
                f"{FEWEST_STEPS}.",
                f"Use {more}, or smaller batches.",
            )
    measured = []
    for way, change in ways.items():
        for pad in pad_tokens(tokenizer, [e.input_ids for e in examples]):
            arm = base.model_copy(update={**change, "pad_token": pad})
            folder = out / f"{way.replace(' ', '-')}-{tokenizer.convert_tokens_to_ids(pad)}"
            started = (folder / CONFIG).is_file()  # by a study that was stopped
            measured.append((way, pad, train(arm, part, folder, started, "off", command)))
    arms = compare_arms(measured, tokenizer, part)
    require_learning(arms)
    return arms


def require_learning(arms: Sequence[Arm]) -> None:
    """Refuse arms whose eval loss did not fall below the base model's: that they are alike says nothing of padding."""
    idle = [arm for arm in arms if arm.base_loss is not None and arm.eval_loss >= arm.base_loss - LEARNT_NATS]
    if idle:
        raise UserError(
            f"{len(idle)} of {len(arms)} arms did not learn: their eval losses are {idle[0].eval_loss:.4f} or more, "
            f"and the base model's is {idle[0].base_loss:.4f}.",
            "Use more --rows, a higher learning_rate, or warmup_steps=0.",
        )


def pad_tokens(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """The unknown token (else the end token), and the last token of the vocabulary that no row holds."""
    used = {token for row in rows for token in row} | set(tokenizer.all_special_ids)
    first = tokenizer.unk_token or tokenizer.eos_token
    unused = next((i for i in range(len(tokenizer) - 1, -1, -1) if i not in used), None)
    return [first] if unused is None else [first, tokenizer.convert_ids_to_tokens(unused)]


def compare_arms(
    measured: Sequence[tuple[str, str, Run]], tokenizer: PreTrainedTokenizerBase, selection: Selection
) -> list[Arm]:
    """Eval loss of every arm on the whole holdout, and its difference from the first arm's."""
    config = measured[0][2].config
    held_out = encode_rows(tokenizer, selection, selection.holdout[: config.report_eval_rows])
    rng = np.random.default_rng(config.seed)
    picks = rng.integers(0, len(held_out), size=(RESAMPLES, len(held_out)))
    arms: list[Arm] = []
    first: NDArray[np.float64] | None = None
    base_loss = 0.0
    for way, pad, run in measured:
        model = load_adapter(load_base_model(run.config), run.adapter_dir)
        losses = row_losses(model, held_out, 0)
        nll, tokens = np.array([loss.nll for loss in losses]), np.array([loss.tokens for loss in losses])
        if first is None:
            first = nll
            with adapter_off(model):
                base_loss = mean_loss(row_losses(model, held_out, 0)) or 0.0
        difference = nll - first
        spread = difference[picks].sum(axis=1) / tokens[picks].sum(axis=1)
        history = [line for line in run.history if line["padding_share"] is not None]
        seconds = run.manifest.seconds["train"]
        rates = [line["tokens_per_second"] for line in run.timings if line["tokens_per_second"]]
        arms.append(
            Arm(
                name=way,
                pad_token=pad,
                steps=run.history[-1]["step"],
                tokens=run.history[-1]["tokens_seen"],
                padding_share=_padding(history),
                train_seconds=round(seconds, 3),
                tokens_per_second=float(np.median(rates)),
                eval_loss=float(nll.sum() / tokens.sum()),
                base_loss=base_loss,
                loss_difference=float(difference.sum() / tokens.sum()) if arms else None,
                interval=(float(np.quantile(spread, 0.025)), float(np.quantile(spread, 0.975))) if arms else None,
            )
        )
    return arms


def _padding(history: Sequence[dict[str, Any]]) -> float:
    """Share of padding over the run: each line's share weighted by its places."""
    before, real, places = 0, 0.0, 0.0
    for line in history:
        tokens = line["tokens_seen"] - before
        before = line["tokens_seen"]
        real += tokens
        places += tokens / (1 - line["padding_share"])
    return 1 - real / places if places else 0.0


def answers(arms: Sequence[Arm]) -> list[str]:
    """Return what the figures say about time, outcome and pad token, each sentence with the numbers it comes from."""
    packed = arms[0]
    sentences = []
    for arm in (arm for arm in arms if arm.pad_token == packed.pad_token and arm is not packed):
        ratio = arm.train_seconds / packed.train_seconds
        pace = f"{ratio:.2f} times as long as" if ratio >= 1 else f"1/{1 / ratio:.2f} as long as"
        sentences.append(
            f"Time: {arm.name}, with {arm.padding_share:.1%} padding, took {arm.train_seconds:.0f} s, {pace} packed "
            f"({packed.train_seconds:.0f} s, {packed.padding_share:.1%} padding)."
        )
    for arm in (arm for arm in arms if arm.pad_token == packed.pad_token):
        if arm.interval is None or arm.loss_difference is None:
            continue
        low, high = arm.interval
        shown = f"{arm.loss_difference:+z.4f} nats a token [{low:+z.4f}, {high:+z.4f}]"
        if arm.steps != packed.steps:  # an epoch in fewer, fuller batches is fewer updates, which alone moves the loss
            shown += f", after {arm.steps} updates to packed's {packed.steps}"
        sentences.append(
            f"Outcome: the eval loss of {arm.name} differs from packed by {shown}."
            if low > 0 or high < 0
            else f"Outcome: no difference shown between {arm.name} and packed, {shown}; "
            f"a difference below {(high - low) / 2:.4f} could not have been seen."
        )
    pairs = [
        (a, b) for a, b in zip(arms[::2], arms[1::2], strict=False) if a.name == b.name and a.pad_token != b.pad_token
    ]
    other = [a.name for a, b in pairs if a.eval_loss != b.eval_loss]
    if pairs and not other:
        sentences.append(
            f"Pad token: {pairs[0][0].pad_token} or {pairs[0][1].pad_token} made no difference: "
            "the eval losses are equal to the last bit in every way of batching."
        )
    elif pairs:
        sentences.append(f"Pad token: it changed the eval loss of {', '.join(other)}.")
    if pairs:
        spread = max(abs(a.train_seconds / b.train_seconds - 1) for a, b in pairs)
        sentences.append(
            f"How far to trust the times: the same work, timed with either pad token, differs by up to {spread:.0%}."
        )
    return sentences
