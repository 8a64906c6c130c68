"""vLLM as the engine behind `evalsuite report --engine vllm`; optional, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from curate.defaults import SMOLLM2
from curate.tokens.embedded_model import smollm2_as_safetensors
from evaluate_suite.generation.engines import finish, stop_ids
from evaluate_suite.generation.record import DecodingSettings, Generation, GenerationTask
from finetune.config import RunConfig

_CHUNK = 512  # results are handed out after each chunk, so that a killed run keeps them
_RANKS = (64, 128, 256, 512)  # of those vLLM reserves room for; smaller ones fit in the first


class VllmEngine:
    """A base model loaded by vLLM once; adapters are applied by its LoRA support, never merged.

    It quantises 4-bit base models itself and adds in another order, so texts may differ from ours after a near tie.
    """

    def __init__(self, config: RunConfig) -> None:
        import vllm

        self.source = str(smollm2_as_safetensors()) if config.model == SMOLLM2 else config.model
        rank = next((rank for rank in _RANKS if rank >= config.r), config.r)
        quantised = {"quantization": "bitsandbytes"} if config.load_in_4bit else {}
        self.llm = vllm.LLM(
            model=self.source, dtype=config.dtype, enable_lora=True, max_lora_rank=rank, skip_tokenizer_init=True,
            generation_config="vllm", **quantised,
        )  # fmt: skip
        self._adapters: dict[str, int] = {}
        try:
            self.generation_config = GenerationConfig.from_pretrained(self.source)
        except OSError:  # the model has none
            self.generation_config = None

    def generate(
        self,
        tokenizer: Any,
        tasks: Sequence[GenerationTask],
        settings: DecodingSettings,
        *,
        adapter_dir: str | Path | None = None,
        on_result: Callable[[Generation], None] | None = None,
    ) -> list[Generation]:
        """One `Generation` per task, in the tasks' order, from the prompt ids and end tokens that our engines use."""
        settings.check()
        stop = stop_ids(self, tokenizer)
        request = None
        if adapter_dir is not None:
            from vllm.lora.request import LoRARequest

            name = str(adapter_dir)
            request = LoRARequest(name, self._adapters.setdefault(name, len(self._adapters) + 1), name)
        order = sorted(range(len(tasks)), key=lambda i: (len(tasks[i].prompt_ids), i))
        results: dict[int, Generation] = {}
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            outputs = self.llm.generate(
                [{"prompt_token_ids": list(tasks[i].prompt_ids)} for i in chunk],
                [_sampling(tasks[i], settings, stop) for i in chunk],
                lora_request=request,
                use_tqdm=False,
            )
            for index, output in zip(chunk, outputs, strict=True):
                ids = list(output.outputs[0].token_ids)
                ended = output.outputs[0].finish_reason == "stop"
                if ended and ids and ids[-1] in stop:
                    ids = ids[:-1]
                results[index] = finish(tasks[index], tokenizer, ids, ended)
                if on_result is not None:
                    on_result(results[index])
        return [results[index] for index in range(len(tasks))]


def _sampling(task: GenerationTask, settings: DecodingSettings, stop: Sequence[int]) -> Any:
    import vllm

    sampled = {"temperature": settings.temperature, "top_p": settings.top_p, "seed": task.seed}
    return vllm.SamplingParams(
        max_tokens=settings.max_new_tokens,
        min_tokens=settings.min_new_tokens,
        stop_token_ids=list(stop),
        detokenize=False,
        **(sampled if settings.do_sample else {"temperature": 0.0}),
    )
