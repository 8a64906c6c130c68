"""One decoder layer of the Llama family with LoRA as a single step of autograd, forward and backward by hand.

Written out, the backward pass needs no copy that autograd would make: gradients are formed where the next product reads
them, norms and rotations have no weights to train, and a layer either keeps what its forward pass made or, where memory
is short, only its input, and makes the rest again (all but the last product, which nothing needs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetune.attention import Segments, attend
from finetune.kernels import ops
from finetune.kernels.projection import Projection, Weights


@dataclass
class Layer:
    """A decoder layer's frozen parts and adapters. `keeps` says whether its activations wait for the backward pass."""

    qkv: Projection
    output: Projection
    gate_up: Projection
    down: Projection
    first_norm: torch.Tensor
    second_norm: torch.Tensor
    eps: float
    heads: int
    kv_heads: int
    head_width: int
    scale: float
    window: int | None = None  # how far a token sees; None where it sees all before it
    turns: bool = True  # whether q and k are rotated by their positions; some layers of SmolLM3 are not
    head_norms: tuple[torch.Tensor, torch.Tensor] | None = None  # of q and k, in families that norm each head
    keeps: bool = True

    @property
    def projections(self) -> tuple[Projection, Projection, Projection, Projection]:
        """In the order of the forward pass."""
        return (self.qkv, self.output, self.gate_up, self.down)

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Every trained matrix of the layer."""
        return [matrix for projection in self.projections for matrix in projection.parameters]

    def kept_bytes(self, tokens: int) -> int:
        """What the layer keeps for its backward pass when it keeps everything."""
        widths = (
            2 * self.first_norm.numel(), 2 * (self.qkv.width + self.qkv.tail), self.qkv.height, 2 * self.output.width,
            self.gate_up.height + self.gate_up.tail, self.down.width + self.down.tail,
            0 if self.head_norms is None else (self.heads + self.kv_heads) * self.head_width,
        )  # fmt: skip
        return sum(widths) * tokens * self.qkv.dtype.itemsize


@dataclass(frozen=True)
class Surroundings:
    """What all layers of one forward pass share: rotations (batch x length x d) and borders."""

    cos: torch.Tensor
    sin: torch.Tensor
    segments: Segments
    batch: int
    length: int
    dropping: bool  # dropout is on
    differentiable: bool  # a backward pass may follow


@dataclass
class Activations:
    """What the backward pass reads; fields are dropped as it is done with them."""

    x: torch.Tensor
    inverse: torch.Tensor
    normed: torch.Tensor | None  # wide, as the next ones; None where it is to be made again
    attention: Any  # q, k, v (leaves of their own small graph) and what came out
    unnormed: Any  # what the norms of heads read, and 1 / rms: of q, then of k; None where heads are not normed
    attended: torch.Tensor | None
    hidden: torch.Tensor
    hidden_inverse: torch.Tensor
    hidden_normed: torch.Tensor | None
    gate_up: torch.Tensor | None  # wide, its tail unused
    activated: torch.Tensor | None  # wide


Drops = Sequence[Sequence["torch.Tensor"]]


def compute_activations(
    layer: Layer, x: torch.Tensor, around: Surroundings, drops: Drops
) -> tuple[Activations, Weights]:
    """The forward pass up to the last product, and that product's weights; x is (tokens x hidden)."""
    run, tokens = ops.on(x), len(x)
    weights = layer.qkv.weights()
    normed: torch.Tensor | None
    attended: torch.Tensor | None
    normed, inverse = _norm(layer.qkv, weights, x, layer.first_norm, layer.eps)
    attention, unnormed = _attend(layer, layer.qkv.forward(normed, weights, drops[0]), around)

    weights = layer.output.weights()
    attended = layer.output.wide(tokens)
    run.copy_and_project(attention[3].detach().reshape(tokens, -1), weights.down, attended)
    hidden = layer.output.forward(attended, weights, drops[1])

    weights = layer.gate_up.weights()
    # `hidden` becomes the sum with x
    hidden_normed, hidden_inverse = _norm(layer.gate_up, weights, hidden, layer.second_norm, layer.eps, x)
    gate_up = layer.gate_up.wide(tokens, output=True)
    layer.gate_up.forward(hidden_normed, weights, drops[2], out=gate_up[:, : layer.gate_up.height])

    if not layer.keeps:  # quickly made again
        normed = attended = hidden_normed = None
    activated = layer.down.wide(tokens)
    weights = layer.down.weights()
    run.swiglu_and_project(gate_up[:, : layer.gate_up.height], weights.down, activated)
    activations = Activations(
        x, inverse, normed, attention, unnormed, attended, hidden, hidden_inverse, hidden_normed, gate_up, activated
    )
    return activations, weights


