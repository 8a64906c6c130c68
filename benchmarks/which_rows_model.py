"""The model of the study "which rows?": adapters, losses, training and influence, as small as they can be.

The adapter is PEFT's LoRA as two products a layer, the norms are one kernel each: a cell costs seconds that way.
`tests/benchmarks` holds the adapter against PEFT and the influence against gradients row by row.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import IGNORED, build_packed_batch, pack_examples

R, ALPHA, RATE, EPOCHS, WARMUP = 16, 32, 3e-4, 3, 10
BIN, BINS_A_STEP, BINS_A_PASS = 1024, 8, 4


class Lora(nn.Module):
    """A frozen linear layer with an adapter: x W' + (alpha / r) (x A') B'. `probe` has it record influence."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(base.weight.detach(), requires_grad=False)
        self.a = nn.Parameter(torch.zeros(R, base.in_features, device=base.weight.device))
        self.b = nn.Parameter(torch.zeros(base.out_features, R, device=base.weight.device))
        self.probe: Probe | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        a, b = self.a.to(x.dtype), (self.b * (ALPHA / R)).to(x.dtype)
        h = flat @ a.T
        y = torch.addmm(flat @ self.weight.T, h, b.T)
        if self.probe is not None:
            self.probe.watch(self, flat, h, y)
        return y.view(*x.shape[:-1], -1)


@dataclass
class Probe:
    """Sums <gradient of each row's loss, direction> over all adapters in one backward pass, for K directions at once.

    `directions[layer]` = (K x r x in, K x out x r); `rows` names the row of every position; `sums` is (rows x K).
    """

    directions: dict[int, tuple[torch.Tensor, torch.Tensor]]
    rows: torch.Tensor
    sums: torch.Tensor

    def watch(self, layer: Lora, x: torch.Tensor, h: torch.Tensor, y: torch.Tensor) -> None:
        """Have the backward pass add this layer's part: <g_h, U_A x> + (alpha / r) <g_y U_B, h>."""
        of_a, of_b = self.directions[id(layer)]
        k = len(of_a)
        x, kept = x.detach(), h.detach()

        def add_a(g: torch.Tensor) -> None:
            moved = (x @ of_a.reshape(k * R, -1).T).view(-1, k, R)
            self.sums.index_add_(0, self.rows, (moved * g[:, None]).sum(-1, dtype=torch.float32))

        def add_b(g: torch.Tensor) -> None:
            moved = (g @ of_b.permute(1, 0, 2).reshape(g.shape[-1], k * R)).view(-1, k, R)
            self.sums.index_add_(0, self.rows, (moved * kept[:, None]).sum(-1, dtype=torch.float32) * (ALPHA / R))

        h.register_hook(add_a)  # type: ignore[no-untyped-call]
        y.register_hook(add_b)  # type: ignore[no-untyped-call]


def as_safetensors(source: Path, scratch: Path) -> Path:
    """Return a folder of safetensors: the source itself, or its GGUF dequantised once for all workers."""
    gguf = sorted(source.glob("*.gguf"))
    if not gguf:
        return source
    model: Any = AutoModelForCausalLM.from_pretrained(str(source), gguf_file=gguf[0].name, dtype=torch.float32)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(scratch / "model")
    return scratch / "model"


def load_model(source: Path, device: str, dtype: torch.dtype) -> Any:
    """Return the base model, Llama's norms computed in one kernel each."""
    model: Any = AutoModelForCausalLM.from_pretrained(str(source), dtype=dtype, attn_implementation="sdpa")
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = functools.partial(one_kernel_norm, module)
    return model.to(device).eval()


def one_kernel_norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Return what the module's own forward does, in one kernel instead of six."""
    return F.rms_norm(x, (x.shape[-1],), module.weight.to(x.dtype), module.variance_epsilon)


def adapt(model: Any) -> list[Lora]:
    """Put an adapter on every linear layer but the output; return them in the order of the model's modules."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    layers = []
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            parent = model.get_submodule(name.rpartition(".")[0])
            layers.append(Lora(module))
            setattr(parent, name.rpartition(".")[2], layers[-1])
    return layers


def reset(layers: Sequence[Lora], seed: int) -> None:
    """Give every adapter PEFT's start: A Kaiming-uniform, B zero; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        bound = 1 / math.sqrt(layer.a.shape[1])
        layer.a.data = (torch.rand(layer.a.shape, generator=generator) * 2 - 1).mul(bound).to(layer.a.device)
        layer.b.data.zero_()
        layer.a.grad = layer.b.grad = None


def batches(
    examples: Sequence[EncodedExample], loss_on_prompt: bool = False, bins: int = BINS_A_PASS
) -> list[tuple[list[int], dict[str, torch.Tensor]]]:
    """Return the examples packed, some bins a batch: (which examples, in the order of their samples; batch)."""
    packed = pack_examples([len(example.input_ids) for example in examples], BIN)
    made = []
    for start in range(0, len(packed), bins):
        part = packed[start : start + bins]
        batch = build_packed_batch([[examples[i] for i in rows] for rows in part], 0, not loss_on_prompt)
        made.append(([i for rows in part for i in rows], batch))
    return made


