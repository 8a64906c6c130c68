"""How hard a small causal model finds each row's answer: scored once, kept by content, picked by many times."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from curate.artifact import file_lock, json_line
from curate.artifact.sealed import sealed
from curate.console import progress
from curate.defaults import DEFAULT_SCORE_MAX_TOKENS, LOCAL, SMOLLM2
from curate.engines.cores import cores
from curate.engines.types import Engine, cut, local_path
from curate.loading import load_pretrained
from curate.pool.rows import Row
from curate.pool.table import PoolTable, as_row_ids
from curate.pool.writer import write_table
from curate.scores.kept_scores import RowScore, read_scores, scores_path
from curate.tokens.embedded_model import smollm2_as_safetensors
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import encode_examples, load_tokenizer

_SAVED_TOGETHER = 64  # rows between two writes: what a killed run loses


@dataclass(frozen=True)
class ScoreStep:
    """Returns the scores of the rows at the places of a block; a worker loads the model once."""

    table: PoolTable
    model: str
    max_tokens: int
    advice = "Lower --max-tokens, or start Ray with fewer --num-cpus on that node."  # where memory runs out

    def __call__(self, places: NDArray[np.int64]) -> list[RowScore]:
        return self.score(places, lambda rows: None)

    def score(self, places: NDArray[np.int64], advance: Callable[[int], None]) -> list[RowScore]:
        """Return the scores, saying after every row that there is one more."""
        return self._scorer(self.table.read(places), advance)

    @functools.cached_property
    def _scorer(self) -> Callable[[Sequence[Row], Callable[[int], None]], list[RowScore]]:
        return _load_scorer(self.model, self.max_tokens)


def score_rows(
    rows: Sequence[Row], model: str, max_tokens: int = DEFAULT_SCORE_MAX_TOKENS, engine: Engine | None = None
) -> dict[str, int]:
    """Score the rows that have an output and no score yet; how many were scored, cached or too long comes back.

    Saved every 64 rows: a run that was stopped goes on where it was. Rows of more than `max_tokens` tokens, or than
    the model can read, are recorded without a score, and scored by a later run that allows them. On Ray every worker
    has the model; here it is loaded once, and read by a thread a core, or by the GPU.
    """
    table = rows if isinstance(rows, PoolTable) else write_table(rows)
    path = scores_path(model)
    with file_lock(path.with_suffix(".lock")):
        cached = read_scores(model)  # once the lock is held: what another process scored meanwhile is there
        wanted = _places_with_output(table)
        missing = [
            row_id not in cached or (cached[row_id].nll_given is None and cached[row_id].tokens <= max_tokens)
            for row_id in as_row_ids(table.ids[wanted])
        ]
        todo = wanted[np.array(missing, dtype=bool)]
        counts = {"scored": 0, "cached": len(wanted) - len(todo), "too_long": 0}
        if not len(todo):
            return counts
        _mend_torn_end(path)
        with progress("Scoring", len(todo)) as advance:
            for scores in _score_blocks(ScoreStep(table, local_path(model), max_tokens), todo, engine, advance):
                with path.open("ab") as file:
                    file.writelines(json_line(sealed(asdict(each), path.stem)).encode() for each in scores)
                counts["scored"] += sum(each.nll_given is not None for each in scores)
                counts["too_long"] += sum(each.nll_given is None for each in scores)
    return counts


def _score_blocks(
    step: ScoreStep, todo: NDArray[np.int64], engine: Engine | None, advance: Callable[[int], None]
) -> Iterator[list[RowScore]]:
    blocks = [todo[start : start + _SAVED_TOGETHER] for start in range(0, len(todo), _SAVED_TOGETHER)]
    if engine is None or engine.name == LOCAL:
        yield from (step.score(block, advance) for block in blocks)
        return
    if Path(step.model).exists():
        engine.require_path(step.model)
    for scores in engine.map(step, blocks):
        advance(len(scores))
        yield scores


def _places_with_output(table: PoolTable) -> NDArray[np.int64]:
    """Places of the rows that have an output, of equal rows one, in row_id order."""
    blocks = cut(np.arange(len(table)), 1)
    kept = [places[[bool(row.output.strip()) for row in table.read(places)]] for places in blocks]
    places = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
    return places[np.unique(table.ids[places], return_index=True)[1]]


def _mend_torn_end(path: Path) -> None:
    """End the line that a killed process left open, so that the next one does not run into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def _load_scorer(model: str, max_tokens: int) -> Callable[[Sequence[Row], Callable[[int], None]], list[RowScore]]:
    """Scores of some rows, in order. Each row is computed by itself and by one thread, so that neither the rows beside
    it nor the number of cores move its last digits."""
    tokenizer = load_tokenizer(model)
    loaded = _load_model(model)
    on_gpu = loaded.device.type != "cpu"
    limit = min(max_tokens, getattr(loaded.config, "max_position_embeddings", max_tokens))
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id

    def score(row: Row) -> RowScore:
        example = encode_examples(tokenizer, RAW, [(row.instruction, row.output)])[0]
        ids, prompt_length = example.input_ids[:-1], example.prompt_length  # the end token is not part of the answer
        answer = ids[prompt_length:]
        if len(ids) > limit or not answer:
            return RowScore(row.row_id, len(ids), None, None)
        given, alone = (
            round(_mean_nll(loaded, torch.tensor(context, device=loaded.device), len(answer)), 4)
            for context in (ids, [start, *answer])
        )
        return RowScore(row.row_id, len(ids), given, alone)

    def score_all(rows: Sequence[Row], advance: Callable[[int], None]) -> list[RowScore]:
        workers = 1 if on_gpu else cores()
        threads = torch.get_num_threads()
        made = []
        try:
            with ThreadPoolExecutor(workers, initializer=None if on_gpu else _one_thread) as pool:
                for each in pool.map(score, rows):
                    made.append(each)
                    advance(1)
        finally:
            torch.set_num_threads(threads)
        return made

    return score_all


def _one_thread() -> None:
    torch.set_num_threads(1)


def _mean_nll(model: Any, ids: Any, n_answer: int) -> float:
    """Mean negative log-likelihood of the last `n_answer` of `ids` (1-d), each given those before it."""
    with torch.inference_mode():
        logits = model(input_ids=ids[None], use_cache=False).logits[0, -n_answer - 1 : -1].float()
        return float(F.cross_entropy(logits, ids[-n_answer:]))


def _load_model(model: str) -> Any:
    source = str(smollm2_as_safetensors()) if model == SMOLLM2 else model
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_pretrained(AutoModelForCausalLM, source, "model", dtype=torch.float32, use_safetensors=True)
    return loaded.to(device).eval()
