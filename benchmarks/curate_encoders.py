"""What picks made in a cheaper encoder's space are worth in MiniLM's, beside what each encoder costs.

    python benchmarks/curate_encoders.py                              # stdlib, 4,000 rows, about 2 minutes on 2 cores
    python benchmarks/curate_encoders.py --data DIR --rows 4000       # a mix of the three pools

Facility location picks k rows in each encoder's space; their value (the mean cosine of each row to its nearest pick) is
then measured in MiniLM's space of what is embedded. `kept` is that value's share of the way from random picks (mean of
20 draws) to picks made in MiniLM's space itself. `kmeans` is measured alike. Rows per CPU second are less moved by
other work on the machine than rows per second. DIR (default $ROWPICK_DATA) holds codegen-4.5k.jsonl and
codealpaca-2k.jsonl. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.defaults import EMBED_CHOICES, MINILM, STATIC, TFIDF
from curate.pool.rows import Row
from curate.sources import load_rows
from curate.vectors.embedding import text_to_embed, unit_rows
from curate.vectors.encoders import load_encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRATEGIES_TRIED = ("facility-location", "kmeans")
RANDOM_DRAWS = 20


def rows_of(data: Path | None, n_rows: int, seed: int) -> list[Row]:
    """A random sample in row_id order, each row once."""
    rows = list(load_rows("stdlib").rows)
    for name in ("codegen-4.5k.jsonl", "codealpaca-2k.jsonl") if data else ():
        rows = rows + list(load_rows(str(data / name)).rows) if data else rows
    distinct = sorted({row.row_id: row for row in rows}.values(), key=lambda row: row.row_id)
    sample = random.Random(seed).sample(distinct, min(n_rows, len(distinct)))
    return sorted(sample, key=lambda row: row.row_id)


def encode(name: str, rows: Sequence[Row], embed: str) -> tuple[NDArray[np.float32], float, float]:
    """Unit vectors, seconds and CPU seconds, loading left out."""
    encoder = load_encoder(name, 32)
    texts = [text_to_embed(row, embed) for row in rows]
    started, cpu_started = time.perf_counter(), time.process_time()
    vectors = unit_rows(encoder.encode(texts, lambda n: None))
    return vectors, time.perf_counter() - started, time.process_time() - cpu_started


def pick(strategy: str, vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """k rows that a strategy picks by these vectors alone."""
    import numpy as np

    from curate.strategies.table import STRATEGIES
    from curate.strategies.types import Candidates
    from curate.vectors.clustering import build_clusters, default_n_clusters

    n = len(vectors)
    labels, centres = build_clusters(vectors, default_n_clusters(n, k), np.random.default_rng(0))
    one = np.ones(n, dtype=np.int32)
    candidates = Candidates(vectors, labels, centres, one, one, one, np.arange(n))
    return STRATEGIES[strategy].bind({})(candidates, k, np.random.default_rng(0)).indices


def value(vectors: NDArray[np.float32], picks: NDArray[np.int64]) -> float:
    """The facility-location value of picks, by row."""
    return float((vectors @ vectors[picks].T).max(axis=1).mean())


def measure(rows: Sequence[Row], embed: str, k: int) -> dict[str, Any]:
    """One table: encoders by what their picks keep."""
    import numpy as np

    encoded = {name: encode(name, rows, embed) for name in (MINILM, STATIC, TFIDF)}
    judge = encoded[MINILM][0]
    rng = np.random.default_rng(0)
    chance = float(np.mean([value(judge, rng.choice(len(rows), k, replace=False)) for _ in range(RANDOM_DRAWS)]))
    table: dict[str, Any] = {"random_value": round(chance, 4)}
    for name, (vectors, seconds, cpu_seconds) in encoded.items():
        table[name] = {
            "rows_per_second": round(len(rows) / seconds),
            "rows_per_cpu_second": round(len(rows) / cpu_seconds),
            "dimensions": vectors.shape[1],
        }
        for strategy in STRATEGIES_TRIED:
            table[name][strategy] = {"value": round(value(judge, pick(strategy, vectors, k)), 4)}
    for name in encoded:
        for strategy in STRATEGIES_TRIED:
            best = table[MINILM][strategy]["value"]
            entry = table[name][strategy]
            entry["share_of_value"] = round(entry["value"] / best, 4)
            entry["kept"] = round((entry["value"] - chance) / (best - chance), 3) if best > chance else None
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ROWPICK_DATA"))
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--k", type=int, default=400)
    parser.add_argument("--embed", default="instruction", help=f"comma-separated: {', '.join(EMBED_CHOICES)}")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = rows_of(Path(args.data) if args.data else None, args.rows, args.seed)
    result: dict[str, Any] = {"rows": len(rows), "k": args.k, "load_before": round(os.getloadavg()[0], 1)}
    for embed in args.embed.split(","):
        result[embed] = measure(rows, embed, args.k)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
