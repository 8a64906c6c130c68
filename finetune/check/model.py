"""Traps in the model: its tokenizer, shape, files."""

from __future__ import annotations

from finetune.check.facts import Facts


def tokenizer_differs(facts: Facts) -> str | None:
    """The selection's counts and the model's ids would not belong together."""
    if facts.tokenizer_matches is not False:
        return None
    counted_with = facts.selection.manifest.config["tokenizer"] or facts.selection.manifest.config["model"]
    return (
        f"{facts.config.model} reads other ids than the tokenizer of {counted_with}, which the selection was counted "
        f"with. Select again with --model {facts.config.model} and without --tokenizer."
    )


def vocabulary_too_small(facts: Facts) -> str | None:
    """An id without a row in the embedding: an index error after the download."""
    if facts.largest_id is None or facts.shape is None or facts.largest_id < facts.shape.vocab_size:
        return None
    return f"The rows hold token id {facts.largest_id}; the model has {facts.shape.vocab_size}. Use its own tokenizer."


def targets_match_nothing(facts: Facts) -> str | None:
    """No layer would get an adapter."""
    if facts.matched_targets is None or facts.matched_targets > 0:
        return None
    return f"target_modules {facts.config.target_modules} match no layer of {facts.config.model}. Use all-linear."


def attention_unsupported(facts: Facts) -> str | None:
    """The family has no such attention."""
    if facts.attention_problem is None:
        return None
    return f"{facts.config.model} has no {facts.config.attn_implementation} attention. Set attn_implementation=eager."


def pad_token_unknown(facts: Facts) -> str | None:
    """A pad token that is not in the vocabulary."""
    if facts.pad_known is not False:
        return None
    return f'pad_token "{facts.config.pad_token}" is not in the vocabulary. Leave it out, or name one that is.'


def over_context(facts: Facts) -> str | None:
    """Positions the model has never seen, or does not have."""
    if facts.context is None or not facts.examples:
        return None
    longest = max(len(example.input_ids) for example in facts.examples)
    if longest <= facts.context:
        return None
    return f"A row has {longest} tokens and the context {facts.context}. Select with --max-tokens {facts.context}."


def model_absent(facts: Facts) -> str | None:
    """A path that leads nowhere; whether a hub id exists is not asked."""
    if facts.model_can_exist is not False:
        return None
    return f"{facts.config.model} is neither a folder here with a config.json nor a hub id. Check the spelling."


def weights_not_safetensors(facts: Facts) -> str | None:
    """Pickled weights can run code; they are never loaded."""
    files = facts.local_files
    if files is None or any(name.endswith((".safetensors", ".safetensors.index.json")) for name in files):
        return None
    return f"{facts.config.model} holds no .safetensors file. Convert it with save_pretrained(safe_serialization=True)."


def remote_code(facts: Facts) -> str | None:
    """A model that brings its own Python: never run here."""
    if facts.shape is None or not getattr(facts.shape, "auto_map", None):
        return None
    return f"{facts.config.model} asks for its own code (auto_map), which is never run. Use a model transformers knows."
