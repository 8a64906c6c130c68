"""Frozen projections that share an input, as one matrix, with their LoRA products folded into it.

With W the frozen weights stacked (n x k), A and B the adapters' thin matrices and s their scale, one matrix holds

    [ W  sB ]        and the activations carry a tail: the input [x, xA^T], the output's gradient [g, gsB].
    [ A   0 ]

Then `[x, xA^T] [W, sB]^T` is the adapted output and `[g, gsB] [W; A]` the input's gradient: one product each, and no
adapter adds a pass over activations. W is NF4 on the card; it is dequantised once and kept (frozen, so this is exact),
or, where memory is short, made for each use in a scratch matrix that all layers share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from finetune.kernels import ops
from finetune.kernels.dequantize import dequantize_into
from finetune.memory.kernel_memory import tail_width


@dataclass(frozen=True)
class Adapter:
    """One projection's LoRA: where its rows and its columns of the tail lie."""

    down: torch.Tensor  # A, r x in
    up: torch.Tensor  # B, out x r
    scale: float
    dropout: float
    row: int
    slot: int

    @property
    def rows(self) -> slice:
        """Of the stacked output."""
        return slice(self.row, self.row + self.up.shape[0])

    @property
    def columns(self) -> slice:
        """Of the tail."""
        return slice(self.slot, self.slot + self.up.shape[1])


@dataclass(frozen=True)
class Weights:
    """The one matrix, (n + tail) x (k + tail), and its parts as views."""

    whole: torch.Tensor
    height: int
    width: int

    @property
    def forward(self) -> torch.Tensor:
        """[W, sB], n x (k + tail)."""
        return self.whole[: self.height]

    @property
    def backward(self) -> torch.Tensor:
        """[W; A], (n + tail) x k."""
        return self.whole[:, : self.width]

    @property
    def down(self) -> torch.Tensor:
        """A^T, k x tail."""
        return self.whole[self.height :, : self.width].t()

    @property
    def up(self) -> torch.Tensor:
        """sB, n x tail."""
        return self.whole[: self.height, self.width :]


