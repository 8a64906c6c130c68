"""The unbiased pass@k of Chen et al. 2021, "Evaluating Large Language Models Trained on Code", section 2.1."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb

from curate.errors import UsageError


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance (0 to 1) that one of `k` samples passes, when `c` of `n` did: 1 - C(n-c, k) / C(n, k), exactly."""
    if k < 1 or n < k or not 0 <= c <= n:
        raise UsageError(f"pass@{k} of {c} passes in {n} samples has no value.", "k lies in 1 .. n and c in 0 .. n.")
    return float(1 - Fraction(comb(n - c, k), comb(n, k)))


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """The mean over tasks of `pass_at_k`, for (n, c) per task; tasks with fewer than `k` samples are left out.

    None when no task has `k` samples: the mean of nothing is not zero.
    """
    values = [pass_at_k(n, c, k) for n, c in counts if n >= k]
    return sum(values) / len(values) if values else None
