"""THE RECIPE of `finetune influence`: a small reference run, then every row's influence on a target, by content."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from curate.artifact import cache_dir, digest_json, file_lock, is_made, one_writer, record_file, write_manifest
from curate.artifact.sealed import append_sealed, read_folder_seal, read_sealed, seal_folder
from curate.console import progress, say
from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.pool.rows import Row
from curate.scores.influence_record import (
    KIND,
    SCORES,
    Influence,
    RowInfluence,
    influences_dir,
    read_influence,
    write_scores,
)
from curate.selection.record import SelectedRow, Selection
from curate.sources import load_rows
from curate.sources.target import load_target
from curate.strategies.coordinated import row_luck
from curate.tokens.tokenizers import EncodedExample, tokenizer_digest
from finetune.batches.dataset import encode_rows
from finetune.config import RunConfig
from finetune.influence.gradients import adapter_layers, row_influences
from finetune.influence.reference import train_reference
from finetune.model import attach_adapter, load_base_model
from finetune.run.base_model import base_model_digest
from finetune.run.job import pad_token
from finetune.run.tokenizer import load_training_tokenizer

APART = 200  # rows of the pool that stand for the target where none is named
SAVED_TOGETHER = 256  # rows between two writes: what a killed run loses
FINISHED, REFERENCE = "finished", "reference"


@dataclass(frozen=True)
class Task:
    """What is scored by its influence on what, after training on what. Nothing here is held out."""

    rows: list[SelectedRow]
    target: list[SelectedRow]
    reference: list[SelectedRow]

    def digest(self, config: RunConfig, selection: Selection, checkpoints: int) -> str:
        """Return the digest of all that decides the scores."""
        ids = [[row.row_id for row in rows] for rows in (self.rows, self.target, self.reference)]
        made = selection.manifest.config
        rendered = [made["tokenizer_digest"], made["prompt_template_text"], _longest(config, selection)]
        own = tokenizer_digest(load_training_tokenizer(config.model, selection))
        rendered += [own] if own != made["tokenizer_digest"] else []  # another model's, or changed since
        return digest_json([config.model_dump(), ids, rendered, base_model_digest(config.model), checkpoints])


def _longest(config: RunConfig, selection: Selection) -> int:
    """Most tokens of a row that is scored."""
    return min(config.max_length, int(selection.manifest.config["max_tokens"]))


def influence(
    config: RunConfig,
    selection: Selection,
    target: str | None = None,
    checkpoints: int = 3,
    out: Path | None = None,
    command: Sequence[str] = (),
) -> Influence:
    """Return the finished scores of the selection's whole pool, made or, where the same ones exist already, reused.

    The reference run trains on the selection's rows. `target` names rows with outputs; without one, 200 rows of the
    pool that are neither held out nor picked stand for it, and get no score. Held-out rows are read by nothing here.
    """
    started = time.perf_counter()
    task = plan_task(selection, target)
    digest = task.digest(config, selection, checkpoints)
    folder = out or influences_dir() / f"{selection.path.name}-{digest[:8]}"
    with one_writer(folder):
        if not is_made(folder, KIND, "influence_digest", digest, {SCORES}):
            scores = score_task(config, selection, task, checkpoints, digest)
            folder.mkdir(parents=True, exist_ok=True)
            n = write_scores(folder / SCORES, scores)
            write_manifest(
                folder,
                kind=KIND,
                command=command,
                config={
                    **config.model_dump(mode="json"),
                    "selection": selection.path.name,
                    "target": target,
                    "checkpoints": checkpoints,
                    "influence_digest": digest,
                },
                seed=config.seed,
                inputs=[],
                outputs=[record_file(folder, SCORES, n)],
                counts={"rows": n, "target_rows": len(task.target), "reference_rows": len(task.reference)},
                seconds={"influence": time.perf_counter() - started},
            )
    return read_influence(folder)


def plan_task(selection: Selection, target: str | None) -> Task:
    """Return what to score and on what; held-out rows are in none of it."""
    held_out = {row.row_id for row in selection.holdout}
    picked = {row.row_id for row in selection.selected}
    pool = sorted(pool_rows(selection), key=lambda row: row.row_id)
    pool = [row for row in pool if row.row_id not in held_out]
    if target is None:
        others = [row for row in pool if row.row_id not in picked]
        luck = row_luck([row.row_id for row in others], selection.manifest.seed or 0)
        chosen = [others[i] for i in np.argsort(luck, kind="stable")[:APART]]
        if not chosen:
            raise UserError("Every row of the pool is picked or held out.", "Name rows to learn for: --target FILE.")
    else:
        made_by = ReadOptions.of(selection.manifest.config)
        chosen = [row for row in load_target(target, made_by).rows if row.row_id not in held_out]
        if not any(row.output.strip() for row in chosen):
            raise UserError(
                f"No row of {target} has an output, and influence is on the loss of outputs.",
                "Give rows with answers, or use --strategy target-words, which needs instructions alone.",
            )
        chosen = [row for row in chosen if row.output.strip()]
    apart = {row.row_id for row in chosen}
    scored = [_line(row) for row in pool if row.output.strip() and row.row_id not in apart]
    return Task(scored, [_line(row) for row in chosen], list(selection.selected))


def pool_rows(selection: Selection) -> list[Row]:
    """Return the rows of the pool that the selection was made from, read again; an error where they are others."""
    made = selection.manifest.config
    loaded = load_rows(made["dataset"], made["columns"], ReadOptions.of(made))
    if loaded.digest != made["pool_digest"]:
        raise UserError(
            f"{made['dataset']} no longer holds the rows that {selection.path.name} was made from.", "Select again."
        )
    return list({row.row_id: row for row in loaded.rows if row.row_index not in loaded.excluded}.values())


def _line(row: Row) -> SelectedRow:
    return SelectedRow(row.row_id, row.instruction, row.output, row.source, 0, row.extra)


def score_task(
    config: RunConfig, selection: Selection, task: Task, checkpoints: int, digest: str
) -> list[RowInfluence]:
    """Return the scores; what an earlier, killed call left in the cache is taken up."""
    cache = cache_dir("influence") / digest[:32]
    with file_lock(cache.with_suffix(".lock")):  # the same scores may be on their way into another --out
        cache.mkdir(exist_ok=True)
        return _score_in(cache, config, selection, task, checkpoints, digest)


def _score_in(
    cache: Path, config: RunConfig, selection: Selection, task: Task, checkpoints: int, digest: str
) -> list[RowInfluence]:
    """Return the scores, through files in `cache`."""
    tokenizer = load_training_tokenizer(config.model, selection)
    model = attach_adapter(load_base_model(config), config)
    scorer = Scorer(model, adapter_layers(model), pad_token(tokenizer, config))
    longest = _longest(config, selection)
    if read_folder_seal(cache / REFERENCE, FINISHED) is None:
        target = [e for e in encode_rows(tokenizer, selection, task.target) if len(e.input_ids) <= longest]
        if not target:
            raise UserError(f"Every target row is longer than {longest} tokens.", "Name shorter rows.")
        examples = encode_rows(tokenizer, selection, task.reference)
        scorer.keep_reference(cache / REFERENCE, examples, target, config, checkpoints)
    else:
        say("The reference run is finished already; scoring goes on.")
    encoded = zip(task.rows, encode_rows(tokenizer, selection, task.rows), strict=True)
    short = [(row.row_id, example) for row, example in encoded if len(example.input_ids) <= longest]
    known = scorer.score(cache, digest, short)
    return [RowInfluence(row_id, known[row_id]) for row_id, _ in short]


@dataclass(frozen=True)
class Scorer:
    """A model with an adapter, and the adapter's linear layers."""

    model: Any
    layers: list[Any]
    pad: int

    def keep_reference(
        self,
        folder: Path,
        examples: list[EncodedExample],
        target: list[EncodedExample],
        config: RunConfig,
        checkpoints: int,
    ) -> None:
        """Train the reference run; write weights and direction of every checkpoint into `folder`."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

        def keep(weights: list[Any], direction: list[Any]) -> None:
            named = {f"w.{i}": weight.cpu() for i, weight in enumerate(weights)}
            named |= {f"d.{i}": each.cpu() for i, each in enumerate(direction)}
            save_file(named, folder / f"{len(list(folder.iterdir())):02}.safetensors")

        train_reference(self.model, self.layers, examples, target, config, checkpoints, self.pad, keep)
        seal_folder(folder, FINISHED)

    def score(self, cache: Path, digest: str, rows: list[tuple[str, EncodedExample]]) -> dict[str, float]:
        """Return the influence a token by row_id, summed over the checkpoints; saved every 256 rows."""
        file = cache / SCORES
        known = {line["row_id"]: float(line["influence"]) for line in read_sealed(file, digest)[0]}
        todo = [(row_id, example) for row_id, example in rows if row_id not in known]
        device = self.layers[0].weight.device
        saved = [load_file(path, device=str(device)) for path in sorted((cache / REFERENCE).glob("*.safetensors"))]
        for layer in self.layers:
            layer.weight.requires_grad_(False)
        with progress("Influence", len(todo)) as advance:
            for start in range(0, len(todo), SAVED_TOGETHER):
                block = todo[start : start + SAVED_TOGETHER]
                totals = sum(self.at_checkpoint(each, [example for _, example in block]) for each in saved)
                for (row_id, example), total in zip(block, np.asarray(totals).tolist(), strict=True):
                    known[row_id] = total / len(example.input_ids)
                    append_sealed(file, {"row_id": row_id, "influence": known[row_id]}, digest)
                advance(len(block))
        return known

    def at_checkpoint(self, saved: dict[str, Any], examples: list[EncodedExample]) -> NDArray[np.float64]:
        """Return the influence (n,) of some rows at one checkpoint."""
        for i, layer in enumerate(self.layers):
            layer.weight.data = saved[f"w.{i}"].to(layer.weight.dtype)
        direction = [saved[f"d.{i}"] for i in range(len(self.layers))]
        return row_influences(self.model, self.layers, direction, examples, self.pad)
