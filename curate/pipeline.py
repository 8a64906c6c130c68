"""THE RECIPE of `curate select`: load, hold out, bound, clean, embed, cluster, pick, write.

Each step takes what the one before it returned and returns a frozen result of its own (`curate.selection.steps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.artifact import is_made, one_writer
from curate.cleaning.exact_duplicates import pool_keys
from curate.cleaning.execution import run_check
from curate.cleaning.table import BEFORE_HOLDOUT, CHECKS, SECRETS
from curate.config import SelectConfig, inputs_exist
from curate.decontamination import find_leaks_in_pool, load_benchmarks
from curate.defaults import LOCAL
from curate.engines import open_engine
from curate.engines.types import Engine
from curate.errors import UserError
from curate.pool.fates import HELD_OUT, NOT_PICKED, SELECTED, Fates
from curate.pool.holdout import reserve_holdout
from curate.pool.rows import Finding, Row
from curate.pool.table import as_row_ids
from curate.scores.content import CONTENT, content_scores
from curate.scores.kept_scores import load_scores, score_command
from curate.scores.made_for import MadeFor
from curate.selection.by_column import caps_of, leave_others
from curate.selection.choosing import choose
from curate.selection.keeping import KEPT, load_kept
from curate.selection.record import KIND, Selection, read_selection
from curate.selection.shortage import no_row_is_usable, require_enough
from curate.selection.steps import Picked, Pool, Prepared, Split, Stopwatch, Vectors
from curate.selection.write import OURS, config_digest, selection_folder, write
from curate.sources import load_rows
from curate.sources.target import load_target, target_notes
from curate.strategies.coordinated import row_luck
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates
from curate.tokens.chat import chat_template
from curate.tokens.pool_counts import count_pool_spelled, count_pool_tokens
from curate.tokens.prompt import load_prompt_template
from curate.tokens.tokenizers import load_tokenizer, tokenizer_digest, tokenizer_notes
from curate.vectors.clustering import build_clusters, default_n_clusters
from curate.vectors.coverage import measure_coverage
from curate.vectors.embedding import embed_pool, embed_rows
from curate.vectors.encoders import resolve_encoder
from curate.vectors.gathering import gathered
from curate.vectors.given import load_given
from curate.vectors.neighbours import ROUNDING, nearest_everywhere


def select(
    config: SelectConfig,
    out: Path | None = None,
    command: Sequence[str] = (),
    *,
    engine: str = LOCAL,
    ray_address: str | None = None,
) -> Selection:
    """Return the finished selection for `config`, made or, where the same one exists already, reused.

    The engine decides who does the work and nothing else: the files have the same bytes.
    """
    config.check()
    config.check_needs()
    inputs_exist(config)
    watch = Stopwatch()
    with open_engine(engine, ray_address) as workers:
        pool = load(config, watch, workers)
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
    require_enough(pool.config, split.fates, len(split.held_out))
    with watch.timed("cluster"):
        prepared = cluster(pool, split, vectors)
    pool.engine.rest()
    return prepared


def load(config: SelectConfig, watch: Stopwatch, engine: Engine) -> Pool:
    """Return the pool with the tokens of every row counted by the model's tokenizer in the prompt template."""
    with watch.timed("load"):
        tokenizer = load_tokenizer(config.model, config.tokenizer)
        name = config.prompt_template
        turns = config.turns
        template = chat_template(tokenizer, turns) if name == "chat" else load_prompt_template(name).for_turns(turns)
        benchmarks, benchmark_files = load_benchmarks(config.decontaminate)
        loaded = load_rows(config.dataset, config.columns, config.read_options(), engine)
        target = None if config.target is None else load_target(config.target, config.read_options())
        kept = None if config.keep is None else load_kept(config.keep, None if config.token_budget else config.k)
        vectors = None if config.vectors is None else load_given(config.vectors, len(loaded.rows))
    with watch.timed("count_tokens"):
        digest = tokenizer_digest(tokenizer)
        counts = count_pool_tokens(engine, loaded.rows, tokenizer, digest, template)
        n_spelled = count_pool_spelled(engine, loaded.rows, tokenizer)
        engine.rest()  # workers have a tokenizer each, which nothing needs from here on
    return Pool(
        config=config.model_copy(update={"encoder": resolve_encoder(config.encoder, len(loaded.rows))}),
        loaded=loaded,
        template=template,
        tokenizer_digest=digest,
        token_counts=counts,
        engine=engine,
        spelled_controls=n_spelled,
        notes=(*loaded.notes, *template.notes, *tokenizer_notes(tokenizer, n_spelled), *target_notes(target)),
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
    barred = np.zeros(len(pool.rows), dtype=bool)
    for name in BEFORE_HOLDOUT:
        findings = check_rows(pool, name, np.flatnonzero((fates.codes == 0) & ~barred))
        barred[[index for index, _, _ in findings]] = True
        if name in pool.config.clean:
            fates = fates.exclude(findings)
    distinct = pool.places_of(np.flatnonzero((fates.codes == 0) & ~barred))
    row_ids, note = reserve_holdout(as_row_ids(pool.rows.ids[distinct]), pool.config.holdout)
    held_out = tuple(pool.rows.row_index[pool.rows.places_of_ids(distinct, sorted(row_ids))].tolist())
    fates = fates.decide((i, HELD_OUT, "holdout", None) for i in held_out)
    if not set(BEFORE_HOLDOUT) <= set(pool.config.clean):
        left = pool.places_of(fates.open_rows())
        keys = set(map(tuple, pool_keys(pool.engine, pool.rows, pool.places_of(held_out)).tolist()))
        repeats = [tuple(key) in keys for key in pool_keys(pool.engine, pool.rows, left).tolist()]
        same = pool.rows.row_index[left[np.array(repeats, dtype=bool)]].tolist()
        fates = fates.exclude((i, "duplicate", "of a held-out row") for i in same)
    return Split(held_out, fates, (*pool.notes, *((note,) if note else ())))


def check_rows(
    pool: Pool, name: str, rows: Sequence[int] | NDArray[np.int64], held_out: Sequence[int] = ()
) -> list[Finding]:
    """Return what a cleaning check finds among some rows of the pool."""
    return run_check(pool.engine, pool.rows, name, pool.places_of(rows), pool.places_of(held_out))


def bound(pool: Pool, split: Split) -> Split:
    """Exclude rows outside the token bounds, cutting nothing to fit, and those that `--pick-where` leaves out."""
    low, high = pool.config.min_tokens, pool.config.max_tokens
    outside = (split.fates.codes == 0) & ((pool.token_counts < low) | (pool.token_counts > high))
    findings: list[Finding] = []
    for i in np.flatnonzero(outside).tolist():
        n = int(pool.token_counts[i])
        why, limit = ("too_long", high) if n > high else ("too_short", low)
        findings.append((i, why, f"{n} tokens, bound {limit}"))
    fates = leave_others(split.fates.exclude(findings), pool.rows, pool.config.pick_where, pool.kept)
    return replace(split, fates=fates)


def clean(pool: Pool, split: Split, watch: Stopwatch) -> Split:
    """Exclude candidates that leak a benchmark, then those the checks of `--clean` find; held-out rows stay."""
    fates, notes = split.fates, split.notes
    if pool.benchmarks:
        with watch.timed("decontaminate"):
            fates = fates.exclude(_leaks(pool, fates.open_rows()))
            leaky = len(_leaks(pool, split.held_out))
        if leaky:
            notes = (*notes, f"{leaky} held-out rows leak a benchmark as well; they stay held out.")
    for name in pool.config.clean:
        if name not in BEFORE_HOLDOUT:
            with watch.timed(f"clean_{name.replace('-', '_')}"):
                fates = fates.exclude(check_rows(pool, name, fates.open_rows(), split.held_out))
                leaky = len(check_rows(pool, name, split.held_out)) if name == SECRETS else 0
            if leaky:
                notes = (*notes, f"{leaky} held-out rows hold a key or token as well; they stay in holdout.jsonl.")
    return replace(split, fates=fates, notes=notes)


def _leaks(pool: Pool, rows: Sequence[int]) -> list[Finding]:
    return find_leaks_in_pool(pool.engine, pool.rows, pool.places_of(rows), pool.benchmarks)


def embed(pool: Pool, split: Split) -> Vectors:
    """Return vectors of every row with an output, whatever excluded it since: other settings find them cached."""
    without = {CHECKS[name].reason for name in BEFORE_HOLDOUT} | {why for why, _ in pool.loaded.excluded.values()}
    out = np.array([False, *(reason in without for _, reason in split.fates.kinds)])
    places = pool.places_of(np.flatnonzero(~out[split.fates.codes]))
    if not len(places):
        raise no_row_is_usable(split.fates)
    config = pool.config
    if pool.vectors is not None:
        return Vectors(pool.rows.row_index[places], pool.vectors.of(pool.rows.read(places)), pool.vectors.sha256)
    matrix, digest = embed_pool(pool.engine, pool.rows, places, config.encoder, config.embed, config.batch_size)
    return Vectors(pool.rows.row_index[places], matrix, digest)


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
    held = np.asarray(vectors.matrix[vectors.places(split.held_out)])
    nearest_held, cosine = nearest_everywhere(pool.engine, vectors.matrix, held)
    near = (split.fates.codes[vectors.rows] == 0) & (cosine >= pool.config.near_duplicate - ROUNDING)
    findings: list[Finding] = []
    for position in np.flatnonzero(near).tolist():
        like = pool.rows.row_id(pool.rows.place[split.held_out[nearest_held[position]]])
        detail = f"{like} cosine {cosine[position]:.4f}"
        findings.append((int(vectors.rows[position]), "near_duplicate_of_holdout", detail))
    return replace(split, fates=split.fates.exclude(findings))


def cluster(pool: Pool, split: Split, vectors: Vectors) -> Prepared:
    """Cluster the candidates; every other embedded row is given the cluster of its nearest centre, for the map."""
    among = vectors.undecided(split.fates)
    n_clusters = pool.config.clusters or default_n_clusters(int(among.sum()), pool.config.k)
    rng = np.random.default_rng([pool.config.seed, 1])
    labels, centres = build_clusters(vectors.matrix, n_clusters, rng, pool.engine, among)
    return Prepared(pool, split, vectors, vectors.rows[among], labels, centres)


def build_candidates(prepared: Prepared) -> Candidates:
    """Return the arrays that every strategy chooses from, in row_id order."""
    pool, rows = prepared.pool, prepared.candidates
    places, at_rest = prepared.vectors.places(rows), pool.places_of(rows)
    ids = as_row_ids(pool.rows.ids[at_rest]) if pool.config.coordinated else []
    return Candidates(
        embeddings=gathered(prepared.vectors.matrix, places),
        labels=prepared.labels[places],
        centres=prepared.centres,
        token_counts=pool.token_counts[rows],
        prompt_chars=pool.rows.prompt_chars[at_rest],
        output_chars=pool.rows.output_chars[at_rest],
        row_index=rows,
        luck=row_luck(ids, pool.config.seed) if pool.config.coordinated else None,
        picked=kept_places(prepared),
        caps=caps_of(pool.rows, rows, pool.config.cap, pool.config.token_budget or pool.config.k),
    )


def kept_places(prepared: Prepared) -> NDArray[np.int64]:
    """Return where the rows of `--keep` stand among the candidates."""
    pool, fates = prepared.pool, prepared.split.fates
    if pool.kept is None:
        return np.zeros(0, dtype=np.int64)
    row_ids, codes = as_row_ids(pool.rows.ids), fates.columns()[1][pool.rows.row_index].tolist()
    candidates = as_row_ids(pool.rows.ids[pool.places_of(prepared.candidates)])
    return pool.kept.places(candidates, zip(row_ids, codes, strict=True))


def complete(prepared: Prepared, config: SelectConfig, candidates: Candidates) -> Candidates:
    """Return the candidates with the scores and the target that the strategy of `config` needs."""
    pool = prepared.pool
    needs = STRATEGIES[config.strategy].needs
    config.check_given()
    target = target_not_held_out(prepared)
    if pool.target_rows and not target:
        raise UserError("Every row of --target is held out for evaluation.", "Name rows that are not in the holdout.")
    scores = read_scores(pool, config, prepared.candidates.tolist())
    if needs & CONTENT:  # they read the texts of all candidates
        texts = pool.rows.read(pool.places_of(prepared.candidates))
        tokens = int(candidates.token_counts.sum())
        wanted = config.k / len(candidates) if config.token_budget is None else config.token_budget / tokens
        scores |= content_scores(config, texts, target, made_for(pool, prepared.split), min(1.0, wanted))
    return replace(candidates, scores=scores, target=read_target(pool, config, target))


def target_not_held_out(prepared: Prepared) -> list[Row]:
    """Return the rows of the target that may be read: those that are not held out, in row_id order."""
    pool = prepared.pool
    held_out = set(as_row_ids(pool.rows.ids[pool.places_of(prepared.split.held_out)]))
    return [row for row in pool.target_rows if row.row_id not in held_out]


def made_for(pool: Pool, split: Split) -> MadeFor:
    """Return which pool is selected from, with how many rows held out, and for which model."""
    return MadeFor(
        pool_digest=pool.loaded.digest,
        held_out=len(split.held_out),
        model=pool.config.model,
        tokenizer_digest=pool.tokenizer_digest,
    )


def pick(prepared: Prepared) -> Picked:
    """Let the strategy choose, keep near-duplicates of picks out, and decide every candidate's fate."""
    pool, rows = prepared.pool, prepared.candidates
    candidates = build_candidates(prepared)
    picks = choose(pool.config, complete(prepared, pool.config, candidates))
    picked = rows[picks.indices].tolist()
    n_kept = len(candidates.picked)
    codes = [KEPT] * n_kept + [pool.config.strategy] * (len(picked) - n_kept)
    fates = prepared.split.fates.decide(
        (row, SELECTED, code, reason) for row, code, reason in zip(picked, codes, picks.reasons, strict=True)
    )
    fates = fates.exclude(
        (int(rows[place]), "near_duplicate", f"{_row_id(pool, rows[repeated])} cosine {cosine:.4f}")
        for place, (repeated, cosine) in picks.near_duplicates.items()
    )
    fates = fates.decide_all(np.flatnonzero(fates.codes == 0), NOT_PICKED, "not_picked")
    matrix, among = prepared.vectors.matrix, prepared.vectors.undecided(prepared.split.fates)
    cosine = nearest_everywhere(pool.engine, matrix, candidates.embeddings[picks.indices])[1][among]
    coverage = measure_coverage(cosine, picks.indices, candidates.labels)
    return Picked(tuple(picked), fates, coverage, (*prepared.split.notes, *picks.notes))


def _row_id(pool: Pool, row: int) -> str:
    return pool.rows.row_id(pool.rows.place[row])
