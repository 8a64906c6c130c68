"""THE RECIPE of `curate select`: load, hold out, bound, clean, embed, cluster, pick, write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from curate.config import SelectConfig, inputs_exist
from curate.errors import UserError
from curate.pool.fates import HELD_OUT, NOT_PICKED, SELECTED, Fates
from curate.pool.work import Work
from curate.selection.record import KIND, Selection, read_selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from curate.cleaning import Finding
    from curate.strategies.types import Candidates, Picks


def select(config: SelectConfig, out: Path | None = None, command: Sequence[str] = ()) -> Selection:
    """The finished selection for `config`, made or, where the same one exists already, reused."""
    from curate.artifact import is_made, one_writer
    from curate.selection.write import OURS, config_digest, selection_folder, write

    config.check()
    config.check_needs()
    inputs_exist(config)
    work = load(config)
    folder = selection_folder(work, out)
    with one_writer(folder):
        if not is_made(folder, KIND, "config_digest", config_digest(work), OURS):
            find_candidates(work)
            with work.timed("pick"):
                pick(work)
            write(work, folder, command)
    return read_selection(folder)


def find_candidates(work: Work) -> None:
    """Every step between loading and picking: what is left, embedded and clustered, is what a strategy chooses from."""
    with work.timed("hold_out"):
        hold_out(work)
    with work.timed("bound"):
        bound(work)
    clean(work)
    read_scores(work, work.config, work.fates.open_rows())
    with work.timed("embed"):
        embed(work)
    with work.timed("near_duplicates"):
        drop_near_holdout(work)
    require_enough(work)
    with work.timed("cluster"):
        cluster(work)


def load(config: SelectConfig) -> Work:
    """Read the pool and count the tokens of every row with the model's tokenizer and the prompt template.

    The work's config names the encoder that `auto` stands for, so that a selection records what was used.
    """
    from curate.decontamination import load_benchmarks
    from curate.sources import load_rows
    from curate.tokens.prompt import chat_template, load_prompt_template
    from curate.tokens.tokenizers import count_pool_tokens, load_tokenizer, tokenizer_digest
    from curate.vectors.encoders import resolve_encoder

    started = time.perf_counter()
    tokenizer = load_tokenizer(config.model, config.tokenizer)
    given = config.prompt_template
    template = chat_template(tokenizer) if given == "chat" else load_prompt_template(given)
    benchmarks, benchmark_files = load_benchmarks(config.decontaminate)
    pool = load_rows(config.dataset, config.columns)
    target = load_rows(config.target) if config.target is not None else None
    loaded = time.perf_counter()
    config = replace(config, encoder=resolve_encoder(config.encoder, len(pool.rows)))
    digest = tokenizer_digest(tokenizer)
    counts = count_pool_tokens(tokenizer, digest, template, pool.rows, pool.digest)
    work = Work(config, pool, Fates(len(pool.rows)), digest, template, counts, list(pool.notes))
    work.benchmarks, work.inputs = benchmarks, [*pool.inputs, *benchmark_files]
    if target is not None:
        work.target_rows = sorted(target.rows, key=lambda row: (row.row_id, row.row_index))
        work.inputs += target.inputs
    work.fates.exclude((index, reason, detail) for index, (reason, detail) in sorted(pool.excluded.items()))
    work.seconds = {"load": loaded - started, "count_tokens": time.perf_counter() - loaded}
    return work


def hold_out(work: Work) -> None:
    """Exclude empty outputs and duplicates, then reserve the holdout by content: nothing a user varies plays a part.

    With those two checks off the holdout is the same; such rows stay candidates, duplicates of a held-out row apart.
    """
    from curate.cleaning import BEFORE_HOLDOUT, CHECKS
    from curate.cleaning.exact_duplicates import exact_key
    from curate.pool.holdout import reserve_holdout

    barred: list[Finding] = []
    for name in BEFORE_HOLDOUT:
        gone = {i for i, _, _ in barred}
        found = CHECKS[name].load()([work.rows[i] for i in work.fates.open_rows() if i not in gone], [])
        barred += found
        work.fates.exclude(found if name in work.config.clean else [])
    gone = {i for i, _, _ in barred}
    distinct = {work.rows[i].row_id: i for i in work.fates.open_rows() if i not in gone}
    taken, note = reserve_holdout(list(distinct), work.config.holdout)
    work.notes += [note] if note else []
    work.held_out = [distinct[row_id] for row_id in sorted(taken)]
    for i in work.held_out:
        work.fates.decide(i, HELD_OUT, "holdout")
    if not set(BEFORE_HOLDOUT) <= set(work.config.clean):
        held_out = {exact_key(work.rows[i]) for i in work.held_out}
        repeats = [i for i in work.fates.open_rows() if exact_key(work.rows[i]) in held_out]
        work.fates.exclude((i, "duplicate", "of a held-out row") for i in repeats)


def bound(work: Work) -> None:
    """Exclude rows outside the token bounds; nothing is cut to fit."""
    low, high = work.config.min_tokens, work.config.max_tokens
    for i in work.fates.open_rows():
        n = int(work.token_counts[i])
        if n > high:
            work.fates.exclude([(i, "too_long", f"{n} tokens, bound {high}")])
        elif n < low:
            work.fates.exclude([(i, "too_short", f"{n} tokens, bound {low}")])


def clean(work: Work) -> None:
    """Exclude candidates that leak a benchmark, then those the checks of `--clean` find; held-out rows stay."""
    from curate.cleaning import BEFORE_HOLDOUT, CHECKS

    held_out = [work.rows[i] for i in work.held_out]
    if work.benchmarks:
        from curate.decontamination import find_leaks

        with work.timed("decontaminate"):
            work.fates.exclude(find_leaks([work.rows[i] for i in work.fates.open_rows()], work.benchmarks))
            leaky = len(find_leaks(held_out, work.benchmarks))
        work.notes += [f"{leaky} held-out rows leak a benchmark as well; they stay held out."] if leaky else []
    for name in work.config.clean:
        if name not in BEFORE_HOLDOUT:
            with work.timed(f"clean_{name.replace('-', '_')}"):
                work.fates.exclude(CHECKS[name].load()([work.rows[i] for i in work.fates.open_rows()], held_out))


def embed(work: Work) -> None:
    """Vectors for every row with an output, once each, whatever excluded it since: other settings find them cached."""
    from curate.cleaning import BEFORE_HOLDOUT, CHECKS
    from curate.vectors.embedding import embed_rows

    without = {CHECKS[name].reason for name in BEFORE_HOLDOUT} | {reason for reason, _ in work.pool.excluded.values()}
    rows = [i for i in range(work.fates.n_rows) if work.fates.reason[i] not in without]
    work.embedded = sorted(rows, key=lambda i: (work.rows[i].row_id, i))
    config = work.config
    if not work.embedded:
        raise UserError("No row of the pool has an output.", "Check --columns.")
    work.embeddings, work.encoder_digest = embed_rows(
        [work.rows[i] for i in work.embedded], config.encoder, config.embed, config.batch_size
    )


def read_scores(work: Work, config: SelectConfig, rows: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Scores of some rows, in order, where the strategy needs them. They are first asked for before anything is
    embedded, so that missing ones are an error at once."""
    from curate.scores.scoring import load_scores, score_command
    from curate.strategies.table import STRATEGIES

    if "scores" not in STRATEGIES[config.strategy].needs:
        return {}
    command = score_command(config.as_record())
    return load_scores([work.rows[i] for i in rows], config.score_model, command)


