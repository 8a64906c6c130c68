"""THE RECIPE of `evalsuite mixture`: features or strata, proxy runs that vary them, the law, the best of them by it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.artifact import digest_json, is_made, one_writer, record_file, write_jsonl, write_manifest
from curate.artifact.manifest_schema import FileRecord
from curate.scores.made_for import MadeFor
from curate.scores.mixture_record import (
    BY_STRATA,
    KIND,
    OF_ROWS,
    Mixture,
    MixtureRecord,
    mixtures_dir,
    read_mixture,
)
from evaluate_suite.config import MixtureConfig
from evaluate_suite.defaults import CLUSTERS, MIXTURES
from evaluate_suite.mixture.features import ByFeatures, by_features
from evaluate_suite.mixture.proxies import FIRST_DRAW, SHARES, Job, Result, finished_result, run_all
from evaluate_suite.mixture.request import ProxyRequest
from evaluate_suite.mixture.strata import ByStrata, by_strata
from evaluate_suite.mixture.world import World, build_world
from evaluate_suite.study.runner import Here, Runner

MOST_SHOWN = 8  # features in the table for people


@dataclass(frozen=True)
class MixturePlan:
    """The pool, what its rows are drawn by, and the proxy runs."""

    world: World
    way: ByFeatures | ByStrata
    jobs: list[Job]


def plan_mixture(config: MixtureConfig, request: ProxyRequest) -> MixturePlan:
    """Return what rows are drawn by and the proxy runs: everything is read and embedded, nothing is trained."""
    world = build_world(request.base, config.apart)
    budget = request.base.token_budget or request.base.k * float(world.tokens.mean())
    proxies, spread = MIXTURES[config.by]
    spread = spread if config.spread is None else config.spread
    way: ByFeatures | ByStrata
    if config.by == BY_STRATA:
        way = by_strata(world, config.proxies or proxies, config.clusters or CLUSTERS, spread, config.seed, budget)
    else:
        way = by_features(world, config.proxies, proxies, spread, config.seed, budget)
    return MixturePlan(world, way, [_job(world, way, config.seed, request, run) for run in range(len(way.drawn))])


def _job(world: World, way: ByFeatures | ByStrata, seed: int, request: ProxyRequest, number: int) -> Job:
    draw = FIRST_DRAW * (seed + 1) + way.luck(number)
    selection = world.config.model_copy(update={"strategy": "mixture", "target": None, "seed": draw})
    return Job(
        number, world.folder, selection, request.recipe, world.judges, world.own.pool_digest, way.digest(number)
    )  # fmt: skip


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
    digest = digest_json([*settings, *plan.way.decided_by])
    folder = config.out or mixtures_dir() / f"{size}-{digest[:8]}"
    with one_writer(folder):
        if not is_made(folder, KIND, "mixture_digest", digest, {OF_ROWS[plan.way.by][0], MixtureRecord.file}):
            for job in plan.jobs:
                if finished_result(job) is None:
                    _write_own_mixture(plan, job)
            results = run_all(plan.jobs, runner or Here())
            record, values = fit(config, plan, results)
            about = {"mixture_digest": digest, "settings": config.model_dump(mode="json"),
                     "training": request.recipe.model_dump(mode="json")}  # fmt: skip
            seconds = {"proxy_runs": sum(r.seconds for r in results), "mixture": time.perf_counter() - started}
            write_mixture(
                folder, record, plan.world.row_ids, values, about, command, config.seed, plan.world.inputs, seconds
            )
    return read_mixture(folder)


def fit(config: MixtureConfig, plan: MixturePlan, results: Sequence[Result]) -> tuple[MixtureRecord, Sequence[float]]:
    """Return the record of the mixture, whose law is fitted to the runs' losses, and a value for each row."""
    losses = np.array([result.loss(config.aim) for result in results])
    fitted, values = plan.way.fit(losses, [result.picked for result in results], config.min_correlation)
    judged_by = f"loss a token over {plan.world.judged_by}"
    if config.aim != "rows":
        judged_by = f"mean over sources of the loss a token over {plan.world.judged_by}"
    return MixtureRecord(made_for=plan.world.made_for, by=plan.way.by, judged_by=judged_by, **fitted), values


def _write_own_mixture(plan: MixturePlan, job: Job) -> None:
    """Write the mixture that a proxy run selects by, where it is not there yet."""
    folder, own, way = job.folder / SHARES, plan.world.own, plan.way
    if not is_made(folder, KIND, "mixture_digest", str(job.shares), {OF_ROWS[way.by][0], MixtureRecord.file}):
        drawn, values = way.of_run(job.number)
        record = MixtureRecord(made_for=MadeFor(**dict(own)), by=way.by, judged_by="nothing", **drawn)
        write_mixture(folder, record, plan.world.row_ids, values, {"mixture_digest": job.shares}, (), None, [], {})


def write_mixture(
    folder: Path,
    record: MixtureRecord,
    row_ids: Sequence[str],
    values: Sequence[float],
    config: dict[str, Any],
    command: Sequence[str],
    seed: int | None,
    inputs: Sequence[FileRecord],
    seconds: dict[str, float],
) -> None:
    """Write the artifact: the record, the rows' weights or strata, and the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder)
    file, name = OF_ROWS[record.by]
    lines = zip(row_ids, values, strict=True)
    n = write_jsonl(folder / file, ({"row_id": row_id, name: value} for row_id, value in lines))
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config=config,
        seed=seed,
        inputs=inputs,
        outputs=[record_file(folder, file, n), record_file(folder, MixtureRecord.file)],
        counts={"rows": n, record.by: len(record.features or record.strata), "proxy_runs": len(record.proxies)},
        seconds=seconds,
    )


def mixture_rows(mixture: Mixture) -> list[tuple[str, str]]:
    """What a mixture found, as rows of a table for people."""
    record, law = mixture.record, mixture.record.law
    rows = [
        (feature.name, f"{feature.weight:+.2f}: a step up is drawn {np.exp(feature.weight):.2f} times as readily")
        for feature in sorted(record.features, key=lambda feature: -abs(feature.weight))[:MOST_SHOWN]
    ]
    rows += [
        (stratum.name, f"{stratum.pool_share:.1%} of the pool's tokens, {stratum.share:.1%} of a selection's")
        for stratum in record.strata
    ]
    if law is not None:
        change = law.predicted_loss / law.predicted_pool_loss - 1
        rows += [
            ("rank correlation", f"{law.rank_correlation:.2f}, cross-validated over {len(record.proxies)} proxy runs"),
            ("predicted", f"{law.predicted_loss:.4f} nats a token, {change:+.2%} against random"),
            ("judged by", record.judged_by),
        ]
    return rows
