"""What the answers of the cells of the study "which rows?" are worth: their form, and programs that pass."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_lines import key
from benchmarks.which_rows_results import FEW, RANDOM, Results
from evaluate_suite.generation.raw_prompts import RawPrompt
from evaluate_suite.generation.record import END_TOKEN, MAX_NEW_TOKENS, Generation
from evaluate_suite.metrics.well_formed_answer import score as well_formed_score
from evaluate_suite.statistics.levels import MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import correct
from evaluate_suite.statistics.types import PairedDifference


def answer_scores(
    files: Iterable[Path], prompts: Sequence[RawPrompt], decode: Callable[[str, list[int]], str]
) -> dict[str, dict[str, float]]:
    """Return by cell, then by prompt, whether the answer is well-formed (0 or 1); `decode` takes (prompt, new ids)."""
    known = {prompt.prompt_id: prompt for prompt in prompts}
    scores: dict[str, dict[str, float]] = {}
    for line in (line for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        own = scores.setdefault(record["key"], {})
        for prompt_id, (ids, ended) in record["answers"].items():
            prompt = known[prompt_id]
            generation = Generation(
                prompt_id, prompt.prompt, decode(prompt.prompt, ids), len(ids) + ended,
                END_TOKEN if ended else MAX_NEW_TOKENS, language=prompt.language,
            )  # fmt: skip
            value = well_formed_score(generation).value
            if value is not None:
                own[prompt_id] = float(value)
    return scores


def answered_effects(results: Results, scores: Mapping[str, Mapping[str, float]], measure: str) -> dict[str, Any]:
    """Return every selector's share of passed prompts or tasks and its difference to random, paired by draw."""
    by_name: dict[str, dict[int, MeasuredRun]] = {}
    for name in (RANDOM, *results.selectors(None)):
        for cell in results.of(name):
            if own := scores.get(key(cell)):
                run = MeasuredRun(key(cell), name, f"{name} {cell['draw']}", 0, dict[Any, float](own), cell["draw"])
                by_name.setdefault(name, {})[cell["draw"]] = run
    random = by_name.pop(RANDOM, {})
    pairs: list[PairedDifference] = []
    shares: dict[str, Any] = {}
    groups: dict[frozenset[int], list[str]] = {}
    for name, of_name in by_name.items():
        groups.setdefault(frozenset(of_name) & frozenset(random), []).append(name)
    for draws, some in groups.items():
        if len(draws) < FEW:
            continue
        runs = [random[draw] for draw in sorted(draws)]
        runs += [by_name[name][draw] for name in some for draw in sorted(draws)]
        compared = compare_strategies(runs, higher_is_better=True, measure=measure, baseline=RANDOM, bounds=(0.0, 1.0))
        pairs += compared.pairs
        shares |= compared.estimates
    if not pairs:
        return {}
    everything = compare_strategies(
        [*random.values(), *next(iter(by_name.values())).values()], higher_is_better=True, bounds=(0.0, 1.0)
    )
    shares[RANDOM] = everything.estimates[RANDOM]
    of_pair = {pair.second: pair for pair in correct(pairs, higher_is_better=True)}
    return {
        name: {
            "share": asdict(shares[name]),
            "draws": of_pair[name].n_units if name in of_pair else len(random),
            "to_random": asdict(of_pair[name]) if name in of_pair else None,
        }
        for name in (RANDOM, *of_pair)
    }
