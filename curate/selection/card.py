"""The selection's README: a dataset card that `datasets` understands and people can read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData

from curate.selection.mix import NOT_SAID, mix_lines
from curate.selection.record import HOLDOUT, SELECTED

_ISO_639 = re.compile(r"[a-z]{2}")  # three letters would also be "php" and "sql"


def render_card(name: str, config: Mapping[str, Any], counts: Mapping[str, int], notes: Sequence[str]) -> str:
    """Markdown with the front matter that makes `load_dataset(folder)` give the splits `train` and, where rows are held
    out, `test`: `datasets` refuses a split without rows."""
    splits = [{"split": "train", "path": SELECTED}]
    splits += [{"split": "test", "path": HOLDOUT}] if counts.get("held_out") else []
    rows = counts.get("selected", 0) + counts.get("held_out", 0)
    front = DatasetCardData(
        license=licenses(config.get("mix", {})),
        language=languages(config.get("mix", {})),
        size_categories=size_category(rows),
        source_datasets=source_datasets(config),
        task_categories=["text-generation"],
        configs=[{"config_name": "default", "data_files": splits}],
        tags=["rowpick", "code", "instruction"],
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


def licenses(mix: Mapping[str, Mapping[str, int]]) -> str | list[str] | None:
    """Return the licences that rows name, as the hub spells them; "unknown" where some name none, None where all do."""
    named = mix.get("license", {})
    spelled = sorted({_slug(each) for each in named if each != NOT_SAID})
    if NOT_SAID in named:
        spelled.append("unknown")
    return spelled[0] if len(spelled) == 1 else spelled or None


def languages(mix: Mapping[str, Mapping[str, int]]) -> list[str] | None:
    """Return the languages that rows name: codes of ISO 639 as they are; names, of programming languages, as "code"."""
    named = [each.strip().lower() for each in mix.get("language", {}) if each != NOT_SAID]
    return sorted({each if _ISO_639.fullmatch(each) else "code" for each in named}) or None


def size_category(rows: int) -> str:
    """Return the hub's name for how many rows a dataset has: "1K<n<10K" from 1,000 up to 9,999."""
    steps = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]
    place = next((i for i in range(len(steps)) if rows < 10 ** (i + 3)), len(steps))
    if place == 0:
        return "n<1K"
    return f"{steps[place - 1]}<n<{steps[place]}" if place < len(steps) else "n>1B"


def source_datasets(config: Mapping[str, Any]) -> list[str] | None:
    """Return the hub's dataset that the rows came from; None for files of one's own and for the standard library."""
    return [config["source"]] if config.get("revision") else None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.strip().lower()).strip("-")
