"""THE RECIPE of `evalsuite mixture`: strata, proxy runs with shares of their own, the law, the best shares."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_json, is_made, one_writer, record_file, write_jsonl, write_manifest
from curate.artifact.manifest_schema import FileRecord
from curate.scores.made_for import MadeFor
from curate.scores.mixture_record import (
    KIND,
    STRATA,
    Mixture,
    MixtureRecord,
    ProxyRun,
    Stratum,
    mixtures_dir,
    read_mixture,
)
from curate.vectors.clustering import build_clusters
from evaluate_suite.config import MixtureConfig
from evaluate_suite.mixture.law import TRIED, best_shares, fit_law
from evaluate_suite.mixture.proxies import FIRST_DRAW, SHARES, Job, Result, finished_result, run_all
from evaluate_suite.mixture.request import ProxyRequest
from evaluate_suite.mixture.strata import draw_shares, most_shares, name_strata
from evaluate_suite.mixture.world import World, build_world
from evaluate_suite.study.runner import Here, Runner


@dataclass(frozen=True)
class MixturePlan:
    """The pool in strata, and the proxy runs. `place` (n,) is each candidate's stratum; `drawn` the runs' shares."""

    world: World
    names: list[str]
    place: NDArray[np.int64]
    drawn: NDArray[np.float64]
    tried: NDArray[np.float64]
    jobs: list[Job]

    @property
    def tokens(self) -> NDArray[np.float64]:
        """The strata's tokens in the pool (s,)."""
        return np.bincount(self.place, weights=self.world.tokens, minlength=len(self.names)).astype(np.float64)


def plan_mixture(config: MixtureConfig, request: ProxyRequest) -> MixturePlan:
    """Return the strata and the proxy runs of a mixture: everything is read and embedded, nothing is trained."""
    world = build_world(request.base, config.apart)
    clusters = build_clusters(world.vectors, config.clusters, np.random.default_rng([config.seed, 1]))[0]
    names, place = np.unique(name_strata(world.sources, world.tokens, clusters), return_inverse=True)
    tokens = np.bincount(place, weights=world.tokens).astype(np.float64)
    budget = request.base.token_budget or request.base.k * float(world.tokens.mean())
    most, pool = most_shares(tokens, budget), tokens / tokens.sum()
    drawn = np.concatenate(
        [
            draw_shares(pool, most, 1, config.spread, np.random.default_rng([config.seed, 2, number]))
            for number in range(config.proxies)
        ]
    )
    tried = draw_shares(pool, most, TRIED, config.spread, np.random.default_rng([config.seed, 3]))
    plan = MixturePlan(world, [str(name) for name in names], place, drawn, tried, [])
    return MixturePlan(
        **{**vars(plan), "jobs": [_job(plan, config, request, number) for number in range(config.proxies)]}
    )


def _job(plan: MixturePlan, config: MixtureConfig, request: ProxyRequest, number: int) -> Job:
    world = plan.world
    draw = FIRST_DRAW * (config.seed + 1) + number
    selection = world.config.model_copy(update={"strategy": "mixture", "target": None, "seed": draw})
    lines = [[row_id, int(stratum)] for row_id, stratum in zip(world.row_ids, plan.place, strict=True)]
    shares = digest_json([plan.names, plan.drawn[number].tolist(), lines])
    return Job(number, world.folder, selection, request.recipe, world.judges, world.own.pool_digest, shares)


def mixture(
    config: MixtureConfig,
    request: ProxyRequest,
    plan: MixturePlan,
    command: Sequence[str] = (),
    runner: Runner | None = None,
) -> Mixture:
    """Return the finished mixture, made or, where the same one exists already, reused; proxy runs that stand are kept.

    It is written whether or not its law is to be believed: `Mixture.require_believed` says so to whoever uses it.
    """
    started = time.perf_counter()
    base = request.base
    size = f"k{base.k}" if base.token_budget is None else f"t{base.token_budget}"
    settings = [[job.identity for job in plan.jobs], plan.world.digest, config.aim, config.min_correlation]
    digest = digest_json(settings)
    folder = config.out or mixtures_dir() / f"{size}-{digest[:8]}"
    with one_writer(folder):
        if not is_made(folder, KIND, "mixture_digest", digest, {STRATA, MixtureRecord.file}):
            for job in plan.jobs:
                if finished_result(job) is None:
                    _write_shares_of(plan, job)
            results = run_all(plan.jobs, runner or Here())
            record = fit(config, plan, results)
            about = {"mixture_digest": digest, "settings": config.model_dump(mode="json"),
                     "training": request.recipe.model_dump(mode="json")}  # fmt: skip
            seconds = {"proxy_runs": sum(r.seconds for r in results), "mixture": time.perf_counter() - started}
            write_mixture(folder, record, plan, about, command, config.seed, plan.world.inputs, seconds)
    return read_mixture(folder)


