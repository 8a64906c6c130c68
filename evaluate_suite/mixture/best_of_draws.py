"""`evalsuite best-of-draws`: many draws of one strategy, each trained, and the one with the least loss."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from curate.artifact import digest_json, is_made, one_writer, record_file, write_jsonl, write_manifest
from curate.scores.draws_record import KIND, PICKED, Draw, Draws, DrawsRecord, draws_dir, read_draws
from curate.strategies.table import STRATEGIES
from evaluate_suite.config import BestOfDrawsConfig
from evaluate_suite.mixture.proxies import FIRST_DRAW, ROWS, Job, Result, run_all
from evaluate_suite.mixture.request import ProxyRequest
from evaluate_suite.mixture.world import World, build_world
from evaluate_suite.study.runner import Here, Runner


def plan_draws(config: BestOfDrawsConfig, request: ProxyRequest) -> tuple[World, list[Job]]:
    """Return the pool without its holdout, and every draw as a proxy run; nothing is trained."""
    world = build_world(request.base, config.apart)
    chosen: dict[str, Any] = {"strategy": request.base.strategy, "strategy_options": request.base.strategy_options}
    chosen |= {} if STRATEGIES[config.strategy].takes_target else {"target": None}
    base = world.config.model_copy(update=chosen)
    jobs = [
        Job(
            number, world.folder, base.model_copy(update={"seed": FIRST_DRAW * (config.seed + 1) + number}),
            request.recipe, world.judges, world.own.pool_digest,
        )
        for number in range(config.draws)
    ]  # fmt: skip
    return world, jobs


def best_of_draws(
    config: BestOfDrawsConfig,
    request: ProxyRequest,
    plan: tuple[World, list[Job]],
    command: Sequence[str] = (),
    runner: Runner | None = None,
) -> Draws:
    """Return the finished draws, trained or, where the same ones exist already, reused; runs that stand are kept."""
    started = time.perf_counter()
    world, jobs = plan
    base = request.base
    size = f"k{base.k}" if base.token_budget is None else f"t{base.token_budget}"
    digest = digest_json([[job.identity for job in jobs], world.digest])
    folder = config.out or draws_dir() / f"{config.strategy}-{size}-{digest[:8]}"
    with one_writer(folder):
        if not is_made(folder, KIND, "draws_digest", digest, {PICKED, DrawsRecord.file}):
            results = run_all(jobs, runner or Here())
            record = compare_draws(request, world, results)
            folder.mkdir(parents=True, exist_ok=True)
            record.write(folder)
            best = next(result for result in results if result.number == record.best)
            n = write_jsonl(folder / PICKED, ({"row_id": row_id} for row_id in best.picked))
            write_manifest(
                folder,
                kind=KIND,
                command=command,
                config={
                    "draws_digest": digest,
                    "settings": config.model_dump(mode="json"),
                    "training": request.recipe.model_dump(mode="json"),
                },
                seed=config.seed,
                inputs=world.inputs,
                outputs=[record_file(folder, PICKED, n), record_file(folder, DrawsRecord.file)],
                counts={"draws": len(results), "rows": n},
                seconds={
                    "proxy_runs": sum(result.seconds for result in results),
                    "draws": time.perf_counter() - started,
                },
            )
    return read_draws(folder)


def compare_draws(request: ProxyRequest, world: World, results: Sequence[Result]) -> DrawsRecord:
    """Return the record of the draws: each with its loss, and the first of those with the least."""
    tokens = dict(zip(world.row_ids, world.tokens.tolist(), strict=True))
    draws = [
        Draw(
            number=result.number, rows=len(result.picked), tokens=sum(tokens[row_id] for row_id in result.picked),
            loss=result.loss(ROWS),
        )
        for result in results
    ]  # fmt: skip
    losses = np.array([draw.loss for draw in draws])
    base = request.base
    return DrawsRecord(
        made_for=world.made_for,
        strategy=base.strategy,
        strategy_options=base.strategy_options,
        k=base.k,
        token_budget=base.token_budget,
        judged_by=f"loss a token over {world.judged_by}",
        draws=draws,
        best=draws[int(np.argmin(losses))].number,
        mean=float(losses.mean()),
        spread=float(losses.std(ddof=1)),
    )


def draws_rows(draws: Draws) -> list[tuple[str, str]]:
    """What the draws showed, as rows of a table for people."""
    record = draws.record
    best = next(draw for draw in record.draws if draw.number == record.best)
    return [
        ("draws", f"{len(record.draws)} of {record.strategy}, {record.size}"),
        ("judged by", record.judged_by),
        ("mean of all", f"{record.mean:.4f} nats a token, standard deviation {record.spread:.4f}"),
        (
            "best",
            f"draw {best.number}: {best.loss:.4f} ({best.loss / record.mean - 1:+.2%}; chosen for it: less is real)",
        ),
    ]
