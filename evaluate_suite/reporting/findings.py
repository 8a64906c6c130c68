"""From measurements to what the page says: estimates, verdicts, pairs, selections, outputs, and the answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curate.decontamination.leaks import REASON as LEAK
from curate.page import CurationView, build_curation, format_count, format_number, format_share
from evaluate_suite.answers.first_answer import answer_of
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS, MetricContext, metrics_that_need
from evaluate_suite.metrics.generation_files import TEXT_NEEDS, ScoredFile, score_generations
from evaluate_suite.metrics.training_corpus import TrainingCorpus
from evaluate_suite.metrics.types import POINTS
from evaluate_suite.reporting.estimates import (
    answer,
    gain_estimate,
    loss_estimate,
    loss_points,
    model_pairs,
    strategy_results,
    worth_on,
)
from evaluate_suite.reporting.eval_loss import perplexity, token_mean
from evaluate_suite.reporting.executed import score_executed
from evaluate_suite.reporting.measures import loss_measure, metric_measures
from evaluate_suite.reporting.models import base_settings, decision_columns, read_timings, training_rows
from evaluate_suite.reporting.parts import parts_of
from evaluate_suite.reporting.record import (
    BASE,
    MetricInfo,
    Output,
    PromptOutputs,
    ReportRecord,
    RunResult,
)
from evaluate_suite.reporting.work import Evaluation, Scored, Work
from evaluate_suite.statistics.types import Estimate
from evaluate_suite.training_curve.runs import verdict_on_lines
from finetune.run.record import selected_tokens, share_seen

MAP_POINTS = 2900  # of the map of a report's only selection; about 900 of each of ten, which keeps the page below 3 MB
SHOWN_PACKAGES = ("rowpick", "torch", "transformers", "peft", "bitsandbytes", "trl", "datasets")


def build_report(work: Work, name: str) -> ReportRecord:
    """Return the whole report, computed from what was measured."""
    scored, executed = score_all(work), score_executed(work)
    metrics, executed_metrics = shown_metrics(scored), shown_metrics(executed)
    base_metrics, *run_metrics = [estimates(file, metrics) for file in scored.files]
    for estimated, file in zip([base_metrics, *run_metrics], executed.files if executed else [], strict=False):
        estimated |= estimates(file, executed_metrics)
    parts, part_notes = parts_of(work.rows.scored, work.config.by)
    for part in parts:
        base_metrics |= {part.name: loss_estimate(part.of(work.evaluations[0].base_losses))}
        for estimated, evaluation in zip(run_metrics, work.evaluations, strict=True):
            estimated |= {part.name: loss_estimate(part.of(evaluation.tuned_losses))}
    runs = [
        run_result(evaluation, estimated) for evaluation, estimated in zip(work.evaluations, run_metrics, strict=True)
    ]
    whole = loss_measure(work.evaluations)
    measures = [
        whole,
        *(part.measure(whole) for part in parts),
        *metric_measures(scored, [m.name for m in metrics]),
        *metric_measures(executed, [m.name for m in executed_metrics]),
    ]
    strategies, strategy_pairs, strategy_notes = strategy_results(work.evaluations, measures)
    strategy_notes += [f"On {part.value}: {said}" for part in parts for said in worth_on(part, work.evaluations)]
    pairs = [*strategy_pairs, *model_pairs(measures)]
    headline, second, winner = answer(runs, pairs, work.evaluations[0].run.config.model, strategies)
    return ReportRecord(
        name=name,
        headline=headline,
        second=" ".join([*uneven_shares(work.evaluations), second]),
        base_model=work.evaluations[0].run.config.model,
        winner=winner,
        facts=facts(work, runs),
        notes=[*notes(work), *part_notes, *strategy_notes],
        metrics=[*(part.info for part in parts), *metrics, *executed_metrics],
        base_metrics=base_metrics,
        runs=runs,
        pairs=pairs,
        curations=curations(work.evaluations),
        prompts=prompt_outputs(work, scored, metrics),
        settings=settings(work),
        versions=versions(),
        command=report_command(work),
        strategies=strategies,
        rows=work.shown_rows,
    )  # fmt: skip


def score_all(work: Work) -> Scored:
    """Text metrics of every model; memorisation against the rows a run was trained on (base: those of the first)."""
    corpora: dict[str, TrainingCorpus] = {}

    def context(evaluation: Evaluation) -> MetricContext:
        digest = evaluation.selection.digest
        if digest not in corpora:
            corpora[digest] = TrainingCorpus(training_rows(evaluation.selection))
        return MetricContext(training=corpora[digest])

    wanted = metrics_that_need(*TEXT_NEEDS, "training_rows")
    files = [score_generations(work.base_generations, wanted, context(work.evaluations[0]))]
    files += [score_generations(e.generations, wanted, context(e)) for e in work.evaluations]
    return Scored([BASE, *(e.name for e in work.evaluations)], files)


def shown_metrics(scored: Scored | None) -> list[MetricInfo]:
    """The metrics with at least one score, in the table's order."""
    return [
        MetricInfo(
            name=name,
            title=metric.title[:1].upper() + metric.title[1:],
            better=metric.better,
            share=metric.kind != POINTS,
        )
        for name, metric in METRICS.items()
        if any(name in file.summaries and file.summaries[name].estimate.n for file in (scored.files if scored else []))
    ]


