"""Command lines made from a finished selection's settings: the same rows picked by something else, or edited rows."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

from curate.artifact.manifest_schema import Manifest
from curate.config import MADE_BEFORE, SelectConfig
from curate.defaults import DEFAULT_SCORE_MODEL
from curate.pool.read_options import SINGLE


def settings_of(manifest: Manifest) -> SelectConfig:
    """Return the settings that a selection was made with; those that it does not know have their defaults.

    Of a template's file the manifest has the name; where it lies, the command that was typed says.
    """
    recorded, typed = manifest.config, manifest.command
    known = {name: recorded[name] for name in SelectConfig.model_fields if name in recorded}
    name = recorded["prompt_template"]
    words = [word for each in typed for word in ([each] if not each.startswith("--") else each.split("=", 1))]
    paths = [path for option, path in itertools.pairwise(words) if option == "--prompt-template"]
    path = next((path for path in reversed(paths) if Path(path).name == name), name)
    return SelectConfig(**known | {"prompt_template": None if name == "raw" else path})


def picking_again(settings: SelectConfig, strategy: str, named: str) -> str:
    """Return the command line that picks from the same rows by a `strategy`, which needs what another command made:
    `named` is its name or folder."""
    needs = next(name for name in MADE_BEFORE if strategy.endswith(name))
    plain: dict[str, object] = {"target": None, "score_model": DEFAULT_SCORE_MODEL, **dict.fromkeys(MADE_BEFORE)}
    own = {"strategy": strategy, "strategy_options": {}, needs: named}
    return shlex.join(settings.model_copy(update=plain | own).as_command())


def selecting_edited(file: Path, manifest: Manifest, out: str) -> str:
    """Return the command line that makes the rows of an edited `selected.jsonl` a selection of their own."""
    before = settings_of(manifest)
    edited = SelectConfig(
        dataset=str(file),
        model=before.model,
        tokenizer=before.tokenizer,
        prompt_template=before.prompt_template,
        system=SelectConfig.model_fields["system"].default if before.turns == SINGLE else before.system,
        turns=before.turns,
        strategy="first",
        encoder="tfidf",
        k=manifest.counts.get("selected", 1),
        min_tokens=before.min_tokens,
        max_tokens=before.max_tokens,
        holdout=0,
        near_duplicate=1.0,
        clean=(),
    )
    return shlex.join([*edited.as_command(), "--out", out])
