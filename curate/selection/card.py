"""The selection's README: a dataset card that `datasets` understands and people can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData

from curate.selection.mix import mix_lines
from curate.selection.record import HOLDOUT, SELECTED


def render_card(name: str, config: Mapping[str, Any], counts: Mapping[str, int], notes: Sequence[str]) -> str:
    """Markdown with the front matter that makes `load_dataset(folder)` give the splits `train` and, where rows are held
    out, `test`: `datasets` refuses a split without rows."""
    splits = [{"split": "train", "path": SELECTED}]
    splits += [{"split": "test", "path": HOLDOUT}] if counts.get("held_out") else []
    front = DatasetCardData(
        configs=[{"config_name": "default", "data_files": splits}], tags=["rowpick", "code", "instruction"]
    )
    size = f"k = {config['k']}" if config["token_budget"] is None else f"token budget {config['token_budget']}"
    revision = f" at revision `{config['revision']}`" if config["revision"] else ""
    excluded = {key.removeprefix("excluded."): n for key, n in counts.items() if key.startswith("excluded.")}
    lines = [
        f"---\n{front.to_yaml()}\n---",
        "",
        f"# {name}",
        "",
        f"{counts.get('selected', 0)} rows ({counts['selected_tokens']} tokens) picked by `{config['strategy']}` "
        f"({size}, seed {config['seed']}) from the {counts['pool']} rows of `{config['source']}`{revision}, "
        f"and {counts.get('held_out', 0)} rows held out by content.",
        "",
        f"Tokens are those of `{config['tokenizer'] or config['model']}` over the whole rendered example "
        f"(prompt template `{config['prompt_template']}`), between {config['min_tokens']} and {config['max_tokens']}; "
        "nothing was cut.",
        "",
        "| what became of the pool | rows |",
        "| --- | ---: |",
        f"| selected | {counts.get('selected', 0)} |",
        f"| held out | {counts.get('held_out', 0)} |",
        f"| not picked | {counts.get('not_picked', 0)} |",
        *(f"| excluded: {reason} | {n} |" for reason, n in sorted(excluded.items())),
        "",
        *mix_lines(config.get("mix", {})),
        *(f"- {note}" for note in notes),
        *([""] if notes else []),
        "`decisions.parquet` has one line for every pool row with its fate and the reason. "
        "The licence of the rows is that of their source.",
    ]
    return "\n".join(lines) + "\n"