def estimates(file: ScoredFile, metrics: Sequence[MetricInfo]) -> dict[str, Estimate]:
    """Each metric's summary as the page shows it."""
    return {metric.name: file.summaries[metric.name].estimate for metric in metrics if metric.name in file.summaries}


def run_result(evaluation: Evaluation, metrics: dict[str, Estimate]) -> RunResult:
    """Everything the run table and the training section say about one run."""
    run, selected_by = evaluation.run, evaluation.selection.manifest
    seconds, memory = read_timings(run)
    base, tuned = token_mean(evaluation.base_losses), token_mean(evaluation.tuned_losses)
    selected, trained = selected_tokens(evaluation.selection), int(run.manifest.config["tokens_seen"])
    return RunResult(
        name=evaluation.name,
        selection=evaluation.selection.path.name,
        strategy=str(selected_by.config["strategy"]),
        seed=run.manifest.seed,
        rows=len(evaluation.selection.selected),
        tokens=selected,
        trained_tokens=trained,
        steps=int(run.manifest.config["steps"]),
        epochs=trained / selected if selected else None,
        base_loss=loss_estimate(evaluation.base_losses),
        tuned_loss=loss_estimate(evaluation.tuned_losses),
        gain=gain_estimate(evaluation.base_losses, evaluation.tuned_losses),
        base_perplexity=perplexity(base),
        tuned_perplexity=perplexity(tuned),
        verdict=verdict_on_lines(run.history, selected),
        history=loss_points(run.history),
        metrics=metrics,
        elapsed_seconds=seconds,
        peak_memory_gib=memory,
        commands=commands_of(evaluation),
        config=run.config.model_dump(mode="json"),
        digests={
            "selection": evaluation.selection.digest,
            "holdout": evaluation.selection.holdout_digest,
            "tokenizer": str(selected_by.config["tokenizer_digest"]),
            "run": str(run.manifest.config["run_digest"]),
        },
    )


def commands_of(evaluation: Evaluation) -> list[str]:
    """The commands that make a run's selection and the run, as they can be typed again, with the selection named."""
    selection, run = evaluation.selection, evaluation.run
    select, train = selection.manifest.command[1:], run.manifest.command[1:]
    if train and "--selection" not in train:
        place = select[select.index("--out") + 1] if "--out" in select[:-1] else selection.path.name
        train = [*train, "--selection", place]
    programs = (("curate", select), ("finetune", train))
    return [shlex.join([program, *words]) for program, words in programs if words]


def report_command(work: Work) -> str:
    """Return the command that makes this report again from its runs."""
    named = work.config.runs or tuple(evaluation.name for evaluation in work.evaluations)
    return shlex.join(work.config.model_copy(update={"runs": named}).as_command())


def facts(work: Work, runs: Sequence[RunResult]) -> list[tuple[str, str]]:
    """The strip of figures under the answer."""
    best = min(
        (r for r in runs if r.tuned_perplexity is not None), key=lambda r: r.tuned_perplexity or 0.0, default=None
    )
    figures = [
        ("Runs", str(len(runs))),
        ("Base model", work.evaluations[0].run.config.model),
        ("Held-out rows scored", format_count(len(work.rows.scored))),
        ("Raw prompts", format_count(len(work.prompts))),
    ]
    if best is not None:
        change = f"{format_number(best.base_perplexity, 2)} to {format_number(best.tuned_perplexity, 2)}"
        figures.append(("Perplexity, base to best", change))
    return figures