def fit(config: MixtureConfig, plan: MixturePlan, results: Sequence[Result]) -> MixtureRecord:
    """Return the record of the mixture: the law fitted to what the runs really picked, and the best shares by it."""
    shares = np.array([picked_shares(plan, result) for result in results])
    losses = np.array([result.loss(config.aim) for result in results])
    pool = plan.tokens / plan.tokens.sum()
    law, best = best_shares(fit_law(shares, losses, config.min_correlation), plan.tried, pool)
    proxies = [
        ProxyRun(number=result.number, shares=row.tolist(), loss=float(loss))
        for result, row, loss in zip(results, shares, losses, strict=True)
    ]
    judged_by = f"loss a token over {plan.world.judged_by}"
    if config.aim != "rows":
        judged_by = f"mean over sources of the loss a token over {plan.world.judged_by}"
    return MixtureRecord(
        made_for=plan.world.made_for, strata=_strata(plan, best), judged_by=judged_by, law=law, proxies=proxies
    )


def picked_shares(plan: MixturePlan, result: Result) -> NDArray[np.float64]:
    """Return the shares (s,) of the tokens that a proxy run's picks gave."""
    at = {row_id: i for i, row_id in enumerate(plan.world.row_ids)}
    rows = np.array([at[row_id] for row_id in result.picked], dtype=np.int64)
    tokens = np.bincount(plan.place[rows], weights=plan.world.tokens[rows], minlength=len(plan.names))
    return np.asarray(tokens / tokens.sum())


def _strata(plan: MixturePlan, shares: Sequence[float]) -> list[Stratum]:
    rows, tokens = np.bincount(plan.place, minlength=len(plan.names)), plan.tokens
    return [
        Stratum(
            name=name, rows=int(rows[i]), tokens=int(tokens[i]), pool_share=float(tokens[i] / tokens.sum()),
            share=float(shares[i]),
        )
        for i, name in enumerate(plan.names)
    ]  # fmt: skip


def _write_shares_of(plan: MixturePlan, job: Job) -> None:
    """Write the strata and shares that a proxy run selects by, where they are not there yet."""
    folder, own = job.folder / SHARES, plan.world.own
    if not is_made(folder, KIND, "mixture_digest", str(job.shares), {STRATA, MixtureRecord.file}):
        record = MixtureRecord(
            made_for=MadeFor(**dict(own)), strata=_strata(plan, plan.drawn[job.number].tolist()), judged_by="nothing"
        )
        write_mixture(folder, record, plan, {"mixture_digest": job.shares}, (), None, [], {})


def write_mixture(
    folder: Path,
    record: MixtureRecord,
    plan: MixturePlan,
    config: dict[str, Any],
    command: Sequence[str],
    seed: int | None,
    inputs: Sequence[FileRecord],
    seconds: dict[str, float],
) -> None:
    """Write the artifact: the record, the rows' strata, and the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder)
    rows = zip(plan.world.row_ids, plan.place.tolist(), strict=True)
    n = write_jsonl(folder / STRATA, ({"row_id": row_id, "stratum": stratum} for row_id, stratum in rows))
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config=config,
        seed=seed,
        inputs=inputs,
        outputs=[record_file(folder, STRATA, n), record_file(folder, MixtureRecord.file)],
        counts={"rows": n, "strata": len(plan.names), "proxy_runs": len(record.proxies)},
        seconds=seconds,
    )


def mixture_rows(mixture: Mixture) -> list[tuple[str, str]]:
    """What a mixture found, as rows of a table for people."""
    record, law = mixture.record, mixture.record.law
    rows = [
        (stratum.name, f"{stratum.pool_share:.1%} of the pool's tokens, {stratum.share:.1%} of a selection's")
        for stratum in record.strata
    ]
    if law is not None:
        change = law.predicted_loss / law.predicted_pool_loss - 1
        rows += [
            ("rank correlation", f"{law.rank_correlation:.2f}, cross-validated over {len(record.proxies)} proxy runs"),
            ("predicted", f"{law.predicted_loss:.4f} nats a token, {change:+.2%} against the pool's own shares"),
            ("judged by", record.judged_by),
        ]
    return rows
