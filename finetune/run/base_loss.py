"""The base model's loss at step 0: does it read the rows at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from curate.console import say
from curate.errors import UserError
from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import IGNORED, build_packed_batch

NEAR_GUESSING = 0.9  # of ln(vocabulary); text in a language the model hardly knows costs it about half of that
UNSURE = 0.9  # of ln(vocabulary): the entropy of predictions that say nothing
ROWS_LOOKED_AT = 4


def require_reading(
    model: PreTrainedModel,
    name: str,
    loss: float | None,
    vocabulary: int,
    examples: Sequence[EncodedExample],
    pad_token_id: int,
) -> None:
    """Refuse to train a model whose loss before the first step is that of uniform guessing over `vocabulary`.

    A trained model that is sure of its predictions and no better than a guess reads ids that are not its own. One that
    spreads its predictions evenly has never been trained: that is said, and allowed.
    """
    guessing = math.log(vocabulary)
    if loss is None or not math.isfinite(loss) or loss < NEAR_GUESSING * guessing:
        return
    figures = f"{loss:.2f} nats a token at step 0, where uniform guessing is ln({vocabulary:,}) = {guessing:.2f}"
    if mean_entropy(model, examples[:ROWS_LOOKED_AT], pad_token_id) >= UNSURE * guessing:
        say(f"{name} looks untrained: its eval loss is {figures}, and its predictions are spread evenly.")
        return
    raise UserError(
        f"{name} reads these rows as noise: its eval loss is {figures}.",
        f"The rows' ids are most likely another model's. Select again with --model {name} and without --tokenizer.",
    )


def mean_entropy(model: PreTrainedModel, examples: Sequence[EncodedExample], pad_token_id: int) -> float:
    """Return the mean entropy, in nats, of the model's predictions of the labelled tokens of `examples`."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    entropies: list[torch.Tensor] = []
    try:
        for example in examples:
            batch = build_packed_batch([[example]], pad_token_id)
            with torch.no_grad():
                logits = model(
                    input_ids=batch["input_ids"].to(device),
                    position_ids=batch["position_ids"].to(device),
                    use_cache=False,
                ).logits[0, :-1]
            predictions = logits[(batch["labels"][0, 1:] != IGNORED).to(device)].float().log_softmax(-1)
            entropies.append(-(predictions.exp() * predictions).sum(-1).cpu())
    finally:
        model.train(was_training)
    return float(torch.cat(entropies).mean())
