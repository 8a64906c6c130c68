"""The `evalsuite` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.console import add_version, columns_table, print_result, run_command, say, summary_table, typed_command
from evaluate_suite import cli_proxies
from evaluate_suite import options as study_options
from evaluate_suite.defaults import DRAWS, SEEDS
from evaluate_suite.examples import (
    COMPARE_EXAMPLES,
    EXECUTE_EXAMPLES,
    REPORT_EXAMPLES,
    SCORE_EXAMPLES,
    STUDY_EXAMPLES,
    VERDICT_EXAMPLES,
    WATCH_EXAMPLES,
)

if TYPE_CHECKING:
    from evaluate_suite.reporting.recipe import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Say what training changed, and how sure that is.",
    epilog="Examples:  evalsuite report   |   evalsuite verdict history.jsonl",
)
add_version(app)

BACKEND_OPTION = typer.Option(help="What runs the code; `evalsuite backends` lists them. auto: what works here.")
JSON_OPTION = typer.Option("--json", help="Print the result as JSON on stdout.")


@app.command(epilog=REPORT_EXAMPLES)
def report(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Default: every finished run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: reports/NAME.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="JSONL of raw prompts. Default: the packaged set.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest generation. Default: as the runs say.")] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Have every model solve --tasks and run its code in the sandbox.")
    ] = False,
    tasks: Annotated[
        Path | None, typer.Option(help="humaneval, or a file of HumanEval(+) or MBPP(+) tasks, for --execute.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, slots, plain, or vllm (to be installed; needs a GPU).")] = "auto",
    backend: Annotated[str, BACKEND_OPTION] = "auto",
    by: Annotated[str | None, typer.Option(help=study_options.BY_HELP)] = None,
    fail_on: Annotated[str | None, typer.Option(help="overfit, regression, or both: exit 3 when a run is.")] = None,
    watch: Annotated[str | None, typer.Option(metavar="RUN", help="The same as: evalsuite watch RUN.")] = None,
    port: Annotated[int, typer.Option(help="Port of --watch.")] = 0,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """One page on what training changed: eval loss, verdicts, generations, statistics."""
    from evaluate_suite.config import ReportConfig
    from evaluate_suite.reporting.recipe import GATES, check_gates
    from evaluate_suite.reporting.recipe import report as make_report

    if watch is not None:
        from evaluate_suite.live.page import serve

        say(f"evalsuite report --watch is now: evalsuite watch {watch}")
        serve(watch, port)
        return
    gates = study_options.parse_names(fail_on, GATES, "--fail-on")
    config = ReportConfig(
        runs=tuple(runs or ()), prompts=prompts, max_new_tokens=max_new_tokens, tasks=tasks, execute=execute,
        engine=engine, backend=backend, by=by,
    )  # fmt: skip
    finished = make_report(config, out, typed_command("evalsuite"))
    _show(finished, as_json)
    check_gates(finished.record, gates)


def _show(finished: Report, as_json: bool) -> None:
    """The answer and the runs in short for people; the page's path or the whole record for programs."""
    from evaluate_suite.reporting.page import run_columns, strategy_columns

    say(finished.record.headline)
    say(finished.record.second)
    columns_table(*run_columns(finished.record))
    if finished.record.strategies:
        say(f"Draws x training seeds taken together, about these {finished.record.strategies[0].scope}:")
        columns_table(*strategy_columns(finished.record))
    print_result(finished.record.as_dict() if as_json else finished.path / "index.html")


