"""The `finetune` command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.console import add_version, console, print_result, run_command, say, summary_table, typed_command
from curate.errors import UsageError, UserError
from finetune import cli_out, options
from finetune.tracking.table import TRACKERS, tracker_name

if TYPE_CHECKING:
    from curate.selection.record import Selection
    from finetune.commands import CheckCommand, TrainingCommand
    from finetune.config import RunConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train an adapter on a selection.",
    epilog="Examples:  finetune run   |   finetune presets",
)
add_version(app)


@app.command(epilog=options.RUN_EXAMPLES)
def run(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Settings to change.")] = None,
    selection: Annotated[str | None, typer.Option(help="Folder or name of a selection. Default: the newest.")] = None,
    preset: Annotated[str | None, typer.Option(help="Default: the preset of the selection's model.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; it comes after the preset.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: $ROWPICK_HOME/runs/NAME.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this unfinished run (folder or name).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings and the plan; train nothing.")] = False,
    gpus: options.GpusOption = None,
    parallel: options.ParallelOption = None,
    nodes: options.NodesOption = None,
    rendezvous: options.RendezvousOption = None,
    track: Annotated[
        str | None, typer.Option(help=f"{', '.join(TRACKERS.own)}. Default: none; nothing leaves the machine.")
    ] = None,
    wandb: Annotated[str | None, typer.Option(help="As --track: online, offline or off.", hidden=True)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON instead of the path.")] = False,
) -> None:
    """Train an adapter on a selection: QLoRA, loss on the output only, best checkpoint kept."""
    from curate.selection.record import read_selection
    from finetune.commands import RunCommand
    from finetune.config import validated

    asked = RunCommand(
        selection=selection, preset=preset, config=config, out=out, resume=resume, dry_run=dry_run, gpus=gpus,
        parallel=parallel, nodes=nodes, rendezvous=rendezvous, track=track, wandb=wandb, as_json=as_json,
        overrides=tuple(overrides or ()),
    )  # fmt: skip
    tracker = tracker_name(track, wandb)
    if resume is not None:
        from finetune.run.record import find_unfinished, read_settings

        if any((overrides, selection, preset, config, out)):
            raise UsageError(
                "--resume goes on with the settings the run was started with.", "Give it alone, or with other GPUs."
            )
        folder: Path | None = find_unfinished(resume)
        started = read_settings(find_unfinished(resume))
        layout = asked.layout(started)
        settings, rows = validated(started["config"]), read_selection(started["selection"])
    else:
        layout = asked.layout()
        folder, (settings, rows) = out, _load(asked)
    if dry_run:
        _show_plan(settings, rows)
        return
    from finetune.recipe import train
    from finetune.run.card import best_line, training_line
    from finetune.run.record import README, runs_dir

    finished = train(
        settings, rows, folder, resume is not None, tracker, typed_command("finetune"), layout.gpus, layout.parallel,
        layout.nodes, layout.rendezvous,
    )  # fmt: skip
    results = finished.manifest.config
    summary_table(
        finished.path.name,
        [
            ("base model", settings.model),
            ("trained on", training_line(results)),
            ("best", best_line(results)),
            (
                "seconds",
                f"{finished.manifest.seconds.get('train', 0):.0f} training, {finished.manifest.seconds.get('load', 0):.0f} loading",
            ),
        ],
    )
    name = finished.path.name if finished.path.parent == runs_dir() else str(finished.path)
    say(f"Try it (from Python: {finished.path / README}):\n\nfinetune try {shlex.quote(name)}\n")
    print_result(finished.manifest.model_dump(by_alias=True) if as_json else finished.path)


def _show_plan(config: RunConfig, selection: Selection) -> None:
    from finetune.run.job import prepare
    from finetune.run.record import selected_tokens

    job = prepare(config, selection, Path())
    tokens = job.plan.tokens
    width = config.max_length * len(job.plan.bins)
    print_result(
        {
            "config": config.model_dump(),
            "selection": str(selection.path),
            "plan": {
                "rows": len(job.plan.examples),
                "bins": len(job.plan.bins),
                "steps": job.plan.max_steps,
                "tokens": tokens,
                "selected_tokens": selected_tokens(selection),
                "tokens_per_bin_limit_share": tokens / width,
                "eval_rows": len(job.eval_examples),
            },
        }
    )


@app.command(epilog="Examples:\n\n  finetune presets\n\n  finetune show cpu-demo")
def presets() -> None:
    """List the presets with their models."""
    from finetune.config import load_config, preset_names

    width = max(map(len, preset_names()))
    for name in preset_names():
        print(f"{name:<{width}} {load_config(name).model}")


@app.command(epilog="Examples:\n\n  finetune show\n\n  finetune show notebook")
def show(preset: Annotated[str, typer.Argument(help="Name of a preset.")] = "llama2-7b") -> None:
    """Print a preset with its reasons, then every setting it resolves to."""
    import yaml

    from finetune.config import load_config, preset_path

    print(preset_path(preset).read_text(encoding="utf-8"))
    print("# All settings:")
    print(yaml.safe_dump(load_config(preset).model_dump(), sort_keys=False), end="")


def _load(asked: TrainingCommand) -> tuple[RunConfig, Selection]:
    """Return the run that a command means: its settings and its selection."""
    from curate.selection.record import read_selection

    selection = read_selection(asked.selection)
    return asked.settings(selection.manifest.config["model"]), selection


@app.command(
    epilog="Examples:\n\n  finetune check --preset cpu-demo learning_rate=1e-4\n\n  finetune check --row 1 --loss"
)
def check(
    overrides: options.Overrides = None,
    selection: options.SelectionOption = None,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    gpus: options.GpusOption = None,
    parallel: options.ParallelOption = None,
    nodes: options.NodesOption = None,
    rendezvous: options.RendezvousOption = None,
    row: Annotated[
        int | None, typer.Option(min=1, help="Show every token of this line of selected.jsonl instead.")
    ] = None,
    loss: Annotated[bool, typer.Option("--loss", help="With --row: load the base model and show its loss.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --row: folder to write a page to.")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Look for every known trap before anything is downloaded or trained; exit 1 when there is one."""
    from finetune.check.preflight import check as find_traps
    from finetune.commands import CheckCommand

    asked = CheckCommand(
        selection=selection, preset=preset, config=config, gpus=gpus, parallel=parallel, nodes=nodes,
        rendezvous=rendezvous, row=row, loss=loss, out=out, as_json=as_json, overrides=tuple(overrides or ()),
    )  # fmt: skip
    if row is not None:
        _show_row(asked)
        return
    if loss or out is not None:
        raise UsageError("--loss and --out show a row.", "Add --row 1.")
    findings = find_traps(*_load(asked), asked.layout())
    for name, sentence in findings.problems.items():
        say(f"{name.replace('_', ' ')}: {sentence}")
    for name, reason in findings.not_checked.items():
        say(f"not checked, what needs the {name}: {reason}")
    for note in findings.notes:
        say(f"note: {note}")
    unseen = f"; not looked at: {', '.join(findings.not_checked)}" if findings.not_checked else ""
    print_result(
        findings.as_dict() if as_json else f"{len(findings.problems)} of {findings.traps} traps sprung{unseen}"
    )
    if findings.problems:
        raise UserError(
            f"{len(findings.problems)} problem(s): {', '.join(findings.problems)}.", "Fix them, then check again."
        )


