"""The `finetune` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from curate.console import print_result, run_command, say, summary_table

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train an adapter on a selection.",
    epilog="Examples:  finetune run   |   finetune presets",
)
RUN_EXAMPLES = """Examples:

  finetune run

  finetune run --selection kmeans-k1000-0a1b2c3d --preset cpu-demo max_steps=10 learning_rate=1e-4"""


@app.command(epilog=RUN_EXAMPLES)
def run(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Settings to change.")] = None,
    selection: Annotated[str | None, typer.Option(help="Folder or name of a selection. Default: the newest.")] = None,
    preset: Annotated[str | None, typer.Option(help="Default: the preset of the selection's model.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; it comes after the preset.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: $ROWPICK_HOME/runs/NAME.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this unfinished run (folder or name).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings and the plan; train nothing.")] = False,
    wandb: Annotated[
        str | None, typer.Option(help="online, offline or off. Default: online when logged in, else off.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON instead of the path.")] = False,
) -> None:
    """Train an adapter on a selection: QLoRA, loss on the output only, best checkpoint kept."""
    from curate.errors import UsageError, did_you_mean
    from curate.selection import read_selection
    from finetune.config import RunConfig, load_config, preset_for

    if wandb not in (None, "online", "offline", "off"):
        raise UsageError(f'--wandb is "{wandb}".', did_you_mean(str(wandb), ["online", "offline", "off"]))
    if resume is not None:
        from finetune.run_record import find_unfinished, read_settings

        folder: Path | None = find_unfinished(resume)
        settings = read_settings(find_unfinished(resume))
        chosen, found = RunConfig.model_validate(settings["config"]), read_selection(settings["selection"])
    else:
        folder, found = out, read_selection(selection)
        model = found.manifest.config["model"]
        chosen = load_config(preset or preset_for(model), config, overrides or [], model)
    if dry_run:
        _show_plan(chosen, found)
        return
    from finetune.model_card import loading_lines
    from finetune.train import train

    finished = train(chosen, found, folder, resume is not None, wandb, sys.argv)
    made = finished.manifest.config
    summary_table(
        finished.path.name,
        [
            ("base model", chosen.model),
            ("steps", f"{made['steps']}, {made['tokens_seen']} tokens"),
            ("best", f"step {made['best_step']}, eval loss {made['best_eval_loss']}"),
            (
                "seconds",
                f"{finished.manifest.seconds.get('train', 0):.0f} training, {finished.manifest.seconds.get('load', 0):.0f} loading",
            ),
        ],
    )
    say("Try it:\n\n" + "\n".join(loading_lines(str(finished.path), chosen)) + "\n")
    print_result(finished.manifest.model_dump(by_alias=True) if as_json else finished.path)


def _show_plan(config: object, selection: object) -> None:
    from curate.selection import Selection
    from finetune.config import RunConfig
    from finetune.train import prepare

    assert isinstance(config, RunConfig) and isinstance(selection, Selection)
    job = prepare(config, selection, Path())
    tokens = sum(len(job.plan.examples[i].input_ids) for places in job.plan.bins for i in places)
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
                "tokens_per_bin_limit_share": tokens / width,
                "eval_rows": len(job.eval_examples),
            },
        }
    )


@app.command(epilog="Examples:\n\n  finetune presets\n\n  finetune show cpu-demo")
def presets() -> None:
    """List the presets with their models."""
    from finetune.config import load_config, preset_names

    for name in preset_names():
        print(f"{name:<16} {load_config(name).model}")


@app.command(epilog="Examples:\n\n  finetune show\n\n  finetune show notebook")
def show(preset: Annotated[str, typer.Argument(help="Name of a preset.")] = "llama2-7b") -> None:
    """Print a preset with its reasons, then every setting it resolves to."""
    import yaml

    from finetune.config import load_config, preset_path

    print(preset_path(preset).read_text(encoding="utf-8"))
    print("# All settings:")
    print(yaml.safe_dump(load_config(preset).model_dump(), sort_keys=False), end="")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code comes back."""
    return run_command(app, argv)


if __name__ == "__main__":
    sys.exit(main())