def read_target(work: Work, config: SelectConfig) -> NDArray[np.float32] | None:
    """Vectors of the target rows (t x d), where the strategy needs them."""
    from curate.strategies.table import STRATEGIES
    from curate.vectors.embedding import embed_rows

    if "target" not in STRATEGIES[config.strategy].needs:
        return None
    config.check_needs()
    used = work.config  # the space the pool was embedded in
    return embed_rows(work.target_rows, used.encoder, used.embed, used.batch_size)[0]


def drop_near_holdout(work: Work) -> None:
    """Exclude candidates whose cosine to a held-out row reaches the bound: they would leak the holdout."""
    import numpy as np

    from curate.vectors.neighbours import ROUNDING, nearest, one_thread_a_product

    place = {row: position for position, row in enumerate(work.embedded)}
    open_rows = sorted(work.fates.open_rows(), key=place.__getitem__)
    held = work.held_out
    with one_thread_a_product():
        place_held, cosine = nearest(
            work.embeddings[[place[i] for i in open_rows]], work.embeddings[[place[i] for i in held]]
        )
    hits = np.flatnonzero(cosine >= work.config.near_duplicate - ROUNDING).tolist()
    for position in hits:
        detail = f"{work.rows[held[place_held[position]]].row_id} cosine {cosine[position]:.4f}"
        work.fates.exclude([(open_rows[position], "near_duplicate_of_holdout", detail)])
    gone = {open_rows[position] for position in hits}
    work.candidates = [i for i in open_rows if i not in gone]


