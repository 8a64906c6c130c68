"""`finetune padding-study`: does padding change time or outcome? The same rows and seed, batched in different ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.artifact import digest_json, record_file, write_json, write_manifest, write_text
from curate.errors import UserError

if TYPE_CHECKING:
    from curate.selection import Selection
    from finetune.config import RunConfig

RESAMPLES = 2000
KIND = "finetune.padding_study"
SCHEMA = f"{KIND}/1"
PAGE = "index.html"
RECORD = "padding-study.json"


@dataclass(frozen=True)
class Arm:
    """One way of batching, trained: `loss_difference` is eval loss minus that of the packed arm, per token, with a 95%
    interval from resampling held-out rows in pairs (None for the packed arm itself)."""

    name: str
    pad_token: str
    steps: int
    tokens: int
    padding_share: float
    train_seconds: float
    tokens_per_second: float
    eval_loss: float
    loss_difference: float | None
    interval: tuple[float, float] | None


def study(config: RunConfig, selection: Selection, out: Path, rows: int, command: Sequence[str] = ()) -> list[Arm]:
    """Train every arm on the first `rows` selected rows, one epoch, and compare.

    Padded batches hold as many rows as make the packed batches' tokens on average, so that steps are equal work. The
    second pad token is one of the vocabulary that no row uses: a token added to the vocabulary would widen the softmax,
    which is a change of the model, not of the padding.
    """
    from curate.tokens import load_tokenizer
    from finetune.dataset import build_plan, encode_rows
    from finetune.train import train

    if not selection.holdout:
        raise UserError("The selection has no held-out rows to compare on.", "Select again with --holdout 200.")
    made = selection.manifest.config
    tokenizer = load_tokenizer(config.model, made["tokenizer"])
    part = replace(selection, selected=selection.selected[:rows])
    examples = encode_rows(tokenizer, part, part.selected)
    base = config.model_copy(
        update={"max_steps": None, "num_train_epochs": 1, "packing": "best-fit", "pad_token": None}
    )
    per_bin = len(examples) / len(build_plan(examples, base).bins)
    width = max(1, round(config.per_device_train_batch_size * per_bin))
    padded = {"packing": "none", "per_device_train_batch_size": width}
    ways: dict[str, dict[str, Any]] = {
        "packed": {},
        "right padding": padded,
        "length-grouped": padded | {"group_by_length": True},
    }
    measured = []
    for way, change in ways.items():
        for pad in pad_tokens(tokenizer, [e.input_ids for e in examples]):
            arm = base.model_copy(update={**change, "pad_token": pad})
            folder = out / f"{way.replace(' ', '-')}-{tokenizer.convert_tokens_to_ids(pad)}"
            measured.append((way, pad, train(arm, part, folder, False, "off", command)))
    return compare_arms(measured, tokenizer, part)


def pad_tokens(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """The unknown token (else the end token), and the last token of the vocabulary that no row holds."""
    used = {token for row in rows for token in row} | set(tokenizer.all_special_ids)
    first = tokenizer.unk_token or tokenizer.eos_token
    unused = next((i for i in range(len(tokenizer) - 1, -1, -1) if i not in used), None)
    return [first] if unused is None else [first, tokenizer.convert_ids_to_tokens(unused)]


def compare_arms(measured: Sequence[tuple[str, str, Any]], tokenizer: Any, selection: Selection) -> list[Arm]:
    """Eval loss of every arm on the whole holdout, and its difference from the first arm's."""
    import numpy as np

    from finetune.dataset import encode_rows
    from finetune.model import load_adapter, load_base_model
    from finetune.token_loss import row_losses

    config = measured[0][2].config
    held_out = encode_rows(tokenizer, selection, selection.holdout[: config.report_eval_rows])
    rng = np.random.default_rng(config.seed)
    picks = rng.integers(0, len(held_out), size=(RESAMPLES, len(held_out)))
    arms: list[Arm] = []
    first: Any = None
    for way, pad, run in measured:
        losses = row_losses(load_adapter(load_base_model(run.config), run.adapter_dir), held_out, 0)
        nll, tokens = np.array([loss.nll for loss in losses]), np.array([loss.tokens for loss in losses])
        first = nll if first is None else first
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


def as_dict(arms: Sequence[Arm]) -> dict[str, Any]:
    """For JSON."""
    return {"arms": [asdict(arm) for arm in arms]}


def write_report(
    arms: Sequence[Arm], config: RunConfig, selection: Selection, rows: int, command: Sequence[str]
) -> Path:
    """The folder `reports/padding-study-<digest>` with page, numbers and manifest, listed by the index of reports."""
    import shlex

    from curate.page import write_index
    from finetune.padding_page import headline, render_padding_page

    digest = digest_json([config.model_dump(), selection.digest, rows])
    folder = Path("reports") / f"padding-study-{digest[:8]}"
    told, second = headline(arms)
    facts = [
        ("Base model", config.model),
        ("Rows", str(min(rows, len(selection.selected)))),
        ("Held-out rows", str(len(selection.holdout[: config.report_eval_rows]))),
        ("Selection", selection.path.name),
    ]
    repeat = shlex.join(["finetune", *command[1:]]) if command else ""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, as_dict(arms))
    page = render_padding_page(folder.name, arms, facts, config.model_dump(mode="json"), repeat)
    write_text(folder / PAGE, page)
    write_manifest(
        folder,
        schema=SCHEMA,
        command=command,
        config={**config.model_dump(mode="json"), "headline": told, "second": second, "facts": facts},
        seed=config.seed,
        inputs=[],
        outputs=[record_file(folder, RECORD), record_file(folder, PAGE)],
        counts={"arms": len(arms), "rows": rows},
        seconds={f"{arm.name} {arm.pad_token}": arm.train_seconds for arm in arms},
    )
    write_index(folder.parent)
    return folder
