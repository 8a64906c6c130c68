"""A tiny random Llama with smollm2's tokenizer, and a real selection counted with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from curate.cli import main as curate

VERBS = ("sort", "reverse", "parse", "copy", "merge", "count", "filter", "print", "cache", "split")
SUBJECTS = ("list", "dict", "file", "string", "matrix", "graph", "tree", "queue", "date", "socket")


def build_tiny(folder: Path, config: Any = None) -> None:
    """Save a random model of two layers, and the tokenizer beside it."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from curate.tokens.tokenizers import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m")
    config = config or LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    build_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def made_selection(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A selection of 40 of 100 rows with 10 held out, made once by `curate select`."""
    folder = tmp_path_factory.mktemp("selection")
    rows = [
        {
            "instruction": f"{verb} a {subject}",
            "output": f"def {verb}_{subject}(x):\n    return {verb}(x)\n" * (1 + i % 4),
        }
        for i, (verb, subject) in enumerate((verb, subject) for verb in VERBS for subject in SUBJECTS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = curate(
        ["select", "--dataset", str(folder / "rows.jsonl"), "--model", str(tiny_model), "--encoder", "tfidf",
         "--near-duplicate", "0.999", "--k", "40", "--out", str(folder / "s")]
    )  # fmt: skip
    assert code == 0
    return folder / "s"


@pytest.fixture
def selection(made_selection: Path, tmp_path: Path) -> Path:
    """A copy of the selection that a test may spoil."""
    return Path(shutil.copytree(made_selection, tmp_path / "selection"))


QUICK = [
    "device=cpu", "load_in_4bit=false", "max_length=128", "per_device_train_batch_size=1",
    "gradient_accumulation_steps=2",
    "max_steps=6", "logging_steps=1", "eval_steps=2", "warmup_steps=0", "eval_rows=4", "learning_rate=1e-2",
]  # fmt: skip
