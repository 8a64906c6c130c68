"""What proxy runs are asked for: a base selection, the training, and who does the work."""

from __future__ import annotations

from dataclasses import dataclass

from curate.config import SelectConfig
from curate.errors import UsageError, did_you_mean
from curate.scores.mixture_record import BY_STRATA
from curate.strategies.table import STRATEGIES, parse_options
from evaluate_suite.config import BestOfDrawsConfig, MixtureConfig, ProxyConfig
from evaluate_suite.defaults import MIXTURES
from evaluate_suite.mixture.proxies import AIMS
from evaluate_suite.study.request import base_and_recipe
from finetune.config import RunConfig

LEAST_PROXIES = {"strata": 10, "features": 16}  # five folds of two; eight draws, the mean of each taken away


@dataclass(frozen=True)
class ProxyRequest:
    """A command's settings, checked: the selection without its strategy, and the training of every run."""

    base: SelectConfig
    recipe: RunConfig


def mixture_request(config: MixtureConfig) -> ProxyRequest:
    """Return what `evalsuite mixture` is asked for; a `UsageError` for what is wrong in itself."""
    if config.aim not in AIMS:
        raise UsageError(f'--aim is "{config.aim}".', did_you_mean(config.aim, AIMS))
    if config.by not in MIXTURES:
        raise UsageError(f'--by is "{config.by}".', did_you_mean(config.by, MIXTURES))
    if config.by != BY_STRATA and config.clusters is not None:
        raise UsageError("--clusters is of strata, and this mixture is by features.", "Leave it out, or --by strata.")
    if config.proxies is not None:
        _at_least("proxies", config.proxies, LEAST_PROXIES[config.by])
    if config.clusters is not None:
        _at_least("clusters", config.clusters, 1)
    if config.spread is not None and not 0 < config.spread <= 3:
        raise UsageError(
            f"--spread is {config.spread:g}; allowed: above 0, up to 3.",
            f"{MIXTURES[config.by][1]:g} is the default of {config.by}.",
        )
    if not -1 <= config.min_correlation <= 1:
        raise UsageError(f"--min-correlation is {config.min_correlation:g}; allowed: -1 to 1.", "0.5 is the default.")
    return _request(config)


def draws_request(config: BestOfDrawsConfig) -> ProxyRequest:
    """Return what `evalsuite best-of-draws` is asked for; a `UsageError` for what is wrong in itself."""
    _at_least("draws", config.draws, 2)
    if config.strategy in ("mixture", "best-of-draws"):
        raise UsageError(f"--strategy {config.strategy} is itself made of proxy runs.", "Draw by another strategy.")
    request = _request(config)
    base = request.base.model_copy(update={"strategy": config.strategy})
    base.check()
    options = parse_options([config.strategy], config.strategy_options)[config.strategy]
    base = base.model_copy(update={"strategy_options": options})
    wanted = STRATEGIES[config.strategy].takes_target
    base.model_copy(update={} if wanted else {"target": None}).check_needs()
    return ProxyRequest(base, request.recipe)


def _request(config: ProxyConfig) -> ProxyRequest:
    _at_least("apart", config.apart, 1)
    _at_least("seed", config.seed, 0)
    base, recipe = base_and_recipe(config)
    base = base.model_copy(update={"target": config.target})
    base.check()
    if base.model != recipe.model:
        raise UsageError(
            f"Rows are counted for {base.model}, but the settings train {recipe.model}.",
            f"Take --model {recipe.model}, or another preset.",
        )
    return ProxyRequest(base, recipe)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"--{name} is {value}; it must be at least {least}.", "")
