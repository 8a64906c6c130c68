"""Which runs of a report belong together, and what their strategies are worth; on made-up runs, no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from evaluate_suite.reporting.estimates import model_pairs, strategy_results
from evaluate_suite.reporting.eval_loss import RowEval
from evaluate_suite.reporting.measures import Measure, loss_measure
from evaluate_suite.reporting.page import strategy_claim
from evaluate_suite.reporting.strategies import equivalent_sentence, group_runs, random_equivalents


@dataclass
class FakeSelection:
    """What the grouping reads of a selection."""

    strategy: str
    seed: int
    tokens: int
    digest: str
    k: int = 100
    selected: list[Any] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = {"strategy": self.strategy, "k": self.k, "token_budget": None, "strategy_options": {}, **self.asked}
        self.manifest = SimpleNamespace(config=config, seed=self.seed)
        self.selected = [SimpleNamespace(token_count=self.tokens)]


class FakeConfig:
    """A run's settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def model_dump(self, mode: str) -> dict[str, Any]:
        return self.settings


def run(name: str, selection: FakeSelection, loss: float, seed: int = 0, rate: float = 1e-4) -> Any:
    rows = [RowEval(f"r{i}", 10 * (loss + 0.01 * i), 10) for i in range(20)]
    manifest = SimpleNamespace(seed=seed, config={"tokens_seen": selection.tokens})
    record = SimpleNamespace(config=FakeConfig(learning_rate=rate, seed=seed), manifest=manifest)
    return SimpleNamespace(name=name, selection=selection, run=record, base_losses=[], tuned_losses=rows)


def draws(
    strategy: str, losses: list[float], tokens: int, k: int = 100, asked: dict[str, Any] | None = None, **settings: Any
) -> list[Any]:
    names = [f"{strategy}-{k}{'-'.join(['', *map(str, (asked or {}).values())])}-{d}" for d in range(len(losses))]
    return [
        run(name, FakeSelection(strategy, d, tokens, name, k, asked=asked or {}), loss, **settings)
        for d, (name, loss) in enumerate(zip(names, losses, strict=True))
    ]


def test_runs_are_grouped_by_all_but_draw_and_seed_and_named_by_what_differs() -> None:
    runs = [*draws("random", [2.0, 2.1], 1000), *draws("random", [1.8], 4000, k=400), *draws("kmeans", [1.9], 1000)]
    assert set(group_runs(runs).group.values()) == {"random k100", "random k400", "kmeans k100"}
    assert set(group_runs(runs[:2]).group.values()) == {"random"}
    other = run("other", FakeSelection("random", 5, 1000, "d5"), 2.0, rate=3e-4)
    assert set(group_runs([*runs[:2], other]).group.values()) == {
        "random learning_rate=0.0001", "random learning_rate=0.0003",
    }  # fmt: skip


def test_selections_for_two_targets_are_no_draws_of_one_strategy() -> None:
    targets = [
        {"target": "ours/rows.jsonl", "target_digest": "a"},
        {"target": "theirs/sql.jsonl", "target_digest": "b"},
    ]
    runs = [run for asked in targets for run in draws("target-words", [1.7, 1.8], 1000, asked=asked)]
    assert sorted(set(group_runs(runs).group.values())) == [
        "target-words target=rows.jsonl", "target-words target=sql.jsonl",
    ]  # fmt: skip
    moved = draws("target-words", [1.7], 1000, asked={"target": "elsewhere/rows.jsonl", "target_digest": "a"})
    assert set(group_runs([*runs[:2], *moved]).group.values()) == {"target-words"}


@pytest.mark.parametrize(
    "asked",
    [
        [{"target": "a/rows.jsonl", "target_digest": "a"}, {"target": "b/rows.jsonl", "target_digest": "b"}],
        [{"pool_digest": "0123456789abc"}, {"pool_digest": "0123456789abd"}],
    ],
)
def test_groups_that_the_same_words_describe_keep_apart(asked: list[dict[str, Any]]) -> None:
    runs = [run for each in asked for run in draws("random", [2.0, 2.1], 1000, asked=each)]
    assert len(set(group_runs(runs).group.values())) == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"influence": "one"}, {"mixture": "one"}, {"draws": "one"}, {"score_model": "one"}, {"keep": "one"},
        {"clean": ["empty"]}, {"decontaminate": ["humaneval"]}, {"vectors": "one.npy"}, {"turns": "all"},
    ],
)  # fmt: skip
def test_what_a_selection_was_asked_for_sets_its_group_apart(asked: dict[str, Any]) -> None:
    runs = [*draws("kmeans", [2.0, 2.1], 1000), *draws("kmeans", [2.0, 2.1], 1000, asked=asked)]
    assert len(set(group_runs(runs).group.values())) == 2


def test_the_worth_of_picks_for_a_target_is_read_off_the_random_curve() -> None:
    curve = [*draws("random", [2.0, 2.02, 1.98], 1000), *draws("random", [1.8, 1.81, 1.79], 4000, k=400)]
    around = draws("random", [1.0, 1.1], 2000, asked={"keep": "one"})  # chosen around rows that stand
    near = draws("target-words", [1.9, 1.91, 1.89], 1000, asked={"target": "rows.jsonl", "target_digest": "a"})
    runs = [*curve, *around, *near]
    found = random_equivalents(runs, group_runs(runs))
    assert found["target-words k100 target=rows.jsonl"].ratio == pytest.approx(2.0, rel=1e-6)


