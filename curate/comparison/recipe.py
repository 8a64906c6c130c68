"""THE RECIPE of `curate compare`: one pool, prepared once; every strategy picks from the same candidates; measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.artifact import digest_json, is_made, one_writer, record_file, write_manifest, write_text
from curate.comparison.page import build_page_data, nearest_of, render_comparison_page
from curate.comparison.record import (
    CLOSE_COSINE,
    KIND,
    PAGE,
    RECORD,
    Comparison,
    ComparisonRecord,
    StrategyPicks,
    read_comparison,
)
from curate.config import MADE_BEFORE, CompareConfig, SelectConfig, inputs_exist
from curate.defaults import DEFAULT_SCORE_MODEL, LOCAL
from curate.engines import open_engine
from curate.engines.types import Engine
from curate.errors import UsageError, UserError, did_you_mean
from curate.page import format_count, format_number, write_index
from curate.pipeline import build_candidates, complete, load, prepare
from curate.selection.choosing import choose
from curate.selection.language_mix import language_mix
from curate.selection.steps import Prepared, Stopwatch
from curate.selection.write import config_digest
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates, Picks
from curate.vectors.coverage import nearest_cosines
from curate.vectors.diversity import close_pairs, evenness, vendi_score


def parse_strategies(text: str) -> list[str]:
    """Return names separated by commas, or "all"; an unknown or repeated one is a usage error."""
    names = list(STRATEGIES) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in STRATEGIES:
            raise UsageError(f'Unknown strategy "{name}".', did_you_mean(name, STRATEGIES))
    if not names or len(set(names)) < len(names):
        raise UsageError(f'--strategies is "{text}".', "Name each strategy once, for example: random,kmeans")
    return names


def compare(
    config: CompareConfig,
    out: Path | None = None,
    command: Sequence[str] = (),
    *,
    engine: str = LOCAL,
    ray_address: str | None = None,
) -> Comparison:
    """Return the finished comparison of the strategies, made or, where the same one exists already, reused.

    A strategy takes those of the options that it has.
    """
    strategies = {name: own_options(name, config.options) for name in config.strategies}
    configs = [
        config.pool.model_copy(update={"strategy": name, "strategy_options": options})
        for name, options in strategies.items()
    ]
    for each in configs:
        each.check()
    refuse_unused(config)
    inputs_exist(config.pool)
    with open_engine(engine, ray_address) as workers:
        return _compare(config, configs, strategies, out, command, workers)


def refuse_unused(config: CompareConfig) -> None:
    """Raise a `UsageError` where something is given that none of the strategies has a use for."""
    entries, pool = [STRATEGIES[name] for name in config.strategies], config.pool
    uses = {"target": any(entry.takes_target for entry in entries)}
    uses |= {name: any(name in entry.needs for entry in entries) for name in MADE_BEFORE}
    uses["score_model"] = pool.score_model == DEFAULT_SCORE_MODEL or any("scores" in entry.needs for entry in entries)
    for name, used in uses.items():
        if getattr(pool, name) is not None and not used:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"None of {', '.join(config.strategies)} takes {option}.", "Leave it out.")


def _compare(
    config: CompareConfig,
    configs: list[SelectConfig],
    strategies: Mapping[str, Mapping[str, Any]],
    out: Path | None,
    command: Sequence[str],
    engine: Engine,
) -> Comparison:
    watch = Stopwatch()
    # Missing scores are an error before anything is embedded: here only where no strategy could do without.
    pool = load(next((c for c in configs if "scores" not in STRATEGIES[c.strategy].needs), configs[0]), watch, engine)
    used = {"encoder": pool.config.encoder}  # the one that "auto" stands for
    configs = [each.model_copy(update=used) for each in configs]
    digest = digest_json([config_digest(replace(pool, config=each)) for each in configs])
    folder = out or Path("reports") / f"compare-{digest[:8]}"
    with one_writer(folder):
        if not is_made(folder, KIND, "comparison_digest", digest, (PAGE, RECORD)):
            prepared = prepare(pool, watch)
            candidates = build_candidates(prepared)
            picked: dict[str, Picks | str] = {}
            for each in configs:
                with watch.timed(f"pick {each.strategy}"):
                    picked[each.strategy] = _try(prepared, each, candidates)
            results = measure_all(prepared, candidates, picked)
            _write(prepared, candidates, picked, results, folder, digest, command, strategies, watch)
    return read_comparison(folder)


def own_options(strategy: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that a strategy has."""
    return {name: value for name, value in options.items() if name in STRATEGIES[strategy].options}


def _try(prepared: Prepared, config: SelectConfig, candidates: Candidates) -> Picks | str:
    """Return the picks of a strategy, or the sentence that says why it cannot pick from these candidates."""
    try:
        return choose(config, complete(prepared, config, candidates))
    except UserError as error:
        return str(error)


def measure_all(prepared: Prepared, candidates: Candidates, picked: dict[str, Picks | str]) -> list[StrategyPicks]:
    """One result a strategy, in the order given; every one failing is an error."""
    done = {name: set(p.indices.tolist()) for name, p in picked.items() if not isinstance(p, str)}
    if not done:
        raise UserError(f"No strategy could pick. {'; '.join(f'{name}: {why}' for name, why in picked.items())}")
    results = []
    for name, picks in picked.items():
        if isinstance(picks, str):
            results.append(StrategyPicks(strategy=name, reason=picks))
            continue
        mine = done[name]
        shared = {other: round(len(mine & theirs) / len(mine), 4) for other, theirs in done.items() if other != name}
        results.append(measure(prepared, candidates, name, picks, shared))
    return results


