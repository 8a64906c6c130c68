"""The tokenizer of the model that is trained, held against the one the rows were chosen with."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from curate.errors import UserError
from curate.selection.record import Selection
from curate.tokens.tokenizers import load_tokenizer, refuse_earlier_rule, tokenizer_digest

# One of these stands in every folder that holds a tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_training_tokenizer(model: str, selection: Selection) -> PreTrainedTokenizerBase:
    """Return the tokenizer of `model`, the model that will be trained.

    A selection may name a tokenizer of its own (`curate select --tokenizer`): what it was counted with says nothing of
    what the model reads. Only a local folder with weights and no tokenizer leaves nothing else to take.
    """
    named = selection.manifest.config["tokenizer"]
    return load_tokenizer(model, named if named is not None and not has_tokenizer(model) else None)


def load_selections_tokenizer(selection: Selection) -> PreTrainedTokenizerBase:
    """Return the tokenizer that a selection was counted with; a `UserError` where its files were changed since."""
    config = selection.manifest.config
    tokenizer = load_tokenizer(config["model"], config.get("tokenizer"))
    refuse_earlier_rule(tokenizer, config["tokenizer_digest"], selection.path.name)
    if not matches_selection(tokenizer, selection):
        raise UserError(_changed(selection), "Put it back, or select and train again.")
    return tokenizer


def _changed(selection: Selection) -> str:
    counted_with = selection.manifest.config["tokenizer"] or selection.manifest.config["model"]
    return (
        f"The tokenizer of {counted_with} is not the one that the selection {selection.path.name} was counted with: "
        "it was changed since."
    )


def has_tokenizer(model: str) -> bool:
    """Return whether `model` brings its own tokenizer: all do, but for local folders with weights alone."""
    folder = Path(model)
    return not folder.is_dir() or any((folder / name).is_file() for name in TOKENIZER_FILES)


def matches_selection(tokenizer: PreTrainedTokenizerBase, selection: Selection) -> bool:
    """Return whether `tokenizer` is the one the selection's rows were counted with."""
    recorded: str = selection.manifest.config["tokenizer_digest"]
    return tokenizer_digest(tokenizer) == recorded


def require_selections_tokenizer(tokenizer: PreTrainedTokenizerBase, model: str, selection: Selection) -> None:
    """Raise a `UserError` where the rows were counted with another tokenizer than that of `model`."""
    if matches_selection(tokenizer, selection):
        return
    counted_with = selection.manifest.config["tokenizer"] or selection.manifest.config["model"]
    if counted_with == model:
        raise UserError(_changed(selection), "Put it back, or select again.")
    raise UserError(
        f"The selection was counted with the tokenizer of {counted_with}, which is not that of {model}, "
        "the model to be trained.",
        f"Select again with --model {model} and without --tokenizer.",
    )