def notes(work: Work) -> list[str]:
    """What a reader must know before believing the numbers."""
    sentences = uneven_shares(work.evaluations)
    if work.rows.unscored:
        n, asked = len(work.rows.unscored), len(work.rows.unscored) + len(work.rows.scored)
        sentences.append(f"{n} of {asked} held-out rows are longer than the model's context and were not scored.")
    total = len(work.evaluations[0].selection.holdout)
    if len(work.rows.scored) + len(work.rows.unscored) < total:
        n = len(work.rows.scored) + len(work.rows.unscored)
        sentences.append(f"Eval loss uses the first {n} of {total} held-out rows by digest, as the run's settings say.")
    if len({str(base_settings(e.run)) for e in work.evaluations}) > 1:
        sentences.append(
            "The runs loaded the base model in different ways (quantisation or dtype), so its loss differs."
        )
        sentences.append(f"The base model's generations were made as {work.evaluations[0].name} loads it.")
    return sentences + leak_notes(work)


def leak_notes(work: Work) -> list[str]:
    """Say of each selection which benchmarks' tasks were looked for in its rows; of none only where tasks are run."""
    sentences = []
    for selection in {e.selection.digest: e.selection for e in work.evaluations}.values():
        named = [Path(name).name for name in selection.manifest.config.get("decontaminate") or []]
        left_out = selection.manifest.counts.get(f"excluded.{LEAK}", 0)
        name = selection.path.name
        if named:
            sentences.append(
                f"Leaks were looked for in the rows of {name} ({', '.join(named)}): {format_count(left_out)} left out."
            )
        elif work.execution is not None:
            sentences.append(f"No benchmark was looked for in the rows of {name}; select with --decontaminate.")
    return sentences


def uneven_shares(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return a sentence where the runs trained on different shares of their selections, else nothing.

    Shares within two points of each other count as equal: packing fills the last step differently.
    """
    shares = {e.name: share for e in evaluations if (share := share_seen(e.run)) is not None}
    if not shares or max(shares.values()) - min(shares.values()) < 0.02:
        return []
    listed = ", ".join(f"{name} {format_share(share)}" for name, share in shares.items())
    return [
        f"The runs trained on different shares of their selections ({listed}): what differs between them is not the "
        "selection alone. Train each without max_steps, or for the same share."
    ]


def curations(evaluations: Sequence[Evaluation]) -> list[CurationView]:
    """One view per selection, in the order in which the runs first use them."""
    selections = {e.selection.digest: e.selection for e in reversed(evaluations)}
    ordered = [selections[digest] for digest in dict.fromkeys(e.selection.digest for e in evaluations)]
    shown = max(200, MAP_POINTS * 4 // (3 + len(ordered)))
    views = []
    for selection in ordered:
        texts = {row.row_id: row.instruction for row in [*selection.selected, *selection.holdout]}
        coverage = selection.manifest.config.get("coverage")
        views.append(
            build_curation(
                selection.path.name,
                decision_columns(selection),
                texts,
                _numbers(coverage),
                shown_pool=2 * shown // 3,
                shown_picks=shown // 3,
            )
        )  # fmt: skip
    return views


def _numbers(coverage: Any) -> dict[str, float | None]:
    measured = coverage if isinstance(coverage, dict) else {}
    return {name: value for name, value in measured.items() if isinstance(value, int | float)}


def prompt_outputs(work: Work, scored: Scored, metrics: Sequence[MetricInfo]) -> list[PromptOutputs]:
    """Every prompt with what every model wrote, and where the first complete answer ends."""
    return [
        PromptOutputs(
            prompt_id=prompt.prompt_id,
            prompt=prompt.prompt,
            language=prompt.language,
            outputs=[
                _output(name, file.generations[place], {m.name: file.scores[m.name][place].value for m in metrics})
                for name, file in zip(scored.names, scored.files, strict=True)
            ],
        )
        for place, prompt in enumerate(work.prompts)
    ]


def _output(name: str, generation: Generation, scores: dict[str, float | None]) -> Output:
    answer = answer_of(generation)
    end = answer.end if answer.trailing else None
    return Output(
        model=name,
        text=generation.completion,
        answer_end=end,
        stop_reason=generation.stop_reason,
        new_tokens=generation.new_tokens,
        scores=scores,
    )


def settings(work: Work) -> dict[str, Any]:
    """The settings of the report itself."""
    selected = work.evaluations[0].selection.manifest.config
    return {
        **work.settings.as_record(),
        "eval_rows": len(work.rows.scored),
        "holdout_digest": work.evaluations[0].selection.holdout_digest,
        "prompts": str(work.config.prompts or "packaged"),
        "prompt_template": selected["prompt_template"],
        "tokenizer_digest": selected["tokenizer_digest"],
    }


def versions() -> dict[str, str]:
    """Versions of the packages the numbers depend on; those that are not installed are left out."""
    installed = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in SHOWN_PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed
