"""The run's README: a model card with the selection it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from curate.selection.record import Selection
from curate.tokens.prompt import PromptTemplate
from finetune.config import RunConfig

TRIED = "Write a Python function that reverses a string."


def loading_lines(folder: str, template: PromptTemplate) -> list[str]:
    """Three lines of Python that load the adapter on its base model and try it, with the prompt it was trained on.

    The prompt is decoded with what follows it, since SentencePiece would strip a blank from what follows.
    """
    prompt = json.dumps(template.render(TRIED), ensure_ascii=False)
    return [
        "from finetune.model import load_run",
        f"model, tokenizer = load_run({json.dumps(folder, ensure_ascii=False)})",
        f'print(tokenizer.decode(model.generate(**tokenizer({prompt}, return_tensors="pt").to(model.device), '
        "max_new_tokens=128)[0], skip_special_tokens=True))",
    ]


def training_line(results: Mapping[str, Any]) -> str:
    """Return what a run trained on, in words: tokens, of how many selected, steps and epochs."""
    trained, selected = results["trained_tokens"], results["selected_tokens"]
    return f"{trained:,} tokens (of {selected:,} selected; {results['epochs']:.2f} epochs) in {results['steps']} steps"


def best_line(results: Mapping[str, Any]) -> str:
    """Return which step's adapter a run hands out."""
    if not results["best_step"]:
        return "the last step"
    return f"step {results['best_step']}, eval loss {results['best_eval_loss']:.4f}"


def render_card(name: str, config: RunConfig, selection: Selection, results: dict[str, Any]) -> str:
    """Markdown with the hub's front matter; every number was computed by the run."""
    picked = selection.manifest.config
    front = ModelCardData(base_model=config.model, library_name="peft", tags=["rowpick", "lora", "qlora"])
    return "\n".join(
        [
            f"---\n{front.to_yaml()}\n---",
            "",
            f"# {name}",
            "",
            f"A LoRA adapter (r = {config.r}, alpha = {config.lora_alpha}) for `{config.model}`, trained on "
            f"{len(selection.selected)} rows that `{picked['strategy']}` picked from `{picked['source']}` "
            f"(selection `{selection.path.name}`, digest {selection.digest[:8]}).",
            "",
            f"It was trained on {training_line(results)}. It is the adapter of {best_line(results)}.",
            "",
            "```python",
            *loading_lines(f"path/to/{name}", selection.template),
            "```",
            "",
        ]
    )