def _norm(
    projection: Projection, weights: Weights, x: torch.Tensor, weight: torch.Tensor, eps: float,
    residual: torch.Tensor | None = None,
) -> tuple[Any, torch.Tensor]:  # fmt: skip
    """(the normed x as wide input of `projection`, 1 / rms of each row); `residual` is first added to x in place."""
    wide = projection.wide(len(x))
    inverse = ops.on(x).rms_norm(x, weight, eps, wide[:, : projection.width], residual)
    projection.fill_tail(wide, weights)
    return wide, inverse


def _attend(layer: Layer, stacked: torch.Tensor, around: Surroundings) -> Any:
    """Norm and rotate q and k, then attend; a graph of its own reaches back to q, k and v where one is wanted.

    ((q, k, v, what came out), what the norms read) comes back. Without norms q and k are rotated inside `stacked`.
    """
    shape = (around.batch, around.length, layer.heads + 2 * layer.kv_heads, layer.head_width)
    heads = stacked.view(shape)
    parts = [part.detach() for part in torch.split(heads, [layer.heads, layer.kv_heads, layer.kv_heads], 2)]
    unnormed = None
    if layer.head_norms is not None:
        unnormed = [_norm_heads(part, weight, layer.eps) for part, weight in zip(parts, layer.head_norms, strict=False)]
        parts = [*(each[2] for each in unnormed), parts[2].contiguous()]
    if layer.turns:
        run = ops.on(stacked)
        if unnormed is None:
            run.rotate(heads, around.cos, around.sin, layer.heads + layer.kv_heads)
        else:
            for part in parts[:2]:
                run.rotate(part, around.cos, around.sin, part.shape[2])
    with torch.enable_grad():
        if around.differentiable:
            parts = [part.requires_grad_() for part in parts]
        q, k, v = parts
        out = attend(q, k, v, around.segments, layer.scale, layer.window)
    return (q, k, v, out), None if unnormed is None else [each[:2] for each in unnormed]


