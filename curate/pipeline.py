"""THE RECIPE of `curate select`: load, hold out, bound, clean, embed, cluster, pick, write.

Each step takes what the one before it returned and returns a frozen result of its own (`curate.selection.steps`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.artifact import is_made, one_writer
from curate.cleaning.exact_duplicates import exact_key
from curate.cleaning.table import BEFORE_HOLDOUT, CHECKS
from curate.config import SelectConfig, inputs_exist
from curate.decontamination import find_leaks, load_benchmarks
from curate.errors import UserError
from curate.pool.fates import HELD_OUT, NOT_PICKED, SELECTED, Fates
from curate.pool.holdout import reserve_holdout
from curate.pool.rows import Finding, Row
from curate.scores.content import content_scores
from curate.scores.scoring import load_scores, score_command
from curate.selection.keeping import KEPT, load_kept
from curate.selection.record import KIND, Selection, read_selection
from curate.selection.steps import Picked, Pool, Prepared, Split, Stopwatch, Vectors
from curate.selection.write import OURS, config_digest, selection_folder, write
from curate.sources import load_rows
from curate.sources.target import load_target
from curate.strategies.budget import pick_rows, pick_tokens
from curate.strategies.coordinated import row_luck
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates, Picks
from curate.tokens.chat import chat_template
from curate.tokens.prompt import load_prompt_template
from curate.tokens.tokenizers import count_pool_tokens, load_tokenizer, text_notes, tokenizer_digest
from curate.vectors.clustering import assign, build_clusters, default_n_clusters
from curate.vectors.coverage import measure_coverage
from curate.vectors.embedding import embed_rows
from curate.vectors.encoders import resolve_encoder
from curate.vectors.given import load_given
from curate.vectors.neighbours import ROUNDING, nearest, one_thread_a_product


def select(config: SelectConfig, out: Path | None = None, command: Sequence[str] = ()) -> Selection:
    """Return the finished selection for `config`, made or, where the same one exists already, reused."""
    config.check()
    config.check_needs()
    inputs_exist(config)
    watch = Stopwatch()
    pool = load(config, watch)
    folder = selection_folder(pool, out)
    with one_writer(folder):
        if not is_made(folder, KIND, "config_digest", config_digest(pool), OURS):
            prepared = prepare(pool, watch)
            with watch.timed("pick"):
                picked = pick(prepared)
            write(prepared, picked, folder, command, watch)
    return read_selection(folder)


def prepare(pool: Pool, watch: Stopwatch) -> Prepared:
    """Return what is left of a pool, embedded and clustered: every step between loading and picking."""
    with watch.timed("hold_out"):
        split = hold_out(pool)
    with watch.timed("bound"):
        split = bound(pool, split)
    split = clean(pool, split, watch)
    read_scores(pool, pool.config, split.fates.open_rows())  # missing ones are an error before anything is embedded
    with watch.timed("embed"):
        vectors = embed(pool, split)
    with watch.timed("near_duplicates"):
        split = drop_near_holdout(pool, split, vectors)
    require_enough(pool, split)
    with watch.timed("cluster"):
        return cluster(pool, split, vectors)


def load(config: SelectConfig, watch: Stopwatch) -> Pool:
    """Return the pool with the tokens of every row counted by the model's tokenizer in the prompt template."""
    with watch.timed("load"):
        tokenizer = load_tokenizer(config.model, config.tokenizer)
        name = config.prompt_template
        turns = config.turns
        template = chat_template(tokenizer, turns) if name == "chat" else load_prompt_template(name).for_turns(turns)
        benchmarks, benchmark_files = load_benchmarks(config.decontaminate)
        loaded = load_rows(config.dataset, config.columns, config.read_options())
        target = None if config.target is None else load_target(config.target)
        kept = None if config.keep is None else load_kept(config.keep, None if config.token_budget else config.k)
        vectors = None if config.vectors is None else load_given(config.vectors, len(loaded.rows))
    with watch.timed("count_tokens"):
        digest = tokenizer_digest(tokenizer)
        counts = count_pool_tokens(tokenizer, digest, template, loaded.rows, loaded.digest)
        n_spelled, notes = text_notes(tokenizer, ((row.instruction, row.output) for row in loaded.rows))
    return Pool(
        config=config.model_copy(update={"encoder": resolve_encoder(config.encoder, len(loaded.rows))}),
        loaded=loaded,
        template=template,
        tokenizer_digest=digest,
        token_counts=counts,
        spelled_controls=n_spelled,
        notes=(*loaded.notes, *template.notes, *notes),
        benchmarks=benchmarks,
        target_rows=sorted(target.rows, key=lambda row: (row.row_id, row.row_index)) if target else (),
        inputs=[
            *(*loaded.inputs, *benchmark_files, *(target.inputs if target else ())),
            *(each.record for each in (kept, vectors) if each is not None),
        ],
        kept=kept,
        vectors=vectors,
    )


