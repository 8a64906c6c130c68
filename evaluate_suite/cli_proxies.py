"""The commands of `evalsuite` that train proxy runs: `mixture` and `best-of-draws`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.console import print_result, say, summary_table, typed_command
from evaluate_suite import options as study_options
from evaluate_suite.defaults import APART, MIN_CORRELATION, PROXY_DRAWS
from evaluate_suite.examples import BEST_OF_DRAWS_EXAMPLES, MIXTURE_EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluate_suite.config import ProxyConfig
    from evaluate_suite.mixture.proxies import Job
    from evaluate_suite.mixture.request import ProxyRequest

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SizeOption = Annotated[int | None, typer.Option(help="Rows a selection. Default: as curate select.")]
AsSelect = Annotated[str | None, typer.Option(help="As in curate select.")]
AsSelectNumber = Annotated[int | None, typer.Option(help="As in curate select.")]
NearOption = Annotated[float | None, typer.Option(help="As in curate select.")]
ModelOption = Annotated[str | None, typer.Option(help="As in curate select. Default: the preset's.")]
TargetOption = Annotated[
    str | None, typer.Option(help="Rows (with outputs) to judge by, in place of rows of the pool.")
]
ApartOption = Annotated[
    int, typer.Option(help="Rows of the pool to keep apart and judge by: neither held out nor picked.")
]
SeedOption = Annotated[int, typer.Option(help="Another one takes other proxy runs.")]
PresetOption = Annotated[str | None, typer.Option(help="As in finetune run. Default: the preset of the model.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what there is to train and what it costs; train nothing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Training settings.")]


@app.command(epilog=MIXTURE_EXAMPLES)
def mixture(
    overrides: Overrides = None,
    by: Annotated[
        str, typer.Option(help="features: find a weight for each feature of rows; strata: a share for each stratum.")
    ] = "features",
    proxies: Annotated[
        int | None,
        typer.Option(help="Trainings that the law is fitted on. Default: 8 a feature, at least 96; by strata 64."),
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(help="Strata are source x third by length x this many clusters. Default: 2.")
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(
            help="How far proxy runs vary: a feature's weight is this x a normal number (default: 0.3), a stratum's share times exp of that (0.7)."
        ),
    ] = None,
    aim: Annotated[
        str, typer.Option(help="rows: the loss over all rows; sources: the mean of the sources' losses.")
    ] = "rows",
    min_correlation: Annotated[
        float, typer.Option(help="Cross-validated rank correlation below which the law is not to be believed.")
    ] = MIN_CORRELATION,
    dataset: AsSelect = None,
    model: ModelOption = None,
    encoder: AsSelect = None,
    k: SizeOption = None,
    token_budget: study_options.BudgetOption = None,
    max_tokens: AsSelectNumber = None,
    holdout: AsSelectNumber = None,
    near_duplicate: NearOption = None,
    target: TargetOption = None,
    apart: ApartOption = APART,
    seed: SeedOption = 0,
    preset: PresetOption = None,
    config: study_options.TrainingConfigOption = None,
    runner: study_options.RunnerOption = "local",
    workers: study_options.WorkersOption = "auto",
    ray_address: study_options.RayAddressOption = None,
    gpu_share: study_options.GpuShareOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: $ROWPICK_HOME/mixtures/NAME.")] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train proxy runs on draws by random weights of features (or shares of strata), fit the loss to these, and say which are best. Resumable."""
    from curate.selection.again import picking_again
    from evaluate_suite.config import MixtureConfig
    from evaluate_suite.mixture.recipe import mixture as make_mixture
    from evaluate_suite.mixture.recipe import mixture_rows, plan_mixture
    from evaluate_suite.mixture.request import mixture_request

    asked = MixtureConfig(
        by=by, proxies=proxies, clusters=clusters, spread=spread, aim=aim, min_correlation=min_correlation, dataset=dataset, model=model,
        encoder=encoder, k=k, token_budget=token_budget, max_tokens=max_tokens, holdout=holdout, near_duplicate=near_duplicate,
        target=target, apart=apart, seed=seed, preset=preset, config=config, runner=runner, workers=workers, ray_address=ray_address,
        gpu_share=gpu_share, out=out, dry_run=dry_run, as_json=as_json, overrides=tuple(overrides or ()),
    )  # fmt: skip
    request = mixture_request(asked)
    plan = plan_mixture(asked, request)
    if not _goes_on(asked, request, plan.jobs, plan.way.notes()):
        return
    made = make_mixture(asked, request, plan, typed_command("evalsuite"), _runner(asked, request))
    summary_table(made.path.name, mixture_rows(made))
    print_result(made.record.as_dict() if as_json else made.path)
    made.require_believed()
    say(f"Pick by it: {picking_again(request.base, 'mixture', made.path.name if out is None else str(out))}")