def _norm_heads(
    part: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(what was read, one head a line; 1 / rms of each; the normed heads in the shape of `part`)."""
    rows = part.reshape(-1, part.shape[-1])
    normed = torch.empty_like(rows)
    inverse = ops.on(rows).rms_norm(rows, weight, eps, normed)
    return rows, inverse, normed.view(part.shape)


def _leave_attention(
    layer: Layer, grads: Sequence[torch.Tensor], unnormed: Any, around: Surroundings, weight: torch.Tensor,
    wide: torch.Tensor,
) -> None:  # fmt: skip
    """Gradients of q, k and v as they came out of their projections, side by side in `wide`; its tail is filled."""
    run = ops.on(wide)
    if layer.turns and unnormed is None:
        run.rotate_back_and_project(*grads, around.cos, around.sin, weight, wide)
        return
    parts = list(grads)
    for place in range(2):
        part = parts[place].contiguous()
        if layer.turns:
            run.rotate(part, around.cos, -around.sin, part.shape[2])
        if unnormed is not None and layer.head_norms is not None:
            rows, inverse = unnormed[place]
            flat = part.view(-1, part.shape[-1])
            run.rms_norm_backward(flat, rows, inverse, layer.head_norms[place], None, flat)
        parts[place] = part
    run.copy_and_project(torch.cat(parts, 2).flatten(2).flatten(0, 1), weight, wide)


def compute_gradients(
    layer: Layer,
    activations: Activations,
    weights: Weights,
    grad: torch.Tensor,
    around: Surroundings,
    drops: Drops,
    needs_input: bool,
) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
    """(gradient of x or None, gradients of the layer's parameters) from that of the layer's output.

    `weights` are those of the last product. Uses up `activations`: its matrices are written over and let go where their
    last reader is done.
    """
    run, tokens = ops.on(grad), len(grad)
    wide = layer.down.wide(tokens, output=True)
    run.copy_and_project(grad, weights.up, wide)
    activated, activations.activated = activations.activated, None
    assert activated is not None and activations.gate_up is not None  # for the type checker: filled by the forward pass
    in_place = activated[:, : layer.down.width]  # read for the last time by this very call
    d_activated, d_down = layer.down.backward(wide, activated, weights, drops[3], True, out=in_place)
    del wide

    weights = layer.gate_up.weights(changed=False)
    gate_up, activations.gate_up = activations.gate_up, None
    run.swiglu_backward_and_project(d_activated, gate_up[:, : layer.gate_up.height], weights.up, gate_up)
    del d_activated, activated, in_place
    normed = _taken(activations, "hidden_normed")
    if normed is None:
        normed = _norm(layer.gate_up, weights, activations.hidden, layer.second_norm, layer.eps)[0]
    d_normed, d_gate_up = layer.gate_up.backward(gate_up, normed, weights, drops[2], True)
    del gate_up, normed

    weights = layer.output.weights(changed=False)
    wide = layer.output.wide(tokens, output=True)
    d_hidden = wide[:, : layer.output.height]
    run.rms_norm_backward(d_normed, activations.hidden, activations.hidden_inverse, layer.second_norm, grad, d_hidden)
    if layer.output.tail:
        run.project(d_hidden, weights.up, wide[:, layer.output.height :])
    *parts, out = _taken(activations, "attention")
    attended = _taken(activations, "attended")
    if attended is None:
        attended = layer.output.wide(tokens)
        run.copy_and_project(out.detach().reshape(tokens, -1), weights.down, attended)
    d_attended, d_output = layer.output.backward(wide, attended, weights, drops[1], True)
    del attended
    assert d_attended is not None
    d_parts = torch.autograd.grad(out, parts, d_attended.view(out.shape))
    del out, parts, d_attended
    weights = layer.qkv.weights(changed=False)
    d_stacked = layer.qkv.wide(tokens, output=True)
    _leave_attention(layer, d_parts, _taken(activations, "unnormed"), around, weights.up, d_stacked)
    del d_parts
    normed = _taken(activations, "normed")
    if normed is None:
        normed = _norm(layer.qkv, weights, activations.x, layer.first_norm, layer.eps)[0]
    d_normed, d_qkv = layer.qkv.backward(d_stacked, normed, weights, drops[0], needs_input)
    d_x = None
    if d_normed is not None:
        d_x = torch.empty_like(activations.x)
        run.rms_norm_backward(d_normed, activations.x, activations.inverse, layer.first_norm, d_hidden, d_x)
    return d_x, [*d_qkv, *d_output, *d_gate_up, *d_down]


def _taken(activations: Activations, name: str) -> Any:
    value = getattr(activations, name)
    setattr(activations, name, None)
    return value


def run_layer(layer: Layer, x: torch.Tensor, around: Surroundings) -> torch.Tensor:
    """The layer's output for x (batch x length x hidden), differentiable in x and the adapters."""
    return _function().apply(x, layer, around, *layer.parameters)  # type: ignore[no-any-return]


def _function() -> Any:
    """The autograd function, made on first use: importing this module does not import torch."""
    global _LAYER_FUNCTION
    if _LAYER_FUNCTION is None:

        class LayerFunction(torch.autograd.Function):
            """`compute_activations`, the last product and the residual; `compute_gradients`."""

            @staticmethod
            def forward(
                ctx: Any, x: torch.Tensor, layer: Layer, around: Surroundings, *parameters: torch.Tensor
            ) -> Any:
                with torch.autocast(x.device.type, enabled=False):
                    flat = x.reshape(-1, x.shape[-1])
                    drops = [projection.draw_drops(flat, around.dropping) for projection in layer.projections]
                    activations, weights = compute_activations(layer, flat, around, drops)
                    assert activations.activated is not None  # the backward pass alone lets go of it
                    out = layer.down.forward(activations.activated, weights, drops[3])
                    out += activations.hidden
                ctx.layer, ctx.around, ctx.drops = layer, around, drops
                ctx.activations = activations if layer.keeps and around.differentiable else None
                ctx.save_for_backward(x)
                return out.view(x.shape)

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx: Any, grad: torch.Tensor) -> Any:
                (x,), layer = ctx.saved_tensors, ctx.layer
                activations, ctx.activations = ctx.activations, None
                with torch.autocast(x.device.type, enabled=False):
                    if activations is None:
                        activations, weights = compute_activations(
                            layer, x.reshape(-1, x.shape[-1]), ctx.around, ctx.drops
                        )
                    else:
                        weights = layer.down.weights(changed=False)
                    flat = grad.reshape(-1, grad.shape[-1]).contiguous()
                    d_x, d_parameters = compute_gradients(
                        layer, activations, weights, flat, ctx.around, ctx.drops, ctx.needs_input_grad[0]
                    )
                return (None if d_x is None else d_x.view(x.shape), None, None, *d_parameters)

        _LAYER_FUNCTION = LayerFunction
    return _LAYER_FUNCTION


_LAYER_FUNCTION: Any = None
