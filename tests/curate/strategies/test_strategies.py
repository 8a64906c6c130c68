"""Each strategy beside the plain definition it stands for, and options."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from curate.cli import main
from curate.errors import UserError
from curate.strategies.budget import pick_rows, pick_tokens
from curate.strategies.coordinated import row_luck
from curate.strategies.learned_centroids import TEMPERATURE, _gradient
from curate.strategies.table import STRATEGIES, parse_options
from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import nearest


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pool(n: int = 60, d: int = 4, n_clusters: int = 3, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((n_clusters, d)))
    labels = rng.integers(n_clusters, size=n).astype(np.int32)
    return Candidates(
        embeddings=unit(centres[labels] + 0.5 * rng.standard_normal((n, d))),
        labels=labels,
        centres=centres,
        token_counts=rng.integers(5, 500, size=n).astype(np.int32),
        prompt_chars=rng.integers(5, 500, size=n).astype(np.int32),
        output_chars=rng.integers(5, 500, size=n).astype(np.int32),
        row_index=rng.permutation(n),
        scores={"ifd": rng.random(n) * 1.3, "perplexity": rng.lognormal(2, 1, size=n)},
        target=unit(rng.standard_normal((3, d))),
    )


def run(strategy: str, candidates: Candidates, k: int, seed: int = 0, **options: float) -> Picks:
    return pick_rows(STRATEGIES[strategy].bind(options), candidates, k, np.random.default_rng(seed), 1.0)


def nearest_to(candidates: Candidates, picks: list[int]) -> Any:
    return (candidates.embeddings.astype(np.float64) @ candidates.embeddings[picks].T.astype(np.float64)).max(axis=1)


def covered(candidates: Candidates, picks: list[int]) -> float:
    return float(np.maximum(nearest_to(candidates, picks), 0).sum())


def test_kcenter_takes_the_farthest_row_each_time() -> None:
    candidates = pool(300)
    picks = run("kcenter", candidates, 40).indices.tolist()
    for t in range(1, 40):
        cosine = nearest_to(candidates, picks[:t])
        assert cosine[picks[t]] == pytest.approx(cosine.min(), abs=2e-5)


def test_mmr_takes_the_best_margin_each_time() -> None:
    candidates = pool(300)
    picks = run("mmr", candidates, 40, relevance=0.3).indices.tolist()
    mean = candidates.embeddings.mean(axis=0)
    relevance = candidates.embeddings @ (mean / np.linalg.norm(mean))
    assert picks[0] == int(np.argmax(relevance))
    for t in range(1, 40):
        margin = 0.3 * relevance - 0.7 * nearest_to(candidates, picks[:t])
        margin[picks[:t]] = -9
        assert margin[picks[t]] == pytest.approx(margin.max(), abs=3e-5)


def test_dpp_multiplies_the_determinant_most_each_time() -> None:
    candidates = pool(80)
    picks = run("dpp", candidates, 12).indices.tolist()
    cosine = candidates.embeddings.astype(np.float64) @ candidates.embeddings.T.astype(np.float64)
    kernel = np.exp((cosine - 1) / 0.5**2)
    for t in range(1, 12):
        determinants = [
            np.linalg.det(kernel[np.ix_([*picks[:t], j], [*picks[:t], j])]) if j not in picks[:t] else 0
            for j in range(80)
        ]
        assert determinants[picks[t]] == pytest.approx(max(determinants), rel=1e-4)


def test_dpp_says_so_when_the_determinant_is_zero_before_k() -> None:
    candidates = pool(9)
    repeated = replace(candidates, embeddings=candidates.embeddings[[0, 1, 2] * 3])
    drawn = STRATEGIES["dpp"].bind({})(repeated, 7, np.random.default_rng(0))
    assert {i % 3 for i in drawn.indices[:3].tolist()} == {0, 1, 2}
    assert drawn.notes == [
        "dpp: the determinant is zero beyond 3 rows at bandwidth 0.5; the other picks were drawn at random among the "
        "rows left."
    ]
    assert drawn.reasons[3:] == ["drawn at random: the determinant is zero"] * 4


def test_dpp_refuses_what_would_not_fit_in_memory() -> None:
    candidates = pool(40_000, 2)
    with pytest.raises(UserError, match="dpp may need 9 GiB for 30000 picks among 40000 rows"):
        STRATEGIES["dpp"].bind({})(candidates, 30_000, np.random.default_rng(0))


@pytest.mark.parametrize("rounds", [0, 2])
def test_facility_location_is_within_its_bound_and_the_bound_above_the_best(rounds: int) -> None:
    for seed in range(5):
        candidates = pool(14, seed=seed)
        best = max(covered(candidates, list(some)) for some in itertools.combinations(range(14), 3))
        picks = run("facility-location", candidates, 3, rounds=rounds)
        value = covered(candidates, picks.indices.tolist())
        (note,) = picks.notes
        bound = 14 * float(note.split("can exceed ")[1].split(",")[0])
        assert value / 14 == pytest.approx(float(note.split("pick ")[1].split(";")[0]), abs=1e-4)
        assert value <= best + 1e-6 <= bound + 1e-3
        assert value >= (1 - 1 / np.e) * best


def test_a_token_budget_leaves_no_note_about_rows_that_were_drawn_and_not_taken() -> None:
    candidates = pool(60)
    select = STRATEGIES["facility-location"].bind({})
    some = pick_tokens(select, candidates, 4000, np.random.default_rng(0), 1.0)
    assert len(some.indices) < 60 and some.notes == []
    whole = pick_tokens(select, candidates, int(candidates.token_counts.sum()), np.random.default_rng(0), 1.0)
    assert len(whole.indices) == 60 and "no 60 picks can exceed" in whole.notes[0]


def test_facility_location_reaches_exact_greedy_whatever_rows_it_is_valued_on() -> None:
    candidates = pool(1500, 16, 40)
    exact: list[int] = []
    reached = np.zeros(1500)
    cosine = np.maximum(candidates.embeddings @ candidates.embeddings.T, 0)
    for _ in range(100):
        exact.append(int(np.maximum(cosine - reached[:, None], 0).sum(axis=0).argmax()))
        reached = np.maximum(reached, cosine[exact[-1]])
    for options, share in (({}, 1 - 1e-6), ({"rounds": 0}, 0.995), ({"evaluated": 1}, 0.975)):
        picks = run("facility-location", candidates, 100, **options)
        assert covered(candidates, picks.indices.tolist()) >= share * reached.sum(), options


def test_kmeans_gives_equal_shares_and_goes_on_where_it_stopped() -> None:
    candidates = replace(pool(60), labels=np.array([0] * 40 + [1] * 15 + [2] * 5, dtype=np.int32))
    for strategy in ("kmeans", "kmeans-centroid"):
        picks = run(strategy, candidates, 21).indices
        assert np.bincount(candidates.labels[picks]).tolist() == [8, 8, 5]
    state = replace(candidates, picked=np.arange(6), barred=np.arange(60) < 6)
    more = STRATEGIES["kmeans"].bind({})(state, 9, np.random.default_rng(0)).indices
    assert np.bincount(candidates.labels[more]).tolist() == [0, 5, 4]


def test_kmeans_centroid_takes_the_rows_nearest_to_each_centre() -> None:
    candidates = pool(60)
    picks = run("kmeans-centroid", candidates, 9).indices
    for c in range(3):
        cosine = np.where(candidates.labels == c, candidates.embeddings @ candidates.centres[c], -2)
        assert sorted(picks[candidates.labels[picks] == c]) == sorted(np.argsort(-cosine)[:3])


def test_density_keeps_every_clusters_share_and_thins_dense_regions() -> None:
    rng = np.random.default_rng(0)
    dense = unit(np.array([[1.0, 0, 0]]) + 0.03 * rng.standard_normal((300, 3)))
    sparse = unit(rng.standard_normal((100, 3)))
    other = unit(np.array([[-1.0, 0, 0]]) + 0.2 * rng.standard_normal((100, 3)))
    candidates = replace(
        pool(500, 3, 2),
        embeddings=np.concatenate([dense, sparse, other]),
        labels=np.array([0] * 400 + [1] * 100, dtype=np.int32),
    )
    picks = run("density", candidates, 100).indices
    assert np.bincount(candidates.labels[picks]).tolist() == [80, 20]
    assert (picks < 300).sum() < 50  # 60 of 80 would be the dense rows' share


def test_semdedup_keeps_what_one_threshold_leaves_of_every_cluster() -> None:
    candidates = pool(120)
    picks = set(run("semdedup", candidates, 50).indices.tolist())
    repeated = np.full(120, -2.0)
    for c in range(3):
        members = np.flatnonzero(candidates.labels == c)
        outermost_first = members[np.argsort(candidates.embeddings[members] @ candidates.centres[c])]
        for t in range(1, len(members)):
            earlier = candidates.embeddings[outermost_first[:t]]
            repeated[outermost_first[t]] = (earlier @ candidates.embeddings[outermost_first[t]]).max()
    threshold = sorted(repeated)[50] - 1e-5
    assert picks == set(np.flatnonzero(repeated < threshold).tolist())


def test_semdedup_takes_no_row_that_repeats_one_that_stands() -> None:
    candidates = pool(120)
    cluster = np.flatnonzero(candidates.labels == 0)
    to_centre = candidates.embeddings[cluster] @ candidates.centres[0]
    inmost = cluster[np.argsort(-to_centre)[:8]]
    state = replace(candidates, picked=inmost, barred=np.isin(np.arange(120), inmost))
    picks = STRATEGIES["semdedup"].bind({})(state, 112, np.random.default_rng(0))
    outmost = int(cluster[np.argmin(to_centre)])
    cosine = float((candidates.embeddings[inmost] @ candidates.embeddings[outmost]).max())
    reason = picks.reasons[picks.indices.tolist().index(outmost)]
    assert reason == f"cosine {cosine:.4f} to a row that stands or is farther from its cluster's centre"


def test_deita_goes_down_the_scores_and_leaves_out_what_is_like_a_pick_until_nothing_differs() -> None:
    candidates = pool(120)
    ifd = candidates.scores["ifd"]
    ranked = sorted(np.flatnonzero(ifd < 1), key=lambda i: -ifd[i]) + sorted(np.flatnonzero(ifd >= 1), key=ifd.item)
    kept: list[int] = []
    for i in ranked:
        if not kept or (candidates.embeddings[kept] @ candidates.embeddings[i]).max() < 0.8:
            kept.append(int(i))
    picks = run("deita", candidates, len(kept) + 3, threshold=0.8)
    others = [int(i) for i in ranked if i not in kept]
    assert picks.indices.tolist() == kept + others[:3]
    assert picks.notes == [f"deita: only {len(kept)} rows differ by cosine 0.8; 3 more were taken by score alone."]


def test_perplexity_and_kmeans_ifd_take_the_largest_and_kmeans_ifd_the_same_part_of_every_cluster() -> None:
    candidates = pool(60)
    perplexity, ifd = candidates.scores["perplexity"], candidates.scores["ifd"]
    assert run("perplexity", candidates, 9).indices.tolist() == np.argsort(-perplexity)[:9].tolist()
    picks = run("kmeans-ifd", candidates, 30).indices
    for c in range(3):
        mine = sorted(ifd[picks[candidates.labels[picks] == c]])
        members = sorted(ifd[candidates.labels == c])
        assert len(mine) == pytest.approx(len(members) / 2, abs=0.5)
        assert mine == members[-len(mine) :]


def test_ifd_facility_covers_the_most_difficult_part_and_no_other_row() -> None:
    candidates = pool(100)
    ifd = candidates.scores["ifd"]
    difficult = sorted(np.flatnonzero(ifd < 1), key=lambda i: -ifd[i])[:20]
    picks = run("ifd-facility", candidates, 8)
    assert set(picks.indices.tolist()) <= set(difficult)
    assert picks.notes[0] == "ifd-facility: 20 of 100 rows are the difficult part."


def test_the_nearest_row_is_found_in_whatever_block_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.vectors.neighbours._BLOCK", 16)
    monkeypatch.setattr("curate.vectors.neighbours._OTHERS", 7)
    vectors = pool(50).embeddings
    place, cosine = nearest(vectors, vectors[:40])
    whole = vectors @ vectors[:40].T
    assert place.tolist() == whole.argmax(axis=1).tolist()
    assert cosine == pytest.approx(whole.max(axis=1), abs=1e-6)


def test_rds_lets_each_target_row_in_turn_take_the_row_most_like_it_that_is_left() -> None:
    candidates = pool(60)
    assert candidates.target is not None
    cosine = candidates.target @ candidates.embeddings.T
    expected: list[int] = []
    for turn in range(40):
        expected.append(next(int(i) for i in np.argsort(-cosine[turn % 3]) if i not in expected))
    assert run("rds", candidates, 40).indices.tolist() == expected


def test_rds_gives_every_target_row_its_share_where_near_duplicates_are_dropped_and_rows_are_kept() -> None:
    rng = np.random.default_rng(0)
    twins = np.hstack([np.full((60, 1), 3.0), np.zeros((60, 1)), np.repeat(rng.standard_normal((30, 10)), 2, axis=0)])
    others = np.hstack([np.zeros((60, 1)), np.full((60, 1), 3.0), rng.standard_normal((60, 10))])
    rows = unit(np.vstack([twins, others]))
    candidates = replace(pool(120, 12), embeddings=rows, target=unit(np.eye(12)[:2]))
    for k, kept in ((10, []), (40, []), (41, [3, 70, 90])):
        given = replace(candidates, picked=np.array(kept, dtype=np.int64))
        picks = pick_rows(STRATEGIES["rds"].bind({}), given, k + len(kept), np.random.default_rng(0), 0.999)
        turns = [int(reason.rsplit(" ", 1)[1]) for reason in picks.reasons[len(kept) :]]
        assert turns == [1 + turn % 2 for turn in range(k)]


def test_learned_centroids_go_down_the_gradient_of_the_loss_in_the_text() -> None:
    candidates = pool(60, 5)
    vectors, points = candidates.embeddings.astype(np.float64), candidates.embeddings[:7].astype(np.float64) * 0.9

    def loss(at: Any) -> float:
        apart = np.exp(at @ at.T / TEMPERATURE) * (1 - np.eye(7))
        return float(-(vectors @ at.T).max(axis=1).mean() / TEMPERATURE + np.log(apart.sum(axis=1)).mean())

    gradient = _gradient(candidates.embeddings, points, np.random.default_rng(0))
    for place in np.ndindex(points.shape):
        step = np.zeros_like(points)
        step[place] = 1e-6
        slope = (loss(points + step) - loss(points - step)) / 2e-6
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_length_matched_has_the_pools_lengths_and_longest_and_shortest_its_ends() -> None:
    candidates = pool(4000)
    tokens = candidates.token_counts
    picks = run("length-matched", candidates, 100).indices
    for quantile in (0.1, 0.5, 0.9):
        assert np.quantile(tokens[picks], quantile) == pytest.approx(np.quantile(tokens, quantile), abs=6)
    assert (
        candidates.output_chars[run("longest", candidates, 7).indices].tolist()
        == sorted(candidates.output_chars)[-1:-8:-1]
    )
    assert (
        candidates.prompt_chars[run("shortest", candidates, 7).indices].tolist() == sorted(candidates.prompt_chars)[:7]
    )


@pytest.mark.parametrize("coordinated", [False, True])
@pytest.mark.parametrize(
    ("stand", "left"),
    [
        (slice(60), range(60, 200)),
        (slice(3_940, 4_000), range(140)),
        (slice(1_800, 1_860), [*range(62), *range(122, 200)]),
    ],
)
def test_length_matched_takes_the_lengths_that_standing_picks_leave(
    stand: slice, left: Sequence[int], coordinated: bool
) -> None:
    luck = row_luck([str(i) for i in range(4_000)], 0) if coordinated else None
    candidates = replace(pool(4_000), luck=luck)
    tokens = candidates.token_counts
    picked = np.argsort(tokens, kind="stable")[stand]
    state = replace(candidates, picked=picked, barred=np.isin(np.arange(4_000), picked))
    picks = STRATEGIES["length-matched"].bind({})(state, 140, np.random.default_rng(0)).indices
    assert np.intersect1d(picks, picked).tolist() == []
    assert np.sort(tokens[picks]) == pytest.approx(np.quantile(tokens, (np.array(left) + 0.5) / 200), abs=4)


def test_first_follows_the_pool_and_random_grows_with_k() -> None:
    candidates = pool(50)
    assert candidates.row_index[run("first", candidates, 5).indices].tolist() == [0, 1, 2, 3, 4]
    assert run("random", candidates, 9).indices[:4].tolist() == run("random", candidates, 4).indices.tolist()


@pytest.mark.parametrize(
    ("strategy", "pair", "sentence"),
    [
        ("random", "rounds=5", "rounds belongs to facility-location, ifd-facility, target-words."),
        ("mmr", "relevanc=1", 'takes no option "relevanc=1". Did you mean "relevance"?'),
        ("mmr", "relevance", "relevance= is not a number. Example: relevance=0.5"),
        ("kmeans", "much=1", 'Strategy kmeans takes no option "much=1". There is none.'),
        ("mmr", "relevance=much", "relevance=much is not a number. Example: relevance=0.5"),
        ("mmr", "relevance=1.5", "relevance=1.5 is out of range. Allowed: 0.0 to 1.0."),
        ("dpp", "bandwidth=nan", "bandwidth=nan is out of range"),
        ("facility-location", "rounds=1.5", "rounds=1.5 is not a number"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_what_is_allowed(strategy: str, pair: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_options([strategy], [pair])
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_pair_is_for_every_compared_strategy_that_takes_it_and_for_one_at_least() -> None:
    assert parse_options(["random", "facility-location", "ifd-facility"], ["rounds=0", "share=0.5"]) == {
        "random": {},
        "facility-location": {"rounds": 0},
        "ifd-facility": {"rounds": 0, "share": 0.5},
    }
    with pytest.raises(UserError) as caught:
        parse_options(["random", "facility-location"], ["threshold=0.5"])
    assert str(caught.value) == (
        'None of random, facility-location takes the option "threshold=0.5". threshold belongs to deita.'
    )


def test_curate_strategies_lists_each_on_a_line_with_what_it_needs_its_source_and_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["strategies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == list(STRATEGIES)
    at = next(i for i, line in enumerate(lines) if line.startswith("deita "))
    assert lines[at].endswith("leaving out what is like a pick [needs embeddings, scores] (arXiv 2312.15685)")
    assert lines[at + 1].strip() == "threshold=0.9  cosine from which a row is too like a pick"


def test_a_rows_luck_is_uniform_and_depends_on_its_id_and_the_draw_alone() -> None:
    ids = [f"row{i}" for i in range(4_000)]
    luck = row_luck(ids, 0)
    assert (luck[7], luck[:1].tolist()) == (row_luck(["row7"], 0)[0], row_luck(["row0"], 0).tolist())
    assert stats.kstest(luck, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(luck, row_luck(ids, 1))[0, 1]) < 0.05


@pytest.mark.parametrize("strategy", ["random", "kmeans", "length-matched", "density", "learned-centroids"])
def test_coordinated_draws_of_a_filtered_pool_share_picks_and_other_draws_do_not(strategy: str) -> None:
    whole = replace(pool(400), luck=row_luck([str(i) for i in range(400)], 0))
    kept = np.flatnonzero(np.arange(400) % 7 > 0)  # a filter drops a seventh of the rows
    filtered = whole.take(kept)
    options = {"steps": 5} if strategy == "learned-centroids" else {}
    picks = set(run(strategy, whole, 60, **options).indices.tolist())
    again = set(run(strategy, whole, 60, seed=1, **options).indices.tolist())
    after = {int(kept[i]) for i in run(strategy, filtered, 60, seed=2, **options).indices.tolist()}
    other = replace(whole, luck=row_luck([str(i) for i in range(400)], 1))
    apart = set(run(strategy, other, 60, seed=2, **options).indices.tolist())
    if strategy not in ("learned-centroids", "density"):  # these draw more than the order of the rows
        assert picks == again
    assert len(picks & after) > len(picks & apart) + 8


def test_coordinated_random_picks_are_the_luckiest_and_a_filter_shares_its_part_of_them() -> None:
    luck = row_luck([str(i) for i in range(2_000)], 3)
    whole = replace(pool(2_000), luck=luck)
    picks = run("random", whole, 200).indices
    assert picks.tolist() == np.argsort(luck)[:200].tolist()
    kept = np.flatnonzero(np.random.default_rng(0).random(2_000) < 0.85)
    after = kept[run("random", whole.take(kept), 200).indices]
    assert len(set(after.tolist()) & set(picks.tolist())) == (np.isin(picks, kept)).sum()