def hold_out(pool: Pool) -> Split:
    """Exclude empty outputs and duplicates, then reserve the holdout by content: nothing a user varies plays a part.

    With those two checks off the holdout is the same; such rows stay candidates, duplicates of a held-out row apart.
    """
    fates = Fates.undecided(len(pool.rows)).exclude(
        (index, reason, detail) for index, (reason, detail) in sorted(pool.loaded.excluded.items())
    )
    barred: set[int] = set()
    for name in BEFORE_HOLDOUT:
        findings = run_check(pool, name, (i for i in fates.open_rows() if i not in barred))
        barred.update(index for index, _, _ in findings)
        if name in pool.config.clean:
            fates = fates.exclude(findings)
    distinct = {pool.rows[i].row_id: i for i in fates.open_rows() if i not in barred}
    row_ids, note = reserve_holdout(list(distinct), pool.config.holdout)
    held_out = tuple(distinct[row_id] for row_id in sorted(row_ids))
    fates = fates.decide((i, HELD_OUT, "holdout", None) for i in held_out)
    if not set(BEFORE_HOLDOUT) <= set(pool.config.clean):
        keys = {exact_key(pool.rows[i]) for i in held_out}
        repeats = [i for i in fates.open_rows() if exact_key(pool.rows[i]) in keys]
        fates = fates.exclude((i, "duplicate", "of a held-out row") for i in repeats)
    return Split(held_out, fates, (*pool.notes, *((note,) if note else ())))


def run_check(pool: Pool, name: str, rows: Iterable[int], held_out: Sequence[int] = ()) -> list[Finding]:
    """Return what a cleaning check finds among some rows of the pool."""
    return CHECKS[name].load()([pool.rows[i] for i in rows], [pool.rows[i] for i in held_out])


def bound(pool: Pool, split: Split) -> Split:
    """Exclude rows outside the token bounds; nothing is cut to fit."""
    low, high = pool.config.min_tokens, pool.config.max_tokens
    findings: list[Finding] = []
    for i in split.fates.open_rows():
        n = int(pool.token_counts[i])
        if n > high:
            findings.append((i, "too_long", f"{n} tokens, bound {high}"))
        elif n < low:
            findings.append((i, "too_short", f"{n} tokens, bound {low}"))
    return replace(split, fates=split.fates.exclude(findings))


def clean(pool: Pool, split: Split, watch: Stopwatch) -> Split:
    """Exclude candidates that leak a benchmark, then those the checks of `--clean` find; held-out rows stay."""
    fates, notes = split.fates, split.notes
    if pool.benchmarks:
        with watch.timed("decontaminate"):
            fates = fates.exclude(find_leaks([pool.rows[i] for i in fates.open_rows()], pool.benchmarks))
            leaky = len(find_leaks([pool.rows[i] for i in split.held_out], pool.benchmarks))
        if leaky:
            notes = (*notes, f"{leaky} held-out rows leak a benchmark as well; they stay held out.")
    for name in pool.config.clean:
        if name not in BEFORE_HOLDOUT:
            with watch.timed(f"clean_{name.replace('-', '_')}"):
                fates = fates.exclude(run_check(pool, name, fates.open_rows(), split.held_out))
    return replace(split, fates=fates, notes=notes)