@app.command(epilog="Examples:\n\n  evalsuite metrics\n\n  evalsuite metrics --json")
def metrics(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List the metrics of a report: the question each answers, and what it needs."""
    from curate.extensions import print_added
    from evaluate_suite.metrics import METRICS

    if as_json:
        print_result(
            {name: {"question": m.question, "needs": m.needs, "better": m.better} for name, m in METRICS.items()}
        )
        return
    for name, metric in METRICS.own.items():
        print(f"{name:<20} {metric.question} [needs {metric.needs.replace('_', ' ')}; {metric.better} is better]")
    print_added(METRICS)


@app.command(epilog="Examples:\n\n  evalsuite backends\n\n  evalsuite backends --json")
def backends(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List what can run generated code, for --backend: how it keeps the code apart from this machine."""
    from curate.extensions import print_added
    from evaluate_suite.execution.backends import BACKENDS

    if as_json:
        print_result({name: {"help": b.help, "isolates": b.isolates} for name, b in BACKENDS.items()})
        return
    for name, backend in BACKENDS.own.items():
        print(f"{name:<20} {backend.help}")
    print_added(BACKENDS)


@app.command(epilog=SCORE_EXAMPLES)
def score(
    generations: Annotated[Path, typer.Argument(help="JSONL with prompt or task_id, and completion.")],
    out: Annotated[Path | None, typer.Option(help="Write one line of scores per generation here.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Text metrics of anybody's generations."""
    from evaluate_suite.metrics.generation_files import score as score_file
    from evaluate_suite.metrics.generation_files import summary_text
    from evaluate_suite.metrics.well_formed_answer import CANNOT_SEE

    result = score_file(generations, out)
    for name, file in (result.models or {str(generations): result}).items():
        summary_table(name, [(metric, summary_text(summary)) for metric, summary in file.summaries.items()])
    say(f"well_formed_answer is about {CANNOT_SEE}.")
    print_result(result.as_dict() if as_json or out is None else out)


@app.command(epilog=EXECUTE_EXAMPLES)
def execute(
    tasks: Annotated[Path, typer.Option(help="humaneval, or a file of HumanEval(+) or MBPP(+) tasks.")],
    generations: Annotated[Path | None, typer.Option(help="JSONL with task_id (or prompt) and completion.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="One line of task_id, passed and reason per generation; goes on where it stopped."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--execute", help="Run the code in the sandbox. Without it, the files are only checked.")
    ] = False,
    style: Annotated[
        str | None,
        typer.Option(
            help="completion: it continues the prompt. raw: it is a whole answer, code and prose. "
            "Default: completion, and raw for files of whole programs (solution, lists of lists)."
        ),
    ] = None,
    cut_at_function: Annotated[
        bool, typer.Option("--cut-at-function", help="End a completion where the wanted function ends, as others do.")
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Run the tasks' own solutions in place of generations.")
    ] = False,
    cpu_seconds: Annotated[float | None, typer.Option(help="Of CPU time, for each program. Default: 3.")] = None,
    workers: Annotated[int | None, typer.Option(help="Programs at a time. Default: one for each CPU.")] = None,
    judge: Annotated[
        str,
        typer.Option(
            help="apart: no program can fake a pass. together: tests and program in one process, as plain Python."
        ),
    ] = "apart",
    backend: Annotated[str, BACKEND_OPTION] = "auto",
    unsafe_local: Annotated[
        bool, typer.Option("--unsafe-local", help="Run the code with NO sandbox, as you, on this machine.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Run generated code against its tests in a sandbox that needs no root, and print pass@k."""
    from evaluate_suite.config import ExecuteConfig
    from evaluate_suite.execution.recipe import execute as run_all
    from evaluate_suite.execution.recipe import result_lines, summary_rows

    config = ExecuteConfig(
        tasks=tasks, generations=generations, out=out, execute=run, style=style, cut_at_function=cut_at_function,
        reference=reference, cpu_seconds=cpu_seconds, workers=workers, judge=judge, backend=backend,
        unsafe_local=unsafe_local,
    )  # fmt: skip
    summary = run_all(config)
    summary_table(str(generations or tasks), summary_rows(summary))
    for note in summary.notes:
        say(note)
    if as_json:
        print_result(summary.as_dict())
        return
    for line in result_lines(summary):
        print_result(line)


@app.command(epilog=WATCH_EXAMPLES)
def watch(
    run: Annotated[str, typer.Argument(help="A run, finished or not: a folder or a name.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
) -> None:
    """A live page on 127.0.0.1 of a run that trains: its losses, and what they say so far."""
    from evaluate_suite.live.page import serve

    serve(run, port)


@app.command(epilog=VERDICT_EXAMPLES)
def verdict(
    history: Annotated[str, typer.Argument(help="A run, or a file of losses: CSV, JSON, trainer state, table, log.")],
    columns: Annotated[
        str | None, typer.Option(help="Which column is which: step=NAME,train_loss=NAME,eval_loss=NAME.")
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """What a loss history says about the training, by which rule, and what to try."""
    from evaluate_suite.training_curve.columns import parse_columns
    from evaluate_suite.training_curve.readers import reading_lines
    from evaluate_suite.training_curve.rules import gravest
    from evaluate_suite.training_curve.runs import find_history, verdicts_on

    read, verdicts = verdicts_on(find_history(history), parse_columns(columns) if columns is not None else None)
    for line in reading_lines(read):
        say(line)
    first = gravest(verdicts)
    for name, judged in verdicts.items():
        summary_table(judged.verdict + (f" on {name}" if len(verdicts) > 1 else ""), judged.rows())
    record = verdicts[first].as_record() | {"columns": read.columns, "left_alone": read.left_alone}
    if len(verdicts) > 1:
        record |= {"eval_set": first, "eval_sets": {name: judged.as_record() for name, judged in verdicts.items()}}
    print_result(record if as_json else verdicts[first].verdict)


@app.command(epilog=COMPARE_EXAMPLES)
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="A B [...]", help="Runs, or files of task_id and passed; NAME=F,F,F: draws.")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="Compare the others with this run, file or strategy alone.")
    ] = None,
    by: Annotated[str | None, typer.Option(help=study_options.BY_HELP)] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Every pair, paired by row or task: effect, interval, adjusted p, smallest detectable effect."""
    from evaluate_suite.comparison.lines import comparison_lines
    from evaluate_suite.comparison.models import compare as compare_models

    compared = compare_models(models, baseline, by)
    print_result(compared.model_dump(mode="json") if as_json else "\n".join(comparison_lines(compared)))


@app.command(epilog=STUDY_EXAMPLES)
def study(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Training settings.")] = None,
    file: study_options.StudyFileOption = None,
    strategies: Annotated[str, typer.Option(help="Names with commas; random is always among them.")] = "random,kmeans",
    strategy_option: study_options.StrategyOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="As in curate select, for the strategies that take one; repeated, each is studied in turn."),
    ] = None,
    draws: Annotated[int, typer.Option(help="Selections a strategy, each drawn with its own seed.")] = DRAWS,
    seeds: Annotated[int, typer.Option(help="Trainings a selection, each with its own seed.")] = SEEDS,
    k: Annotated[int | None, typer.Option(help="Rows a selection. Default: as curate select.")] = None,
    token_budget: study_options.BudgetOption = None,
    random_budgets: study_options.RandomBudgetsOption = None,
    by: study_options.ByOption = "source",
    dataset: Annotated[str | None, typer.Option(help="As in curate select.")] = None,
    model: Annotated[str | None, typer.Option(help="As in curate select. Default: the preset's.")] = None,
    encoder: Annotated[str | None, typer.Option(help="As in curate select.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="As in curate select.")] = None,
    holdout: Annotated[int | None, typer.Option(help="As in curate select.")] = None,
    near_duplicate: Annotated[float | None, typer.Option(help="As in curate select.")] = None,
    preset: Annotated[str | None, typer.Option(help="As in finetune run. Default: the preset of the model.")] = None,
    config: study_options.TrainingConfigOption = None,
    prompts: Annotated[Path | None, typer.Option(help="JSONL of raw prompts. Default: the packaged set.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest generation. Default: as the runs say.")] = None,
    wandb: Annotated[str, typer.Option(help="online, offline or off.")] = "off",
    runner: study_options.RunnerOption = "local",
    workers: study_options.WorkersOption = "auto",
    ray_address: study_options.RayAddressOption = None,
    gpu_share: study_options.GpuShareOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report. Default: reports/NAME.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; make nothing.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Strategies x draws x seeds: select, train, and one report on which strategy is better, with draws as the unit."""
    from evaluate_suite.config import StudyConfig
    from evaluate_suite.study.budgets import with_random_budgets
    from evaluate_suite.study.plan import plan_lines, plan_study
    from evaluate_suite.study.ray_runner import choose_runner
    from evaluate_suite.study.recipe import require_all
    from evaluate_suite.study.recipe import study as run_study
    from evaluate_suite.study.request import build_request

    request = build_request(
        StudyConfig(
            file=file, strategies=tuple(study_options.parse_list(strategies)), strategy_options=tuple(strategy_option or ()),
            target=tuple(target or ()), draws=draws, seeds=seeds, k=k, token_budget=token_budget,
            random_budgets=study_options.parse_budgets(random_budgets), by=by, dataset=dataset, model=model,
            encoder=encoder, max_tokens=max_tokens, holdout=holdout, near_duplicate=near_duplicate, preset=preset,
            config=config, prompts=prompts, max_new_tokens=max_new_tokens, wandb=wandb, runner=runner, workers=workers,
            ray_address=ray_address, gpu_share=gpu_share, out=out, dry_run=dry_run, as_json=as_json,
            overrides=tuple(overrides or ()),
        )
    )  # fmt: skip
    request = with_random_budgets(request)
    plan = plan_study(request)
    for line in plan_lines(plan):
        say(line)
    if dry_run:
        print_result(plan.as_record() if as_json else f"{plan.runs - plan.finished_runs} runs to train")
        return
    who = choose_runner(runner, workers, ray_address, gpu_share, request.recipe)
    finished = run_study(request, typed_command("evalsuite"), who)
    _show(finished.report, as_json)
    require_all(finished)


@app.command(epilog="Examples:\n\n  evalsuite verify\n\n  evalsuite verify reports/2-runs-0a1b2c3d --json")
def verify(
    reports: Annotated[list[str] | None, typer.Argument(metavar="[REPORT]...", help="Names or folders. Default: every report, mixture and best of draws.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:  # fmt: skip
    """Hold every file of a report (mixture, draws) against its manifest; name each bad one, exit 1 where there is one."""
    from curate.artifact.verify import require_all_whole, result_lines
    from curate.artifact.verify import verify as look
    from evaluate_suite.reporting.record import KIND

    verified = look(reports or [], [(Path("reports"), KIND), *cli_proxies.homes()])
    print_result(
        {"artifacts": [each.as_record() for each in verified]} if as_json else "\n".join(result_lines(verified))
    )
    require_all_whole(verified)


app.add_typer(cli_proxies.app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code comes back."""
    return run_command(app, argv)


if __name__ == "__main__":
    sys.exit(main())
