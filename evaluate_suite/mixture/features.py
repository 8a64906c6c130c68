"""Features of rows that no model is asked for, draws by weights of them, and the weights that a law finds best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from curate.artifact import digest_json
from curate.errors import UserError
from curate.pool.rows import Row
from curate.scores.form import well_formed
from curate.scores.mixture_record import Feature, ProxyRun
from curate.strategies.weighted import normal_scores
from evaluate_suite.mixture.law import best_weights, fit_weights
from evaluate_suite.mixture.strata import require_room, without_small
from evaluate_suite.mixture.world import World

AXES = 4  # of a source's vectors
GRAM = 4  # words of which a repetition counts
DIGITS = 6  # of values: what is beyond them differs between machines
LUCKS = 8  # draws that the runs share, so that what two of them differ in is mostly their weights
# On the study's 21 features the rank correlation was 0.49 with 96 of its runs, 0.53 with 160 and 0.56 with all 216.
RUNS_A_FEATURE = 8
REACH = 0.6  # of the length of a typical run's weights


@dataclass(frozen=True)
class ByFeatures:
    """The features of a pool's rows (n x F) by name, and the weights (runs x F) that the proxy runs draw by."""

    by: ClassVar[Literal["features"]] = "features"
    row_ids: list[str]
    names: list[str]
    values: NDArray[np.float64]
    drawn: NDArray[np.float64]
    spread: float

    @property
    def decided_by(self) -> list[Any]:
        """What decides the result beside the runs."""
        return [self.by, self.spread, REACH]

    @cached_property
    def _digest(self) -> str:
        return digest_json([self.names, self.row_ids, self.values.tolist()])

    def luck(self, number: int) -> int:
        """Return the number of a run's draw."""
        return number % LUCKS

    def digest(self, number: int) -> str:
        """Return the digest of what a run draws by."""
        return digest_json([self._digest, self.drawn[number].tolist()])

    def of_run(self, number: int) -> tuple[dict[str, Any], list[float]]:
        """Return what the record of a run's own mixture holds, and its rows' values."""
        return self._weighted(self.drawn[number])

    def fit(self, losses: NDArray[np.float64], _: Any, min_correlation: float) -> tuple[dict[str, Any], list[float]]:
        """Return what the record holds, and the rows' values: by the weights with the least loss within reach."""
        luck = np.array([self.luck(number) for number in range(len(losses))])
        law = fit_weights(self.drawn, losses, luck, min_correlation)
        law, weights = best_weights(law, REACH * self.spread * float(np.sqrt(len(self.names))))
        proxies = [
            ProxyRun(number=number, weights=own.tolist(), loss=float(loss))
            for number, (own, loss) in enumerate(zip(self.drawn, losses, strict=True))
        ]
        record, values = self._weighted(weights)
        return {**record, "law": law, "proxies": proxies}, values

    def notes(self) -> list[str]:
        """What is to be said before the runs are trained."""
        runs, features = len(self.drawn), len(self.names)
        wanted = RUNS_A_FEATURE * features
        few = f"{runs} proxy runs are few for {features} features: --proxies {wanted} has {RUNS_A_FEATURE} for each."
        return [few] if runs < wanted else []

    def _weighted(self, weights: NDArray[np.float64]) -> tuple[dict[str, Any], list[float]]:
        """The record's part and the logarithms of the rows' weights."""
        own = [Feature(name=name, weight=float(w)) for name, w in zip(self.names, weights, strict=True)]
        return {"features": own}, (self.values @ weights).round(DIGITS).tolist()


def by_features(world: World, proxies: int | None, least: int, spread: float, seed: int, budget: float) -> ByFeatures:
    """Return the features of the world's rows, and each run's weights: normal numbers times `spread`.

    Where nobody said how many `proxies`, there are eight for each feature, and no fewer than `least`.
    """
    require_room(float(world.tokens.sum()), budget)
    names, values = row_features(world.rows, world.tokens, world.vectors)
    runs = proxies or max(least, RUNS_A_FEATURE * len(names))
    drawn = [spread * np.random.default_rng([seed, 4, run]).standard_normal(len(names)) for run in range(runs)]
    return ByFeatures(world.row_ids, names, values, np.array(drawn).round(DIGITS), spread)


def row_features(
    rows: Sequence[Row], tokens: NDArray[np.int64], vectors: NDArray[np.float32]
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the features in which the rows differ, and their values (n x F).

    Which source (1 or 0, less the mean; not where there is one alone), and as normal scores within the source: tokens
    and the sides of the first principal axes of its vectors, a feature for each source, and characters of the prompt,
    form and repeated words, one for all. Sources with less than 2% of the tokens are one.
    """
    source = without_small([row.source for row in rows], tokens).astype(str)
    in_all = {
        "prompt characters": np.array([len(row.instruction) for row in rows], dtype=np.float64),
        "well-formed": well_formed(rows),
        "repeated words": np.array([repeated_share(f"{row.instruction}\n{row.output}") for row in rows]),
    }
    features: dict[str, NDArray[np.float64]] = {}

    def add(name: str, values: NDArray[np.float64], own: NDArray[np.bool_]) -> None:
        features.setdefault(name, np.zeros(len(rows)))[own] = normal_scores(values)

    names = np.unique(source).tolist()
    for name in names:
        own = source == name
        if len(names) > 1:
            features[f"source {name}"] = own - own.mean()
        add(f"tokens in {name}", tokens[own].astype(np.float64), own)
        for feature, values in in_all.items():
            add(feature, values[own], own)
        for number, side in enumerate(sides(vectors[own]), start=1):
            add(f"axis {number} in {name}", side, own)
    differing = {name: values for name, values in features.items() if np.ptp(values) > 0}
    if not differing:
        raise UserError(f"The {len(rows)} rows differ in no feature.", "Take a larger pool, or --by strata.")
    return list(differing), np.column_stack(list(differing.values())).round(DIGITS)


def sides(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far each row lies along the vectors' first principal axes (axes x n).

    An axis points to where its largest entry is positive.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    with threadpool_limits(1):
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :AXES].T
        largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
        along = (axes * np.sign(largest)[:, None]) @ centred.T
    return np.asarray(along.round(DIGITS))


def repeated_share(text: str) -> float:
    """Return the share of a text's runs of four words that stood in it before."""
    words = text.split()
    grams = [tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