def embed(pool: Pool, split: Split) -> Vectors:
    """Return vectors of every row with an output, whatever excluded it since: other settings find them cached."""
    without = {CHECKS[name].reason for name in BEFORE_HOLDOUT} | {why for why, _ in pool.loaded.excluded.values()}
    rows = [i for i in range(len(pool.rows)) if split.fates.kind_of(i)[1] not in without]
    if not rows:
        raise UserError("No row of the pool has an output.", "Check --columns.")
    rows.sort(key=lambda i: (pool.rows[i].row_id, i))
    config = pool.config
    if pool.vectors is not None:
        return Vectors(tuple(rows), pool.vectors.of(pool.rows[i] for i in rows), pool.vectors.sha256)
    matrix, digest = embed_rows([pool.rows[i] for i in rows], config.encoder, config.embed, config.batch_size)
    return Vectors(tuple(rows), matrix, digest)


def read_scores(pool: Pool, config: SelectConfig, rows: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of some rows, in order, where the strategy of `config` needs them."""
    if "scores" not in STRATEGIES[config.strategy].needs:
        return {}
    command = score_command(config.as_record())
    return load_scores([pool.rows[i] for i in rows], config.score_model, command)


def read_target(pool: Pool, config: SelectConfig, target: Sequence[Row]) -> NDArray[np.float32] | None:
    """Return the vectors of the target rows (t x d), where the strategy of `config` needs them."""
    if "target" not in STRATEGIES[config.strategy].needs:
        return None
    config.check_needs()
    space = pool.config  # the one the pool was embedded in
    return embed_rows(target, space.encoder, space.embed, space.batch_size)[0]


def drop_near_holdout(pool: Pool, split: Split, vectors: Vectors) -> Split:
    """Exclude candidates whose cosine to a held-out row reaches the bound: they would leak the holdout."""
    rows = candidate_rows(split, vectors)
    places, held_places = vectors.places(rows), vectors.places(split.held_out)
    with one_thread_a_product():
        nearest_held, cosine = nearest(vectors.matrix[places], vectors.matrix[held_places])
    findings: list[Finding] = []
    for position in np.flatnonzero(cosine >= pool.config.near_duplicate - ROUNDING).tolist():
        held = pool.rows[split.held_out[nearest_held[position]]]
        detail = f"{held.row_id} cosine {cosine[position]:.4f}"
        findings.append((rows[position], "near_duplicate_of_holdout", detail))
    return replace(split, fates=split.fates.exclude(findings))


def candidate_rows(split: Split, vectors: Vectors) -> list[int]:
    """Return the rows that are still open, in row_id order."""
    return [i for i in vectors.rows if split.fates.codes[i] == 0]


def require_enough(pool: Pool, split: Split) -> None:
    """Fail with both numbers, and what removed how many, when fewer candidates remain than asked for."""
    left, budget = len(split.fates.open_rows()), pool.config.token_budget
    if left >= (pool.config.k if budget is None else 1):
        return
    asked = f"--k {pool.config.k} is more than" if budget is None else f"--token-budget {budget} cannot be spent on"
    raise UserError(
        f"{asked} the {left} candidates left of {len(pool.rows)} rows "
        f"({len(split.held_out)} held out; excluded: {split.fates.excluded_sentence()}).",
        f"Take --k {left} or less, widen the bounds, or raise --near-duplicate."
        if left
        else "Widen the bounds, raise --near-duplicate, or name a larger --dataset.",
    )


def cluster(pool: Pool, split: Split, vectors: Vectors) -> Prepared:
    """Cluster the candidates; every other embedded row is given the cluster of its nearest centre, for the map."""
    rows = candidate_rows(split, vectors)
    places = vectors.places(rows)
    n_clusters = pool.config.clusters or default_n_clusters(len(rows), pool.config.k)
    rng = np.random.default_rng([pool.config.seed, 1])
    candidate_labels, centres = build_clusters(vectors.matrix[places], n_clusters, rng)
    labels = assign(vectors.matrix, centres)
    labels[places] = candidate_labels
    return Prepared(pool, split, vectors, tuple(rows), labels, centres)


def build_candidates(prepared: Prepared) -> Candidates:
    """Return the arrays that every strategy chooses from, in row_id order."""
    pool, rows = prepared.pool, prepared.candidates
    places = prepared.vectors.places(rows)
    return Candidates(
        embeddings=prepared.vectors.matrix[places],
        labels=prepared.labels[places],
        centres=prepared.centres,
        token_counts=pool.token_counts[list(rows)],
        prompt_chars=np.array([len(pool.rows[i].instruction) for i in rows], dtype=np.int32),
        output_chars=np.array([len(pool.rows[i].output) for i in rows], dtype=np.int32),
        row_index=np.array(rows, dtype=np.int64),
        luck=row_luck([pool.rows[i].row_id for i in rows], pool.config.seed) if pool.config.coordinated else None,
        picked=kept_places(prepared),
    )


def kept_places(prepared: Prepared) -> NDArray[np.int64]:
    """Return where the rows of `--keep` stand among the candidates."""
    pool, fates = prepared.pool, prepared.split.fates
    if pool.kept is None:
        return np.zeros(0, dtype=np.int64)
    reasons = ((row.row_id, fates.kind_of(row.row_index)[1]) for row in pool.rows)
    return pool.kept.places([pool.rows[i].row_id for i in prepared.candidates], reasons)


def complete(prepared: Prepared, config: SelectConfig, candidates: Candidates) -> Candidates:
    """Return the candidates with the scores and the target that the strategy of `config` needs."""
    pool = prepared.pool
    rows = [pool.rows[i] for i in prepared.candidates]
    held_out = {pool.rows[i].row_id for i in prepared.split.held_out}
    target = [row for row in pool.target_rows if row.row_id not in held_out]
    if pool.target_rows and not target:
        raise UserError("Every row of --target is held out for evaluation.", "Name rows that are not in the holdout.")
    scores = read_scores(pool, config, prepared.candidates)
    scores |= content_scores(STRATEGIES[config.strategy].needs, rows, target, config.influence)
    return replace(candidates, scores=scores, target=read_target(pool, config, target))


def pick(prepared: Prepared) -> Picked:
    """Let the strategy choose, keep near-duplicates of picks out, and decide every candidate's fate."""
    pool, rows = prepared.pool, prepared.candidates
    candidates = build_candidates(prepared)
    picks = choose(pool.config, complete(prepared, pool.config, candidates))
    indices = picks.indices.tolist()
    n_kept = len(candidates.picked)
    codes = [KEPT] * n_kept + [pool.config.strategy] * (len(indices) - n_kept)
    fates = prepared.split.fates.decide(
        (rows[i], SELECTED, code, reason) for i, code, reason in zip(indices, codes, picks.reasons, strict=True)
    )
    fates = fates.exclude(
        (rows[position], "near_duplicate", f"{pool.rows[rows[repeated]].row_id} cosine {cosine:.4f}")
        for position, (repeated, cosine) in picks.near_duplicates.items()
    )
    fates = fates.decide((i, NOT_PICKED, "not_picked", None) for i in fates.open_rows())
    coverage = measure_coverage(candidates.embeddings, picks.indices, candidates.labels)
    return Picked(tuple(rows[i] for i in indices), fates, coverage, (*prepared.split.notes, *picks.notes))


def choose(config: SelectConfig, candidates: Candidates) -> Picks:
    """Return exactly k picks, or picks within the token budget, no two of them near-duplicates.

    Each strategy draws from a stream of its own: with one stream for all, `random` and `kmeans` of one seed would share
    most of their picks, and draws that comparisons take for independent would not be. Coordinated draws share the rows'
    own random numbers instead, on purpose: they are compared draw by draw.
    """
    bound_select = STRATEGIES[config.strategy].bind(config.strategy_options)
    rng = np.random.default_rng([config.seed, 2, zlib.crc32(config.strategy.encode())])
    if config.token_budget is None:
        return pick_rows(bound_select, candidates, config.k, rng, config.near_duplicate)
    return pick_tokens(bound_select, candidates, config.token_budget, rng, config.near_duplicate)
