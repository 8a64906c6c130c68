"""`finetune merge`: a run made into a model that works without this project."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from curate.artifact.files import write_errors
from curate.console import progress
from curate.errors import UserError
from curate.loading import quiet
from curate.pool.dialogue import prompt_of
from curate.tokens.tokenizers import decode_completion, encode_prompt
from finetune.model import load_base_model, load_merged, load_run, merge_adapter
from finetune.run.record import Run
from finetune.run.tokenizer import load_selections_tokenizer

PROMPTS_COMPARED = 4
TOKENS_COMPARED = 32


@dataclass(frozen=True)
class Merged:
    """Where the merged model lies, and on how many of `compared` held-out prompts its greedy text is the adapter's."""

    path: Path
    dtype: str
    same_text: int
    compared: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": str(self.path), "dtype": self.dtype, "same_text": self.same_text, "compared": self.compared}


def merge(run: Run, out: Path | None = None, dtype: str = "bfloat16", allow_different: bool = False) -> Merged:
    """Write base model and adapter as one model (safetensors, with its tokenizer) and compare their greedy texts.

    A model that writes another text is a `UserError` and is not kept, but for `allow_different`.

    A 4-bit base is dequantised first and the adapter added to those very weights, the ones it was trained on: adding it
    to the unrounded weights would give another model. Rounding to `dtype` comes last.
    """
    target = out or run.path / "merged"
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} already exists.", "Name another --out, or remove it.")
    selection = run.read_selection()
    tokenizer = load_selections_tokenizer(selection)
    rows = (selection.holdout or selection.selected)[:PROMPTS_COMPARED]
    prompts = [encode_prompt(tokenizer, selection.template, prompt_of(row)) for row in rows]
    tuned, _ = load_run(run.path)
    before = greedy_texts(tuned, tokenizer, prompts)
    del tuned
    merged = merge_adapter(load_base_model(run.config), run.adapter_dir).to(getattr(torch, dtype))
    with whole_folder(target) as folder:
        with quiet():
            merged.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        del merged
        after = greedy_texts(load_merged(folder, run.config), tokenizer, prompts)
        same = sum(a == b for a, b in zip(before, after, strict=True))
        if same < len(prompts) and not allow_different:
            rounded = " Rounding may do that: try --dtype float32." if dtype != "float32" else ""
            raise UserError(
                f"The merged model ({dtype}) writes the adapter's greedy text on {same} of {len(prompts)} held-out "
                "prompts; it was not kept.",
                f"--allow-different-text keeps it all the same.{rounded}",
            )
    return Merged(target, dtype, same, len(prompts))


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends without an error."""
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.replace(target)
    except OSError as error:
        raise UserError(f"Could not write {target}: {error.strerror or error}.", "Free space, or name --out.") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def greedy_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]]) -> list[str]:
    """What the model writes after each prompt: greedy, up to TOKENS_COMPARED tokens, the prompt left out."""
    texts = []
    with progress("Generating", len(prompts)) as advance, torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt], device=model.device)
            written = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS_COMPARED,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
            texts.append(decode_completion(tokenizer, prompt, written[0, len(prompt) :].tolist()))
            advance(1)
    return texts
