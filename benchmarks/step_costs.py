"""CPU microseconds a row of every step of curation that is mapped over blocks, and what 100 million rows would take.

    python benchmarks/step_costs.py --data ../shared/data --rows 16384

One process, one thread, CPU time and not wall time, so that a busy machine matters little; rows as in
benchmarks/recombined_pool.py, static encoder, 62 clusters, 200 held-out rows, 1,000 picks. `estimate` multiplies: rows
x cost / cores, for 100 million rows on 32 nodes of 16 cores, at 0.7 of the cores' time (what workers reach beside their
siblings is measured by benchmarks/scale_workers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recombined_pool import write_recombined_pool
from benchmarks.scale_workers import CLUSTERS, put_at_rest
from curate.cleaning.exact_duplicates import KeyStep
from curate.cleaning.execution import CheckStep
from curate.cleaning.near_duplicates import BandStep
from curate.engines.cores import become_worker
from curate.engines.local import LocalEngine
from curate.tokens.pool_counts import CountStep, SpelledStep
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import load_tokenizer
from curate.vectors.clustering import AssignStep, LloydStep
from curate.vectors.embedding import EmbedStep, embed_pool
from curate.vectors.map_layout import PlaceStep
from curate.vectors.neighbours import NearestStep
from curate.vectors.pieces import pieces

NODES, CORES, SHARE, ROWS = 32, 16, 0.7, 100_000_000
LLOYD_STEPS = 20


def measure(rows: int, data: Path, tokenizer: Any, folder: Path) -> dict[str, float]:
    """CPU microseconds a row, by step."""
    costs: dict[str, float] = {}

    def timed(name: str, job: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = job()
        costs[name] = round((time.process_time() - start) / rows * 1e6, 1)
        return result

    pool = write_recombined_pool(folder / "pool", rows, data)
    table = timed("read Parquet and put at rest", lambda: put_at_rest(pool))
    places = np.arange(rows)
    timed("read a block's rows", lambda: table.read(places))
    CountStep(table, tokenizer, RAW)(places[:64])
    timed("count tokens", lambda: CountStep(table, tokenizer, RAW)(places))
    timed("look for control tokens", lambda: SpelledStep(table, tokenizer)(places))
    for check in ("empty", "refusals", "language", "parse"):
        CheckStep(table, check)(places[:8])
        timed(f"check {check}", lambda check=check: CheckStep(table, check)(places))  # type: ignore[misc]
    timed("exact keys", lambda: KeyStep(table)(places))
    timed("MinHash bands", lambda: BandStep(table)(places))
    embed_pool(LocalEngine(workers=1), table, places[:64], "static", "instruction", 32)
    vectors = timed("embed, static", lambda: EmbedStep(table, "static", "instruction", 32)(places))
    (piece,) = pieces(vectors, -(-rows // 4096))
    centres, everything = vectors[:CLUSTERS], np.ones(rows, dtype=bool)
    timed("distance to 200 held-out rows", lambda: NearestStep(vectors[:200])(piece))
    timed("one step of Lloyd", lambda: LloydStep(centres)((piece, everything)))
    timed("assign clusters", lambda: AssignStep(centres)(piece))
    timed("nearest of 1,000 picks", lambda: NearestStep(vectors[:1000])(piece))
    timed("place on the map", lambda: PlaceStep(centres, np.zeros((CLUSTERS, 2)))(piece))
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of real rows")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer counts")
    parser.add_argument("--rows", type=int, default=16_384)
    args = parser.parse_args()
    tokenizer = load_tokenizer(args.model)
    become_worker()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("ROWPICK_HOME", folder)
        costs = measure(args.rows, args.data, tokenizer, Path(folder))
    seconds_of = ROWS / (NODES * CORES * SHARE) / 1e6
    estimate = {
        name: round(cost * (LLOYD_STEPS if "Lloyd" in name else 1) * seconds_of) for name, cost in costs.items()
    }
    print(json.dumps({"rows": args.rows, "microseconds_a_row": costs, "estimate_seconds": estimate}, indent=2))


if __name__ == "__main__":
    main()