def _show_row(asked: CheckCommand) -> None:
    from finetune.check.row_marks import as_lines, as_terminal_text
    from finetune.check.row_view import view_row, write_row_page

    assert asked.row is not None
    settings, selection = _load(asked)
    view = view_row(settings, selection, asked.row, asked.loss)
    page = None if asked.out is None else write_row_page(view, asked.out, selection.path.name)
    say(view.summary)
    screen = console()
    if screen.is_terminal and not asked.as_json and page is None:
        screen.print(as_terminal_text(view))
    print_result(view.model_dump(mode="json") if asked.as_json else page or "\n".join(as_lines(view)))


@app.command(epilog="Examples:\n\n  finetune forecast\n\n  finetune forecast --preset llama2-7b r=64 --json")
def forecast(
    overrides: options.Overrides = None,
    selection: Annotated[str | None, typer.Option(help="Selection to count steps with; none: memory only.")] = None,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    gpus: options.GpusOption = None,
    parallel: options.ParallelOption = None,
    nodes: options.NodesOption = None,
    rendezvous: options.RendezvousOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Say what a run needs, from the shapes alone: peak memory, steps, time."""
    from curate.artifact import newest_finished
    from curate.selection.record import KIND, selections_dir
    from finetune.commands import ForecastCommand
    from finetune.memory.forecast import plan_run

    asked = ForecastCommand(
        selection=selection, preset=preset, config=config, gpus=gpus, parallel=parallel, nodes=nodes,
        rendezvous=rendezvous, as_json=as_json, overrides=tuple(overrides or ()),
    )  # fmt: skip
    layout = asked.layout(meets=False)
    counted_rows: Selection | None = None
    if selection is None and newest_finished(selections_dir(), KIND) is None:
        settings = asked.model_copy(update={"preset": preset or "llama2-7b"}).settings(None)
    else:
        settings, counted_rows = _load(asked)
        counted_for = counted_rows.manifest.config["model"]
        if selection is None and counted_for != settings.model:
            say(
                f"The newest selection was counted for {counted_for}, so steps and time are not known; name a --selection."
            )
            counted_rows = None
    result = plan_run(settings, counted_rows, layout)
    summary_table(f"Forecast for {settings.model}", [(name.replace("_", " "), _shown(v)) for name, v in result.items()])
    print_result(result if as_json else f"{result['peak_gib']:.1f} GiB")


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "not known", True: "yes", False: "no"}[value]
    whole = isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000)
    return f"{value:,.0f}" if whole else f"{value:,.2f}" if isinstance(value, float) else str(value)


@app.command(
    "padding-study",
    epilog="Examples:\n\n  finetune padding-study --rows 64\n\n  finetune padding-study --preset cpu-demo --out study --json",
)
def padding_study(
    overrides: options.Overrides = None,
    selection: options.SelectionOption = None,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    rows: Annotated[int, typer.Option(min=2, help="How many selected rows every arm trains on, once.")] = 64,
    out: Annotated[Path | None, typer.Option(help="Folder of the page. Default: reports/NAME.")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train on the same rows packed, padded and length-grouped, with two pad tokens; compare time and eval loss."""
    from finetune.commands import PaddingStudyCommand
    from finetune.padding_study.page import write_report
    from finetune.padding_study.recipe import as_studied, study
    from finetune.padding_study.record import read_padding_study

    asked = PaddingStudyCommand(
        selection=selection, preset=preset, config=config, rows=rows, out=out, as_json=as_json, overrides=tuple(overrides or ()),
    )  # fmt: skip
    settings, studied = _load(asked)
    if (most := len(studied.selected)) < rows:
        say(f"The selection has {most} rows, fewer than --rows {rows}: the study is of these.")
        rows = most
    arms = study(settings, studied, rows, typed_command("finetune"))
    folder = write_report(arms, as_studied(settings), studied, rows, out, typed_command("finetune"))
    record = read_padding_study(folder)
    for sentence in record.answers:
        say(sentence)
    print_result(record.as_dict() if as_json else folder / "index.html")


@app.command(epilog=options.INFLUENCE_EXAMPLES)
def influence(
    overrides: options.Overrides = None,
    selection: options.SelectionOption = None,
    target: options.TargetOption = None,
    checkpoints: Annotated[int, typer.Option(min=1, help="Of the reference run; each is a sweep over the pool.")] = 3,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the scores. Default: $ROWPICK_HOME/influence/NAME.")] = None,
    as_json: options.JsonOption = False,
) -> None:  # fmt: skip
    """Score every row of a selection's pool by what a small run learns from it about a target. Resumable."""
    from curate.selection.again import picking_again, settings_of
    from finetune.commands import InfluenceCommand
    from finetune.influence.recipe import influence as score_influence

    asked = InfluenceCommand(
        selection=selection, target=target, checkpoints=checkpoints, preset=preset, config=config, out=out,
        as_json=as_json, overrides=tuple(overrides or ()),
    )  # fmt: skip
    settings, made = _load(asked)
    scored = score_influence(settings, made, target, checkpoints, out, typed_command("finetune"))
    summary_table(scored.path.name, [(name.replace("_", " "), str(n)) for name, n in scored.manifest.counts.items()])
    named = scored.path.name if out is None else str(out)
    say(f"Pick by them: {picking_again(settings_of(made.manifest), 'influence', named)}")
    print_result(scored.manifest.model_dump(by_alias=True) if as_json else scored.path)


app.add_typer(cli_out.app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code comes back."""
    return run_command(app, argv)


if __name__ == "__main__":
    sys.exit(main())