@app.command(name="best-of-draws", epilog=BEST_OF_DRAWS_EXAMPLES)
def best_of_draws(
    overrides: Overrides = None,
    draws: Annotated[int, typer.Option(help="Draws to train.")] = PROXY_DRAWS,
    strategy: Annotated[str, typer.Option(help="What draws; `curate strategies` lists all.")] = "random",
    strategy_option: study_options.StrategyOption = None,
    dataset: AsSelect = None,
    model: ModelOption = None,
    encoder: AsSelect = None,
    k: SizeOption = None,
    token_budget: study_options.BudgetOption = None,
    max_tokens: AsSelectNumber = None,
    holdout: AsSelectNumber = None,
    near_duplicate: NearOption = None,
    target: TargetOption = None,
    apart: ApartOption = APART,
    seed: SeedOption = 0,
    preset: PresetOption = None,
    config: study_options.TrainingConfigOption = None,
    runner: study_options.RunnerOption = "local",
    workers: study_options.WorkersOption = "auto",
    ray_address: study_options.RayAddressOption = None,
    gpu_share: study_options.GpuShareOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: $ROWPICK_HOME/draws/NAME.")] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train many draws of one strategy and keep the one with the least loss on rows kept apart. Resumable."""
    from curate.selection.again import picking_again
    from evaluate_suite.config import BestOfDrawsConfig
    from evaluate_suite.mixture.best_of_draws import best_of_draws as make_draws
    from evaluate_suite.mixture.best_of_draws import draws_rows, plan_draws
    from evaluate_suite.mixture.request import draws_request

    asked = BestOfDrawsConfig(
        draws=draws, strategy=strategy, strategy_options=tuple(strategy_option or ()), dataset=dataset, model=model,
        encoder=encoder, k=k, token_budget=token_budget, max_tokens=max_tokens, holdout=holdout, near_duplicate=near_duplicate,
        target=target, apart=apart, seed=seed, preset=preset, config=config, runner=runner, workers=workers, ray_address=ray_address,
        gpu_share=gpu_share, out=out, dry_run=dry_run, as_json=as_json, overrides=tuple(overrides or ()),
    )  # fmt: skip
    request = draws_request(asked)
    plan = plan_draws(asked, request)
    if not _goes_on(asked, request, plan[1]):
        return
    made = make_draws(asked, request, plan, typed_command("evalsuite"), _runner(asked, request))
    summary_table(made.path.name, draws_rows(made))
    say(f"Pick it: {picking_again(request.base, 'best-of-draws', made.path.name if out is None else str(out))}")
    print_result(made.record.as_dict() if as_json else made.path)


def _goes_on(asked: ProxyConfig, request: ProxyRequest, jobs: Sequence[Job], notes: Sequence[str] = ()) -> bool:
    """Say what there is to train and what it costs; False for a dry run, which ends here."""
    from evaluate_suite.mixture.proxies import cost_lines
    from evaluate_suite.study.plan import seconds_a_run

    lines = [*cost_lines(jobs, seconds_a_run(request.recipe.model)), *notes]
    for line in lines:
        say(line)
    if asked.dry_run:
        print_result({"proxy_runs": len(jobs), "said": lines} if asked.as_json else lines[0])
    return not asked.dry_run


def _runner(asked: ProxyConfig, request: ProxyRequest) -> Any:
    from evaluate_suite.study.ray_runner import choose_runner

    return choose_runner(asked.runner, asked.workers, asked.ray_address, asked.gpu_share, request.recipe)


def homes() -> list[tuple[Path, str]]:
    """Return where the artifacts of these commands live, each folder with their kind."""
    from curate.scores import draws_record, mixture_record

    return [
        (mixture_record.mixtures_dir(), mixture_record.KIND),
        (draws_record.draws_dir(), draws_record.KIND),
    ]