def test_the_answer_about_strategies_takes_draws_as_its_unit() -> None:
    runs = [*draws("random", [2.0, 2.01, 1.99, 2.0], 1000), *draws("kmeans", [1.7, 1.71, 1.69, 1.7], 1000)]
    results, pairs, notes = strategy_results(runs, [loss_measure(runs)])
    assert [(r.name, r.n_draws, r.n_seeds, r.scope) for r in results] == [
        ("random", 4, 1, "strategies"), ("kmeans", 4, 1, "strategies"),
    ]  # fmt: skip
    assert (pairs[0].winner, pairs[0].n_units, pairs[0].unit) == ("kmeans", 4, "draws")
    assert pairs[0].effect == pytest.approx(-0.3)
    assert "The worth of kmeans in random tokens is not known: random selections exist at 1 budget(s)" in notes[-1]


def yes_no(runs: list[Any], shares: dict[str, list[float]]) -> Measure:
    """Clean answers on 60 prompts: each run's share of them, the same prompts first; the last prompt is unscored."""
    each = [share for mine in shares.values() for share in mine]
    return Measure(
        "well_formed_answer",
        {r.name: {f"p{i}": float(i < 60 * share) for i in range(59)} for r, share in zip(runs, each, strict=True)},
        True,
        60,
        bounds=(0.0, 1.0),
        headline=True,
    )


def test_a_draw_that_is_lucky_on_clean_answers_wins_run_by_run_and_makes_no_better_strategy() -> None:
    runs = [*draws("random", [2.0, 2.01, 1.99], 1000), *draws("kmeans", [2.0, 2.01, 1.99], 1000)]
    clean = yes_no(runs, {"random": [0.5, 0.52, 0.48], "kmeans": [0.9, 0.5, 0.52]})
    by_run = [p for p in model_pairs([clean]) if p.winner == "kmeans-100-0"]
    assert len(by_run) == 5
    results, pairs, notes = strategy_results(runs, [loss_measure(runs), clean])
    pair = pairs[1]
    assert (pair.measure, pair.scope, pair.winner, pair.unit) == ("well_formed_answer", "strategies", None, "draws")
    assert strategy_claim([pair], share=True)[1].endswith(" points would show 4 times in 5")
    found = results[1].metrics["well_formed_answer"]
    assert (found.estimate.n, found.estimate.unscored) == (59, 1)
    assert found.draw_spread == pytest.approx(0.2261, abs=1e-3)
    assert notes[0].startswith("Few draws (random: 3, kmeans: 3)")


def test_a_gain_on_clean_answers_that_every_draw_shows_makes_a_better_strategy() -> None:
    runs = [*draws("random", [2.0, 2.01, 1.99], 1000), *draws("kmeans", [2.0, 2.01, 1.99], 1000)]
    clean = yes_no(runs, {"random": [0.5, 0.52, 0.48], "kmeans": [0.9, 0.85, 0.88]})
    _, pairs, _ = strategy_results(runs, [loss_measure(runs), clean])
    assert [(p.measure, p.scope, p.winner) for p in pairs] == [
        ("eval loss", "strategies", None), ("well_formed_answer", "strategies", "kmeans"),
    ]  # fmt: skip
    assert strategy_claim(pairs[1:], share=True) == ("kmeans beats random", "")


def test_what_rests_on_a_single_draw_says_so() -> None:
    runs = [*draws("random", [2.0, 2.01, 1.99], 1000), *draws("kmeans", [2.0], 1000)]
    clean = yes_no(runs, {"random": [0.5, 0.52, 0.48], "kmeans": [0.9]})
    results, pairs, notes = strategy_results(runs, [loss_measure(runs), clean])
    assert strategy_claim(pairs[1:], share=True) == ("kmeans beats random (about these runs)", "")
    assert (results[0].scope, pairs[1].measure, pairs[1].scope) == ("runs", "well_formed_answer", "runs")
    assert notes[0] == "One selection only was drawn by kmeans: nothing is said about the strategy itself."


def test_a_worth_in_random_tokens_is_read_off_the_curve_of_the_same_recipe() -> None:
    curve = [*draws("random", [2.0, 2.02, 1.98], 1000), *draws("random", [1.8, 1.81, 1.79], 4000, k=400)]
    chosen = draws("kmeans", [1.9, 1.91, 1.89], 1000)
    runs = [*curve, *chosen]
    found = random_equivalents(runs, group_runs(runs))
    assert found["kmeans k100"].tokens == pytest.approx(2000, rel=1e-6)
    assert found["kmeans k100"].ratio == pytest.approx(2.0, rel=1e-6)
    sentence = equivalent_sentence("kmeans k100", found["kmeans k100"])
    assert sentence.startswith("kmeans k100 reaches what 2,000 random tokens reach, 2.00 times its own (95% interval ")
    faster = [*curve, *draws("kmeans", [1.9], 1000, rate=3e-4)]
    (worth,) = random_equivalents(faster, group_runs(faster)).values()
    assert worth.reason == "random selections exist at 0 budget(s); two are needed"