def measure(
    prepared: Prepared, candidates: Candidates, name: str, picks: Picks, shared: dict[str, float]
) -> StrategyPicks:
    """Coverage, spread, lengths and mix of one strategy's picks."""
    vectors = candidates.embeddings[picks.indices]
    nearest = nearest_cosines(candidates.embeddings, picks.indices)
    labels, tokens = candidates.labels[picks.indices], candidates.token_counts[picks.indices]
    n_clusters = len(candidates.centres)
    spread = evenness(labels, n_clusters)
    table = prepared.pool.rows
    rows = table.read(table.place[prepared.candidates[picks.indices]])
    sources = Counter(row.source for row in rows)
    low, middle, high = (int(n) for n in np.percentile(tokens, [5, 50, 95], method="nearest"))
    return StrategyPicks(
        strategy=name,
        rows=len(rows),
        tokens=int(tokens.sum()),
        mean_distance=round(1 - float(nearest.astype(np.float64).mean()), 4),
        worst_distance=round(1 - float(nearest.min()), 4),
        facility_location=round(float(nearest.astype(np.float64).sum()), 1),
        vendi_score=round(vendi_score(vectors), 1),
        clusters_with_a_pick=len(np.unique(labels)),
        evenness=None if spread is None else round(spread, 4),
        near_duplicate_pairs=close_pairs(vectors, prepared.pool.config.near_duplicate),
        close_pairs=close_pairs(vectors, CLOSE_COSINE),
        lengths=(low, middle, high),
        cluster_shares=tuple(round(n / len(rows), 5) for n in np.bincount(labels, minlength=n_clusters).tolist()),
        sources={source: round(n / len(rows), 4) for source, n in sources.most_common()},
        languages=language_mix(rows),
        shared=shared,
    )


def headline(results: Sequence[StrategyPicks], n_candidates: int) -> tuple[str, str]:
    """Which strategy's picks lie nearest to the pool, and what that does not say."""
    done = [r for r in results if r.mean_distance is not None]
    nearest = nearest_of(done)
    best, others = nearest[0], [r.strategy for r in nearest[1:]]
    distance = f"{best.mean_distance:.3f} to the nearest pick on average"
    if len(done) > 1 and len(nearest) == len(done):
        answer = f"All {len(done)} strategies cover the {n_candidates:,} candidates alike: {distance}."
    else:
        named, alike = (
            (f"{', '.join([best.strategy, *others[:-1]])} and {others[-1]} cover", ", and alike")
            if others
            else (f"{best.strategy} covers", "")
        )
        bar = next((r for r in done if r.strategy == "random" and r not in nearest), None)
        against = "" if bar is None else f", against {bar.mean_distance:.3f} for random"
        answer = f"{named} the {n_candidates:,} candidates best{alike}: {distance}{against}."
    varied = max(done, key=lambda r: (r.vendi_score or 0.0, r.strategy))
    same = [r for r in done if r.vendi_score == varied.vendi_score]
    variety = (
        f"{varied.strategy} is the most varied (Vendi score {varied.vendi_score:.1f})."
        if len(same) == 1
        else f"{len(same)} of the {len(done)} are the most varied (Vendi score {varied.vendi_score:.1f})."
    )
    second = (
        f"{variety} Coverage is not quality: which selection is worth more, only training on each and comparing the "
        "runs can show."
    )
    return answer, second


def _write(
    prepared: Prepared,
    candidates: Candidates,
    picked: dict[str, Picks | str],
    results: list[StrategyPicks],
    folder: Path,
    digest: str,
    command: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    watch: Stopwatch,
) -> None:
    """Write record, page and manifest, and the index that lists it."""
    pool = prepared.pool
    folder.mkdir(parents=True, exist_ok=True)
    answer, second = headline(results, len(candidates))
    places = {name: picks.indices.tolist() for name, picks in picked.items() if not isinstance(picks, str)}
    data = build_page_data(prepared, candidates, places, results, watch.seconds, folder.name, (answer, second), options)
    ComparisonRecord(headline=answer, results=results).write(folder)
    write_text(folder / PAGE, render_comparison_page(data))
    budget = pool.config.token_budget
    size = ("k", f"{pool.config.k:,}") if budget is None else ("Token budget", f"{budget:,}")
    facts = [("Strategies", str(len(results))), ("Candidates", f"{len(candidates):,}"), size]
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config={
            **pool.config.as_record(),
            "strategy": [r.strategy for r in results],
            "strategy_options": {name: dict(own) for name, own in options.items() if own},
            "comparison_digest": digest,
            "headline": answer,
            "second": second,
            "facts": facts,
        },
        seed=pool.config.seed,
        inputs=pool.inputs,
        outputs=[record_file(folder, RECORD), record_file(folder, PAGE)],
        counts={"pool": len(pool.rows), "candidates": len(candidates)},
        seconds=watch.seconds,
    )
    write_index(folder.parent)


def comparison_table(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    """The heads and rows of the table for a terminal: the strategies that picked."""
    heads = [
        "strategy", "rows", "tokens", "mean\ndistance", "worst\ndistance", "facility\nlocation", "Vendi\nscore",
        "clusters", "evenness", f"pairs\nfrom {CLOSE_COSINE}", "seconds",
    ]  # fmt: skip
    rows = []
    for r in (result for result in compared.results if result.reason is None):
        rows.append(
            [
                r.strategy,
                format_count(r.rows),
                format_count(r.tokens),
                format_number(r.mean_distance, 4),
                format_number(r.worst_distance),
                format_number(r.facility_location, 1),
                format_number(r.vendi_score, 1),
                format_count(r.clusters_with_a_pick),
                format_number(r.evenness),
                format_count(r.close_pairs),
                format_number(compared.pick_seconds(r.strategy), 2),
            ]
        )
    return heads, rows