class Scratch:
    """One block of memory per device and dtype, in which uncached matrices are made one after the other."""

    def __init__(self) -> None:
        self._memory: dict[Any, torch.Tensor] = {}

    def matrix(self, rows: int, columns: int, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """rows x columns, holding whatever was there; valid until the next call."""
        key, wanted = (like.device, dtype), rows * columns
        if key not in self._memory or self._memory[key].numel() < wanted:
            self._memory[key] = like.new_empty(wanted, dtype=dtype)
        return self._memory[key][:wanted].view(rows, columns)


class Projection:
    """Linear layers that share an input, each with or without LoRA, quantised or not."""

    def __init__(self, modules: Sequence[Any], dtype: torch.dtype, scratch: Scratch) -> None:
        self.modules = [getattr(module, "base_layer", module) for module in modules]
        self.dtype, self._scratch = dtype, scratch
        self.width: int = self.modules[0].in_features
        self.height: int = sum(module.out_features for module in self.modules)
        self.adapters: list[Adapter] = []
        row = slot = 0
        for module, base in zip(modules, self.modules, strict=True):
            if hasattr(module, "lora_A"):
                name = module.active_adapters[0]
                down, up = module.lora_A[name].weight, module.lora_B[name].weight
                dropout = float(getattr(module.lora_dropout[name], "p", 0.0))
                self.adapters.append(Adapter(down, up, float(module.scaling[name]), dropout, row, slot))
                slot += len(down)
            row += base.out_features
        self.tail = tail_width(slot, max((adapter.dropout for adapter in self.adapters), default=0.0))
        self.folded = self.tail > 0
        self.bias = self._stack_bias()
        self._kept: Weights | None = None

    def _stack_bias(self) -> torch.Tensor | None:
        if all(module.bias is None for module in self.modules):
            return None
        device = self.modules[0].weight.device
        return torch.cat(
            [
                torch.zeros(m.out_features, dtype=self.dtype, device=device)
                if m.bias is None
                else m.bias.detach().to(device, self.dtype)
                for m in self.modules
            ]
        )

    @property
    def parameters(self) -> list[torch.Tensor]:
        """A, B, A, B, ... of the adapters, in order."""
        return [matrix for adapter in self.adapters for matrix in (adapter.down, adapter.up)]

    @property
    def bytes(self) -> int:
        """What the dequantised matrix takes."""
        return (self.height + self.tail) * (self.width + self.tail) * self.dtype.itemsize

    def keep(self) -> None:
        """Dequantise now and hold on to the matrix."""
        shape = (self.height + self.tail, self.width + self.tail)
        whole = torch.zeros(shape, dtype=self.dtype, device=self.modules[0].weight.device)
        self._fill(whole)
        self._kept = Weights(whole, self.height, self.width)

    def _fill(self, whole: torch.Tensor) -> None:
        row = 0
        for module in self.modules:
            dequantize_into(module, whole[row : row + module.out_features, : self.width])
            row += module.out_features

    def weights(self, changed: bool = True) -> Weights:
        """The matrix with the adapters as they are now; where it is not kept, valid until the next call on any.

        `changed` False says that the adapters are those of the last call.
        """
        weights = self._kept
        if weights is None:
            changed = True
            shape = (self.height + self.tail, self.width + self.tail)
            whole = self._scratch.matrix(*shape, self.modules[0].weight, self.dtype)
            weights = Weights(whole, self.height, self.width)
            whole[:, self.width :].zero_()
            whole[self.height :].zero_()
            self._fill(whole)
        if self.folded and changed:
            with torch.no_grad():
                for adapter in self.adapters:
                    weights.down[:, adapter.columns].t().copy_(adapter.down)
                    torch.mul(adapter.up, adapter.scale, out=weights.up[adapter.rows, adapter.columns])
        return weights

    def wide(self, tokens: int, output: bool = False) -> torch.Tensor:
        """An empty wide matrix for this projection's input, or for the gradient of its output."""
        body = self.height if output else self.width
        matrix: torch.Tensor = self.modules[0].weight.new_empty(tokens, body + self.tail, dtype=self.dtype)
        return matrix

    def forward(
        self, x: torch.Tensor, weights: Weights, drops: Sequence[torch.Tensor], out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The stacked output (tokens x n) for a wide x; `drops` holds the dropout mask of each adapter, if any."""
        if out is not None and self.bias is None:
            torch.mm(x, weights.forward.t(), out=out)
        elif out is not None and self.bias is not None:
            torch.addmm(self.bias, x, weights.forward.t(), out=out)
        else:
            out = F.linear(x, weights.forward, self.bias)
        if not self.folded:
            for i, adapter in enumerate(self.adapters):
                thin = _dropped(x, drops, i) @ adapter.down.to(x.dtype).t()
                out[:, adapter.rows].addmm_(thin, adapter.up.to(x.dtype).t(), alpha=_scale(adapter, drops))
        return out

    def draw_drops(self, x: torch.Tensor, training: bool) -> list[torch.Tensor]:
        """A mask (True: kept) over the input for each adapter with dropout; empty where nothing is dropped."""
        if not training or not any(adapter.dropout for adapter in self.adapters):
            return []
        shape = (len(x), self.width)
        return [torch.rand(shape, device=x.device) >= adapter.dropout for adapter in self.adapters]

    def backward(
        self, grad: torch.Tensor, x: torch.Tensor, weights: Weights, drops: Sequence[torch.Tensor], needs_input: bool,
        out: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:  # fmt: skip
        """(gradient of the input, or None; gradients of `parameters`) for wide `grad` and wide `x`.

        `out`, if given, takes the input's gradient; it may be the body of `x`, which is read before.
        """
        parameters: list[torch.Tensor] = []
        if self.folded:
            body, tail = grad[:, : self.height], grad[:, self.height :]
            d_down = _product(tail.t(), x[:, : self.width])
            d_up = _product(body.t(), x[:, self.width :])
            for a in self.adapters:
                parameters += [d_down[a.columns], d_up[a.rows, a.columns] * a.scale]
            return (torch.mm(grad, weights.backward, out=out) if needs_input else None), parameters
        thins = []
        for i, a in enumerate(self.adapters):
            dropped, scale = _dropped(x, drops, i), _scale(a, drops)
            thin = grad[:, a.rows] @ a.up.to(x.dtype) * scale
            thins.append(thin)
            back = _product(grad[:, a.rows].t(), dropped @ a.down.to(x.dtype).t())
            parameters += [_product(thin.t(), dropped), back * scale]
        if not needs_input:
            return None, parameters
        d_x = torch.mm(grad, weights.backward, out=out)
        for i, (a, thin) in enumerate(zip(self.adapters, thins, strict=True)):
            d_x += _dropped(thin @ a.down.to(x.dtype), drops, i)
        return d_x, parameters

    def fill_tail(self, wide: torch.Tensor, weights: Weights) -> None:
        """Put x A^T beside the x in a wide input."""
        if self.tail:
            ops.on(wide).project(wide[:, : self.width], weights.down, wide[:, self.width :])


def _dropped(x: torch.Tensor, drops: Sequence[torch.Tensor], i: int) -> torch.Tensor:
    """x without what adapter `i` drops, not scaled up: `_scale` does that, on thinner matrices."""
    return x * drops[i] if drops else x


def _scale(adapter: Adapter, drops: Sequence[torch.Tensor]) -> float:
    return adapter.scale / (1 - adapter.dropout) if drops else adapter.scale


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b with the result not rounded below float32: adapters' gradients."""
    if a.dtype in (torch.float32, torch.float64):
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()
