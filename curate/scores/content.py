"""The scores of rows that strategies ask for by name, computed from the texts or read by content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.artifact import find_artifact, read_manifest, require_whole
from curate.config import SelectConfig
from curate.pool.rows import Row
from curate.scores.draws_record import COMMAND as DRAWS_COMMAND
from curate.scores.draws_record import KIND as DRAWS
from curate.scores.draws_record import draws_dir, read_draws
from curate.scores.form import well_formed
from curate.scores.influence_record import AGAIN as INFLUENCE_AGAIN
from curate.scores.influence_record import KIND as INFLUENCE
from curate.scores.influence_record import influences_dir, read_influence
from curate.scores.made_for import MadeFor
from curate.scores.mixture_record import COMMAND as MIXTURE_COMMAND
from curate.scores.mixture_record import KIND as MIXTURE
from curate.scores.mixture_record import mixtures_dir, read_mixture
from curate.scores.target_words import word_odds
from curate.strategies.table import STRATEGIES

CONTENT = frozenset({"target_words", "well_formed", "influence", "mixture", "draws"})


def content_scores(
    config: SelectConfig, rows: Sequence[Row], target: Sequence[Row], now: MadeFor, wanted: float
) -> dict[str, NDArray[np.float64]]:
    """Return arrays (n,) by name for what the strategy of `config` needs and is known here.

    `rows` are the candidates; `now` is the pool that is selected from and the model that is selected for; `wanted` is
    the share of the candidates, or of their tokens, that is to be picked.
    """
    needs = STRATEGIES[config.strategy].needs
    scores = {}
    if "target_words" in needs:
        scores["target_words"] = word_odds(rows, target, config.strategy_options.get("rounds", 0), wanted)
    if "well_formed" in needs:
        scores["well_formed"] = well_formed(rows)
    if "influence" in needs and config.influence is not None:
        scores["influence"] = read_influence(config.influence).of_rows(rows)
    if "mixture" in needs and config.mixture is not None:
        mixture = read_mixture(config.mixture)
        mixture.record.made_for.require(mixture.path.name, MIXTURE_COMMAND, now)
        mixture.require_believed()
        scores |= mixture.of_rows(rows)
    if "draws" in needs and config.draws is not None:
        draws = read_draws(config.draws)
        draws.record.made_for.require(draws.path.name, DRAWS_COMMAND, now)
        draws.require_size(config.k, config.token_budget)
        scores["draw_place"] = draws.of_rows(rows)
    return scores


def made_before_digests(config: SelectConfig) -> list[str]:
    """Return the digests of what other commands made and `config` names, as their manifests have them.

    A manifest signs the digests of its files. Each is held against it here, too: a finished selection is reused by
    these digests alone, and a damaged file stops that as it stops the making of one.
    """
    named = (
        (config.influence, influences_dir(), INFLUENCE, INFLUENCE_AGAIN),
        (config.mixture, mixtures_dir(), MIXTURE, f"Make it again: {MIXTURE_COMMAND}"),
        (config.draws, draws_dir(), DRAWS, f"Make it again: {DRAWS_COMMAND}"),
    )
    digests = []
    for name, parent, kind, again in named:
        if name is not None:
            folder = find_artifact(name, parent, kind)
            manifest = read_manifest(folder, kind)
            require_whole(folder, manifest, again)
            digests.append(str(manifest.manifest_digest))
    return digests
