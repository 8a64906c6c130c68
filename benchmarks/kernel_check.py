"""Every Triton kernel beside its plain function: the largest error, and on a GPU time and bytes moved a second.

    python benchmarks/kernel_check.py [--tokens 8192]

The error is that of the worst row, ||kernel - plain in float32|| / ||plain in float32||, body and tail apart: a wrong
tail of one row is nothing beside the norm of the whole. bfloat16 rounds a result by up to 2^-8. A kernel that ever
gives other bits for the same tensors has the error infinity.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BOUND = {"float32": 1e-5, "bfloat16": 6e-3}
SMALL = {"tokens": 70, "hidden": 96, "middle": 160, "heads": 3, "kv_heads": 1, "width": 32, "vocabulary": 5000}
# Blocks of tokens that are not full and loops of several rounds, as in a real batch.
UNEVEN = {"tokens": 1998, "hidden": 640, "middle": 1408, "heads": 4, "kv_heads": 2, "width": 128, "vocabulary": 5000}
TAILS = (64, 128)
REPEATS = 40
LLAMA2_7B = {"hidden": 4096, "middle": 11008, "heads": 32, "kv_heads": 32, "width": 128, "vocabulary": 32000}


def cases(
    device: str, dtype: Any, sizes: dict[str, int], tail: int
) -> dict[str, tuple[list[Any], Callable[..., Any], int]]:
    """Name -> (tensors, call(module, *tensors) -> what it wrote, bytes a perfect kernel moves)."""
    import torch

    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, device=device, dtype=dtype, generator=generator)

    m, h, i = sizes["tokens"], sizes["hidden"], sizes["middle"]
    q_heads, kv_heads, d = sizes["heads"], sizes["kv_heads"], sizes["width"]
    length = m // 2
    angles = torch.rand(1, length, d // 2, device=device, generator=generator) * 6
    cos, sin = (torch.cat([f(angles)] * 2, -1).to(dtype).expand(2, -1, -1) for f in (torch.cos, torch.sin))
    stacked = (q_heads + 2 * kv_heads) * d
    inverse = torch.rand(m, device=device, generator=generator) + 0.5
    targets = torch.randint(0, sizes["vocabulary"], (m // 4,), device=device, generator=generator)
    size = dtype.itemsize

    def made(run: Any, name: str, shape: tuple[int, int], *inputs: Any) -> Any:
        out = torch.full(shape, float("nan"), device=device, dtype=inputs[0].dtype)
        getattr(run, name)(*inputs, out)
        return out

    def norm(run: Any, x: Any, w: Any) -> Any:
        out = torch.full_like(x, float("nan"))
        return torch.cat([out, run.rms_norm(x, w, 1e-5, out)[:, None].to(out.dtype)], 1)

    def norm_of_sum(run: Any, x: Any, w: Any, residual: Any) -> Any:
        out, x = torch.full_like(x, float("nan")), x.clone()
        inverse = run.rms_norm(x, w, 1e-5, out, residual)
        return torch.cat([x, out, inverse[:, None].to(out.dtype)], 1)

    def norm_back_in_place(run: Any, g: Any, x: Any, w: Any) -> Any:
        out = g.clone()
        run.rms_norm_backward(out, x, inverse, w, None, out)
        return out

    def rotate(run: Any, x: Any, c: Any, s: Any) -> Any:
        out = x.clone()
        run.rotate(out, c, s, q_heads + kv_heads)
        return out

    def in_place(run: Any, g: Any, gu: Any, w: Any) -> Any:
        out = torch.cat([gu, gu.new_full((m, tail), float("nan"))], 1)
        run.swiglu_backward_and_project(g, out[:, : 2 * i], w, out)
        return out

    def losses(run: Any, logits: Any) -> Any:
        out, nll = logits.clone(), torch.empty(len(logits), device=device)
        run.cross_entropy(out, targets, nll, True)
        return torch.cat([out, nll[:, None].to(out.dtype)], 1)

    thin = m * tail * size
    return {
        "project": ([draw(m, h), draw(tail, h).t()], lambda r, x, w: made(r, "project", (m, tail), x, w), m * h * size),
        "copy_and_project": (
            [draw(m, h), draw(h, tail)], lambda r, x, w: made(r, "copy_and_project", (m, h + tail), x, w),
            2 * m * h * size + thin,
        ),
        "rms_norm": ([draw(m, h), draw(h)], norm, 2 * m * h * size),
        "rms_norm of a sum": ([draw(m, h), draw(h), draw(m, h)], norm_of_sum, 4 * m * h * size),
        "rms_norm_backward": (
            [draw(m, h), draw(m, h), draw(h), draw(m, h)],
            lambda r, g, x, w, res: made(r, "rms_norm_backward", (m, h), g, x, inverse, w, res), 4 * m * h * size,
        ),
        "rms_norm of heads": ([draw(m * q_heads, d), draw(d)], norm, 2 * m * q_heads * d * size),
        "rms_norm_backward of heads, in place": (
            [draw(m, d), draw(m, d), draw(d)], norm_back_in_place, 3 * m * d * size,
        ),
        "rotate": (
            [draw(2, length, q_heads + 2 * kv_heads, d), cos, sin], rotate, 2 * m * (q_heads + kv_heads) * d * size,
        ),
        "rotate_back_and_project": (
            [draw(2, length, q_heads, d), draw(2, length, kv_heads, d), draw(2, length, kv_heads, d), cos, sin,
             draw(stacked, tail)],
            lambda r, *t: made(r, "rotate_back_and_project", (m, stacked + tail), *t), 2 * m * stacked * size + thin,
        ),
        "swiglu_and_project": (
            [draw(m, 2 * i), draw(tail, i).t()],
            lambda r, x, w: made(r, "swiglu_and_project", (m, i + tail), x, w), 3 * m * i * size + thin,
        ),
        "swiglu_backward_and_project": (
            [draw(m, i), draw(m, 2 * i), draw(2 * i, tail)], in_place, 5 * m * i * size + thin,
        ),
        "cross_entropy": ([draw(m // 4, sizes["vocabulary"])], losses, 2 * (m // 4) * sizes["vocabulary"] * size),
        "no_tail": (
            [draw(m, 2 * i), draw(i, 0)], lambda r, x, w: made(r, "swiglu_and_project", (m, i), x, w), 3 * m * i * size,
        ),
    }  # fmt: skip


def check_all(device: str, sizes: dict[str, int], timed: bool = False) -> dict[str, tuple[float, float]]:
    """Name -> (error, bound it must stay under); timings are printed as they are measured."""
    import torch

    from finetune.kernels import fused, plain

    errors: dict[str, tuple[float, float]] = {}
    dtypes = (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,)
    for dtype, tail in itertools.product(dtypes, TAILS):
        bound = BOUND[str(dtype).removeprefix("torch.")]
        if device == "cuda" and dtype == torch.float32:
            if tail > 64:
                continue  # float32 is never trained with these kernels, and such blocks do not fit
            bound = 4e-3  # Triton multiplies float32 in tf32
        for name, (tensors, call, moved) in cases(device, dtype, sizes, tail).items():
            found = call(fused, *tensors)
            expected = call(plain, *(t.float() for t in tensors))
            error = worst_row(found.float(), expected, tail if "and_project" in name else 0)
            again = [call(fused, *tensors) for _ in range(REPEATS if device == "cuda" and not timed else 1)]
            if not all(torch.equal(found, other) for other in again):
                error = float("inf")
            errors[f"{name} {dtype} tail {tail}"] = (error, bound)
            if timed and dtype == torch.bfloat16:
                times = time_kernel(partial(call, fused, *tensors), moved)
                print(json.dumps({"kernel": name, "tail": tail, "error": error} | times))
    return errors | check_dequantize(device, timed)


def worst_row(found: Any, expected: Any, tail: int) -> float:
    """Relative error of the worst row, of its body or of the `tail` columns after it; infinity where one is NaN."""
    width = expected.shape[-1] - tail
    worst = 0.0
    for part in (slice(0, width), slice(width, None)):
        a, b = (x.reshape(-1, x.shape[-1])[:, part] for x in (found, expected))
        if a.shape[1]:
            error = float(((a - b).norm(dim=1) / b.norm(dim=1)).max())
            worst = max(worst, error if error == error else float("inf"))
    return worst


def check_dequantize(device: str, timed: bool) -> dict[str, tuple[float, float]]:
    """Against bitsandbytes, to the bit, with and without double quantisation, into rows that lie apart."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    from finetune.kernels import fused

    errors = {}
    for nested in (True, False):
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        rows, columns = (12288, 4096) if timed else (96, 256)
        weight = torch.randn(rows, columns, device=device, dtype=dtype)
        packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=nested)
        out = torch.zeros(rows, columns + 64, device=device, dtype=dtype)[:, :columns]
        fused.dequantize(packed, state, out)
        differing = float((out != dequantize_4bit(packed, state)).float().mean())
        errors[f"dequantize nested={nested}"] = (differing, 0.0)
        if timed:
            moved = rows * columns * (dtype.itemsize + 0.5)
            for name, call in (
                ("dequantize", partial(fused.dequantize, packed, state, out)),
                ("bitsandbytes", partial(dequantize_4bit, packed, state)),
            ):
                print(json.dumps({"kernel": name, "nested": nested} | time_kernel(call, moved)))
    return errors


def time_kernel(call: Callable[[], Any], moved: float) -> dict[str, float]:
    """Median milliseconds of the call, and the bytes a perfect kernel moves over that time (clones included)."""
    from triton.testing import do_bench

    milliseconds = do_bench(call, warmup=10, rep=40, return_mode="median")
    return {"ms": round(milliseconds, 4), "gb_per_s": round(moved / milliseconds / 1e6)}


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    errors = check_all(device, SMALL)
    if device == "cuda":
        errors |= {f"{name}, uneven": value for name, value in check_all(device, UNEVEN).items()}
        large = check_all(device, LLAMA2_7B | {"tokens": args.tokens}, timed=True)
        errors |= {f"{name} at 7B": value for name, value in large.items() if "float32" not in name}
    worst = {name: error for name, (error, bound) in errors.items() if not error <= bound}
    print(json.dumps({"checked": len(errors), "failed": worst, "errors": {k: v[0] for k, v in errors.items()}}))
    sys.exit(1 if worst else 0)


if __name__ == "__main__":
    main()
