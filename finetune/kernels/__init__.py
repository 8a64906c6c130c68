"""The QLoRA step of the Llama family where libraries leave speed on the table; `docs/speed.md` has the figures.

`plain` says in torch what every kernel computes and runs where there is no GPU; `fused` is the same in Triton;
`decoder` is a layer's forward and backward pass made of them; `patch` puts it into a model.
"""

from finetune.kernels.patch import accelerate_model

__all__ = ["accelerate_model"]