def token_losses(model: Any, batch: dict[str, torch.Tensor], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (loss, sample) of every labelled token of a batch."""
    batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    hidden = model.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False)
    labels = batch["labels"][:, 1:]
    wanted = labels != IGNORED
    logits = model.lm_head(hidden.last_hidden_state[:, :-1][wanted])
    return F.cross_entropy(logits.float(), labels[wanted], reduction="none"), batch["sample_ids"][:, 1:][wanted]


@torch.no_grad()
def row_losses(
    model: Any, examples: Sequence[EncodedExample], device: Any, bins: int = BINS_A_PASS
) -> list[list[float]]:
    """Return the summed loss and the number of labelled tokens of every example."""
    losses = [[0.0, 0.0] for _ in examples]
    for places, batch in batches(examples, bins=bins):
        nll, samples = token_losses(model, batch, device)
        sums = torch.zeros(len(places), device=device).index_add_(0, samples, nll)
        counts = torch.bincount(samples, minlength=len(places))
        for place, total, n in zip(places, sums.tolist(), counts.tolist(), strict=True):
            losses[place] = [round(total, 3), n]
    return losses


def steps_of(
    examples: Sequence[EncodedExample], seed: int, loss_on_prompt: bool, bins_a_pass: int = BINS_A_PASS
) -> list[list[dict[str, torch.Tensor]]]:
    """Return every step's batches: all epochs, rows and bins shuffled anew in each, as the project's plan does."""
    steps = []
    for epoch in range(EPOCHS):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(examples)).tolist()
        packed = pack_examples([len(examples[i].input_ids) for i in order], BIN)
        bins = [[examples[order[place]] for place in packed[i]] for i in rng.permutation(len(packed)).tolist()]
        for start in range(0, len(bins), BINS_A_STEP):
            step = bins[start : start + BINS_A_STEP]
            parts = [step[i : i + bins_a_pass] for i in range(0, len(step), bins_a_pass)]
            steps.append([build_packed_batch(part, 0, not loss_on_prompt) for part in parts])
    return steps


def train(
    model: Any,
    layers: Sequence[Lora],
    examples: Sequence[EncodedExample],
    seed: int,
    loss_on_prompt: bool = False,
    max_steps: int | None = None,
    at_step: Callable[[int, int, torch.optim.AdamW, float], None] | None = None,
    bins_a_pass: int = BINS_A_PASS,
) -> None:
    """Train fresh adapters; `at_step` is called after every step with (step, of how many, optimizer, rate).

    `bins_a_pass` changes what is held in memory at once, and nothing else.
    """
    reset(layers, seed)
    device = layers[0].a.device
    parameters = [p for layer in layers for p in (layer.a, layer.b)]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=device.type == "cuda")
    steps = steps_of(examples, seed, loss_on_prompt, bins_a_pass)[:max_steps]
    for number, step in enumerate(steps):
        rate = RATE * rate_share(number, len(steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        n_tokens = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in step)
        for batch in step:
            nll, _ = token_losses(model, batch, device)
            (nll.sum() / n_tokens).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if at_step is not None:
            at_step(number + 1, len(steps), optimizer, rate)
    for parameter in parameters:
        parameter.requires_grad_(False)


def rate_share(step: int, steps: int) -> float:
    """Return the share of the learning rate at `step` (from 0): ten steps of warm-up, then a half cosine to 0."""
    if step < WARMUP:
        return (step + 1) / (WARMUP + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def gradient(model: Any, layers: Sequence[Lora], examples: Sequence[EncodedExample]) -> list[torch.Tensor]:
    """Return the gradient of the mean loss a token over some rows, for every adapter's A and B."""
    parameters = [p for layer in layers for p in (layer.a, layer.b)]
    total, n_tokens = [torch.zeros_like(p) for p in parameters], 0
    for _, batch in batches(examples):
        nll, _ = token_losses(model, batch, layers[0].a.device)
        n_tokens += len(nll)
        for place, g in enumerate(torch.autograd.grad(nll.sum(), parameters)):
            total[place] += g
    return [g / n_tokens for g in total]


def influences(
    model: Any, layers: Sequence[Lora], directions: Sequence[torch.Tensor], examples: Sequence[EncodedExample]
) -> NDArray[np.float64]:
    """Return <gradient of each example's summed loss, each direction> (examples x K), by one backward pass a batch.

    `directions` has, for every adapter, K directions of its A (K x r x in), then of its B (K x out x r).
    """
    device, k = layers[0].a.device, len(directions[0])
    of_layer = {id(layer): (directions[2 * i], directions[2 * i + 1]) for i, layer in enumerate(layers)}
    scores = np.zeros((len(examples), k))
    hook = model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_(True))
    try:
        for places, batch in batches(examples):
            sums = torch.zeros(len(places) + 1, k, device=device)  # the last is for padding, which has no loss
            ids = batch["sample_ids"].reshape(-1).to(device)
            probe = Probe(of_layer, torch.where(ids < 0, len(places), ids), sums)
            for layer in layers:
                layer.probe = probe
            nll, _ = token_losses(model, batch, device)
            nll.sum().backward()  # type: ignore[no-untyped-call]
            scores[places] = sums[:-1].double().cpu().numpy()
    finally:
        hook.remove()
        for layer in layers:
            layer.probe = None
    return scores