def require_enough(work: Work) -> None:
    """Fail with both numbers, and what removed how many, when fewer candidates remain than asked for."""
    left, budget = len(work.candidates), work.config.token_budget
    if left >= (work.config.k if budget is None else 1):
        return
    asked = f"--k {work.config.k} is more than" if budget is None else f"--token-budget {budget} cannot be spent on"
    raise UserError(
        f"{asked} the {left} candidates left of {len(work.rows)} rows "
        f"({len(work.held_out)} held out; excluded: {work.fates.excluded_sentence()}).",
        f"Take --k {left} or less, widen the bounds, or raise --near-duplicate."
        if left
        else "Widen the bounds, raise --near-duplicate, or name a larger --dataset.",
    )


def cluster(work: Work) -> None:
    """Cluster the candidates; every other embedded row is given the cluster of its nearest centre, for the map."""
    import numpy as np

    from curate.vectors.clustering import assign, build_clusters, default_n_clusters

    position = {row: place for place, row in enumerate(work.embedded)}
    vectors = work.embeddings[[position[i] for i in work.candidates]]
    n_clusters = work.config.clusters or default_n_clusters(len(vectors), work.config.k)
    rng = np.random.default_rng([work.config.seed, 1])
    labels, work.centres = build_clusters(vectors, n_clusters, rng)
    work.clusters = assign(work.embeddings, work.centres)
    work.clusters[[position[i] for i in work.candidates]] = labels


def build_candidates(work: Work) -> Candidates:
    """The arrays a strategy chooses from, in row_id order."""
    import numpy as np

    from curate.strategies.types import Candidates

    position = {row: place for place, row in enumerate(work.embedded)}
    places = [position[i] for i in work.candidates]
    return Candidates(
        embeddings=work.embeddings[places],
        labels=work.clusters[places],
        centres=work.centres,
        token_counts=work.token_counts[work.candidates],
        prompt_chars=np.array([len(work.rows[i].instruction) for i in work.candidates], dtype=np.int32),
        output_chars=np.array([len(work.rows[i].output) for i in work.candidates], dtype=np.int32),
        row_index=np.array(work.candidates, dtype=np.int64),
    )


def pick(work: Work) -> None:
    """Let the strategy choose, keep near-duplicates of picks out, and write down every candidate's fate."""
    from curate.vectors.coverage import measure_coverage

    candidates = build_candidates(work)
    picks = choose(work.config, complete(work, work.config, candidates))
    work.notes += picks.notes
    work.picked = [work.candidates[i] for i in picks.indices.tolist()]
    work.coverage = measure_coverage(candidates.embeddings, picks.indices, candidates.labels)
    for i, reason in zip(work.picked, picks.reasons, strict=True):
        work.fates.decide(i, SELECTED, work.config.strategy, reason)
    for position, (pick_index, cosine) in picks.near_duplicates.items():
        detail = f"{work.rows[work.candidates[pick_index]].row_id} cosine {cosine:.4f}"
        work.fates.exclude([(work.candidates[position], "near_duplicate", detail)])
    for i in work.fates.open_rows():
        work.fates.decide(i, NOT_PICKED, "not_picked", None)


def complete(work: Work, config: SelectConfig, candidates: Candidates) -> Candidates:
    """The candidates with the scores and the target that the strategy of `config` needs."""
    return replace(candidates, scores=read_scores(work, config, work.candidates), target=read_target(work, config))


def choose(config: SelectConfig, candidates: Candidates) -> Picks:
    """Exactly k picks, or picks within the token budget, no two of them near-duplicates.

    Each strategy draws from a stream of its own: with one stream for all, `random` and `kmeans` of one seed would share
    most of their picks, and draws that comparisons take for independent would not be.
    """
    import zlib

    import numpy as np

    from curate.strategies.budget import pick_rows, pick_tokens
    from curate.strategies.table import STRATEGIES

    strategy = STRATEGIES[config.strategy]
    bound_select = strategy.bind(config.strategy_options)
    rng = np.random.default_rng([config.seed, 2, zlib.crc32(config.strategy.encode())])
    if config.token_budget is None:
        return pick_rows(bound_select, candidates, config.k, rng, config.near_duplicate)
    return pick_tokens(bound_select, candidates, config.token_budget, rng, config.near_duplicate)
