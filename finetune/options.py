"""Options that several commands of `finetune` take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Settings to change.")]
SelectionOption = Annotated[str | None, typer.Option(help="Folder or name of a selection. Default: the newest.")]
PresetOption = Annotated[str | None, typer.Option(help="Default: the preset of the selection's model.")]
ConfigOption = Annotated[Path | None, typer.Option(help="YAML file with settings; it comes after the preset.")]
GpusOption = Annotated[int | None, typer.Option(min=1, help="GPUs of each machine that share every step. Default: 1.")]
ParallelOption = Annotated[
    str | None, typer.Option(help="ddp: each GPU holds the model; fsdp: its weights are spread over all. Default: ddp.")
]
NodesOption = Annotated[int | None, typer.Option(min=1, help="Machines that run this same command. Default: 1.")]
RendezvousOption = Annotated[str | None, typer.Option(help="HOST:PORT of one of the machines, where all meet.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RUN_EXAMPLES = """Examples:

  finetune run --selection kmeans-k1000-0a1b2c3d --preset cpu-demo max_steps=10 learning_rate=1e-4

  finetune run --preset llama2-70b --gpus 4 --parallel fsdp"""
TargetOption = Annotated[
    str | None,
    typer.Option(
        help="Rows with answers to learn for (file, folder or hub id). Default: 200 rows of the pool, neither held out "
        "nor picked."
    ),
]
INFLUENCE_EXAMPLES = """Examples:

  finetune influence --target wanted.jsonl

  finetune influence --preset cpu-demo --checkpoints 2 --json"""
