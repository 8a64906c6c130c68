"""How much a blank between prompt and output moves eval losses: a small Llama trained with Llama 2's own tokenizer.

    ROWPICK_DATA=DIR python benchmarks/text_law.py     # DIR: llama2-tokenizer/, codegen-4.5k.jsonl, codealpaca-2k.jsonl

Prints JSON. A random Llama-shaped model reads 1,500 rows of codegen-4.5k (the base model), then learns 1,000 rows of
CodeAlpaca twice from there: as text rule 1 made them (prompt and output tokenised as two texts, so that SentencePiece's
blank stands between them) and as rule 2 makes them. 300 rows are held out of everything. Losses are nats a byte of
output, because the two rules give other numbers of tokens to the same text.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.tokens import RAW, EncodedExample, encode_examples, load_tokenizer
from curate.tokens.text_rule import text_rule
from finetune.batches.packing import build_packed_batch, pack_examples
from finetune.batches.token_loss import row_losses, token_nll

BASE_ROWS, ROWS, HELD_OUT, BIN_TOKENS, BINS_A_STEP, SEED = 1500, 1000, 300, 512, 2, 0
Pairs = list[tuple[str, str]]


def read_pairs(path: Path) -> Pairs:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["instruction"], row["output"]) for row in rows if row["output"].strip()]


def by_rule_1(tokenizer: Any, pairs: Pairs) -> list[EncodedExample]:
    """Ids as they were: each of the two a text of its own."""
    start, end = text_rule(tokenizer).start, [tokenizer.eos_token_id]
    prompts = tokenizer([RAW.render(prompt) for prompt, _ in pairs], add_special_tokens=False)["input_ids"]
    outputs = tokenizer([output for _, output in pairs], add_special_tokens=False)["input_ids"]
    return [
        EncodedExample(start + prompt + output + end, len(start + prompt))
        for prompt, output in zip(prompts, outputs, strict=True)
    ]


def by_rule_2(tokenizer: Any, pairs: Pairs) -> list[EncodedExample]:
    """Ids as they are."""
    return encode_examples(tokenizer, RAW, pairs)


def train(model: Any, examples: Sequence[EncodedExample], epochs: int, rate: float, outputs_only: bool) -> None:
    """Packed, shuffled, AdamW with a straight fall of the learning rate."""
    examples = [example for example in examples if len(example.input_ids) <= BIN_TOKENS]
    bins = pack_examples([len(example.input_ids) for example in examples], BIN_TOKENS)
    rng = np.random.default_rng(SEED)
    order = [place for _ in range(epochs) for place in rng.permutation(len(bins)).tolist()]
    steps = range(0, len(order), BINS_A_STEP)
    optimizer: Any = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    for start in steps:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (start + BINS_A_STEP) / (10 * BINS_A_STEP)) * (1 - start / len(order))
        chosen = order[start : start + BINS_A_STEP]
        optimizer.zero_grad()
        batches = [build_packed_batch([[examples[i] for i in bins[place]]], 0, outputs_only) for place in chosen]
        targets = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
        for batch in batches:
            loss: Any = token_nll(model, batch)[0].sum() / targets
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def per_byte(model: Any, examples: Sequence[EncodedExample], pairs: Pairs) -> float:
    """Nats a byte of the outputs, the end token's loss among them."""
    losses = row_losses(model, examples, 0)
    return sum(loss.nll for loss in losses) / sum(len(output.encode()) for _, output in pairs)


def main() -> None:
    data = Path(os.environ["ROWPICK_DATA"])
    tokenizer = load_tokenizer(str(data / "llama2-tokenizer"))
    pairs = read_pairs(data / "codealpaca-2k.jsonl")
    pairs = [pairs[i] for i in np.random.default_rng(SEED).permutation(len(pairs)).tolist()]
    held_out, rows = pairs[:HELD_OUT], pairs[HELD_OUT : HELD_OUT + ROWS]
    started = time.perf_counter()
    torch.manual_seed(SEED)
    shape = LlamaConfig(
        vocab_size=32_000, hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    base = LlamaForCausalLM(shape)
    texts = encode_examples(tokenizer, RAW, read_pairs(data / "codegen-4.5k.jsonl")[:BASE_ROWS])
    train(base, texts, 1, 3e-3, outputs_only=False)
    print(f"base model read {sum(len(e.input_ids) for e in texts)} tokens", file=sys.stderr)
    rules: dict[str, Callable[[Any, Pairs], list[EncodedExample]]] = {"rule 1": by_rule_1, "rule 2": by_rule_2}
    result: dict[str, Any] = {}
    for rule, encode in rules.items():
        tuned = copy.deepcopy(base)
        train(tuned, encode(tokenizer, rows), 1, 1e-3, outputs_only=True)
        scored = encode(tokenizer, held_out)
        before, after = per_byte(base, scored, held_out), per_byte(tuned, scored, held_out)
        result[rule] = {"base": before, "tuned": after, "gain": before - after}
    moved = {name: result["rule 1"][name] - result["rule 2"][name] for name in ("base", "tuned", "gain")}
    whole = tokenizer([RAW.render(a) + b for a, b in pairs[:500]], add_special_tokens=False)["input_ids"]
    differ = {
        rule: sum(
            tokenizer.decode(example.input_ids[1:-1]) != tokenizer.decode(ids)
            for example, ids in zip(encode(tokenizer, pairs[:500]), whole, strict=True)
        )
        for rule, encode in rules.items()
    }
    print(json.dumps({
        "nats_per_byte": result, "rule_1_minus_rule_2": moved,
        "gain_overstated_by_share": moved["gain"] / result["rule 2"]["gain"],
        "rows_of_500_whose_ids_read_unlike_the_row": differ, "held_out_rows": len(held_out), "rows": len(rows),
        "seconds": time.perf_counter() - started, "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
