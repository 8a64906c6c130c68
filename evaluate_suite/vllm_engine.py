"""vLLM behind the same interface as `evaluate_suite.generation.generate`; optional, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from curate.errors import UserError
from evaluate_suite.generation import DecodingSettings, Generation, GenerationTask, finish

_CHUNK = 512  # results are handed out after each chunk, so that a killed run keeps them


def generate_with_vllm(
    model: str,
    tokenizer: Any,
    tasks: Sequence[GenerationTask],
    settings: DecodingSettings,
    *,
    adapter_dir: str | Path | None = None,
    on_result: Callable[[Generation], None] | None = None,
) -> list[Generation]:
    """One `Generation` per task, in the tasks' order, made by vLLM from the same prompt ids.

    `model` is a hub id or folder, since vLLM loads weights itself; the adapter is applied by vLLM's LoRA support, not
    merged. Its kernels add in another order, so texts may differ from the engine `slots` after a near tie.
    """
    try:
        import vllm
    except ImportError:
        raise UserError(
            "The engine vllm needs the package vllm, which is not installed.",
            "Run `pip install vllm` on a machine with a CUDA device, or use the engine auto.",
        ) from None
    settings.check()
    request = None
    if adapter_dir is not None:
        from vllm.lora.request import LoRARequest

        request = LoRARequest("adapter", 1, str(adapter_dir))
    llm = vllm.LLM(model, enable_lora=request is not None, seed=settings.seed, generation_config="vllm")
    order = sorted(range(len(tasks)), key=lambda i: (len(tasks[i].prompt_ids), i))
    results: dict[int, Generation] = {}
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        outputs = llm.generate(
            [{"prompt_token_ids": list(tasks[i].prompt_ids)} for i in chunk],
            [_sampling(vllm, tasks[i], settings, tokenizer.eos_token_id) for i in chunk],
            lora_request=request,
            use_tqdm=False,
        )
        for index, output in zip(chunk, outputs, strict=True):
            ids = list(output.outputs[0].token_ids)
            ended = output.outputs[0].finish_reason == "stop"
            if ended and ids and ids[-1] == tokenizer.eos_token_id:
                ids = ids[:-1]
            results[index] = finish(tasks[index], tokenizer, ids, ended)
            if on_result is not None:
                on_result(results[index])
    return [results[index] for index in range(len(tasks))]


def _sampling(vllm: Any, task: GenerationTask, settings: DecodingSettings, end: int) -> Any:
    sampled = {"temperature": settings.temperature, "top_p": settings.top_p, "seed": task.seed}
    return vllm.SamplingParams(
        max_tokens=settings.max_new_tokens,
        min_tokens=settings.min_new_tokens,
        stop_token_ids=[end],
        skip_special_tokens=True,
        **(sampled if settings.do_sample else {"temperature": 0.0}),
    )
