"""`density`: cluster, then thin the dense regions."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from curate.strategies.shares import take_shares
from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import each_block

_SAMPLE = 1024  # rows of a cluster that its density is estimated from
_BLOCK = 4096


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """k rows, every cluster in proportion to its size, drawn inside it with a chance that falls with the density.

    Tsai et al., 2024 (arXiv 2407.05040): embed, cluster, estimate each row's density by kernel density estimation, and
    prune the dense regions. Ours are: a Gaussian kernel inside each cluster, whose squared bandwidth is the mean of
    1 - cosine over the cluster's pairs; a chance of 1 / density, drawn without replacement (Efraimidis and Spirakis,
    2006); at most 1,024 rows of a cluster to estimate from. The paper reduces dimensions by PCA first, for speed, which
    is not needed here.
    """
    density = estimate_density(candidates, rng)
    # The smallest luck is drawn first, the largest key too.
    u = rng.random(len(candidates)) if candidates.luck is None else 1 - candidates.luck
    key = np.log(np.maximum(u, 1e-300)) * density  # log of u^(1/weight), weight 1/density
    places = candidates.open()
    by_key = places[np.argsort(-key[places], kind="stable")]
    order = take_shares(candidates, by_key, k)
    reasons = [f"cluster {candidates.labels[i]}: density {density[i]:.3f} of at most 1" for i in order]
    return Picks(order, reasons)


def estimate_density(candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
    """Mean Gaussian kernel, above 0 and at most 1, between every row and rows of its cluster: (n,), rounded to 1e-5."""
    density = np.ones(len(candidates))
    by_cluster = np.argsort(candidates.labels, kind="stable")
    edges = np.searchsorted(candidates.labels[by_cluster], np.arange(len(candidates.centres) + 1))
    for start, stop in itertools.pairwise(edges.tolist()):
        members = by_cluster[start:stop]
        if not len(members):
            continue
        sample = candidates.embeddings[rng.permutation(members)[:_SAMPLE]]
        spread = max(1e-6, 1 - float(np.square(sample.mean(axis=0, dtype=np.float64)).sum()))
        density[members] = _kernel_means(candidates.embeddings[members], sample, spread)
    return np.round(density, 5) + 1e-5


def _kernel_means(
    vectors: NDArray[np.float32], sample: NDArray[np.float32], squared_bandwidth: float
) -> NDArray[np.float64]:
    """Mean over `sample` of exp(-(1 - cosine) / squared_bandwidth): (n,)."""

    def mean(rows: slice) -> NDArray[np.float64]:
        cosine = np.minimum(vectors[rows] @ sample.T, 1)
        return np.asarray(np.exp((cosine - 1) / np.float32(squared_bandwidth)).mean(axis=1, dtype=np.float64))

    return np.concatenate(list(each_block(len(vectors), _BLOCK, mean)))
