"""Pools of any size whose rows have real lengths: every row has the shape of a real one and lines of many others.

    python benchmarks/recombined_pool.py FOLDER --rows 1000000 --data ../shared/data

A row takes the number of lines of a real row's instruction and output and fills them with lines drawn from all real
rows, so that lengths, words and line structure are real while two rows share few lines. Planted beside them: 3% exact
duplicates and 3% near-duplicates (one line of the output replaced). Written as Parquet shards of 50,000 rows.
This is made data: what it says of speed holds for rows of these lengths; it says nothing of picks.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

SHARD_ROWS = 50_000
_FILES = ("codealpaca-2k.jsonl", "codegen-4.5k.jsonl")


class Recombiner:
    """Draws rows from the lines of the real rows in `data`."""

    def __init__(self, data: Path, seed: int | list[int]) -> None:
        real = [json.loads(line) for name in _FILES for line in (data / name).read_text().splitlines()]
        self.rng = np.random.default_rng(seed)
        self.shapes = [
            (max(1, row["instruction"].count("\n") + 1), max(1, row["output"].count("\n") + 1)) for row in real
        ]
        self.asked = sorted({line for row in real for line in row["instruction"].split("\n")})
        self.answered = sorted({line for row in real for line in row["output"].split("\n")})

    def shard(self, n_rows: int) -> tuple[list[str], list[str]]:
        """Instructions and outputs of `n_rows` rows, the planted duplicates among them."""
        shapes = [self.shapes[i] for i in self.rng.integers(len(self.shapes), size=n_rows)]
        asked = iter(self.rng.integers(len(self.asked), size=sum(a for a, _ in shapes)).tolist())
        answered = iter(self.rng.integers(len(self.answered), size=sum(b for _, b in shapes)).tolist())
        instructions = ["\n".join(self.asked[next(asked)] for _ in range(a)) for a, _ in shapes]
        outputs = ["\n".join(self.answered[next(answered)] for _ in range(b)) for _, b in shapes]
        kinds = self.rng.random(n_rows)
        sources = self.rng.integers(n_rows, size=n_rows).tolist()
        for i in np.flatnonzero(kinds < 0.06).tolist():
            instructions[i], outputs[i] = instructions[sources[i]], outputs[sources[i]]
            if kinds[i] < 0.03:
                lines = outputs[i].split("\n")
                lines[int(kinds[i] * 1e9) % len(lines)] = self.answered[int(kinds[i] * 1e9) % len(self.answered)]
                outputs[i] = "\n".join(lines)
        return instructions, outputs


def write_recombined_pool(folder: Path, n_rows: int, data: Path, seed: int = 0, processes: int = 1) -> Path:
    """Write `n_rows` rows as shards below `folder`; one that is there already is kept. Every shard has a seed of its
    own, so that a smaller pool of whole shards is the beginning of a larger one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [
        (folder / f"rows-{number:04}.parquet", min(SHARD_ROWS, n_rows - start), data, [seed, number])
        for number, start in enumerate(range(0, n_rows, SHARD_ROWS))
    ]
    missing = [shard for shard in shards if not shard[0].exists()]
    if processes == 1 or len(missing) < 2:
        list(map(_write_shard, missing))
    else:
        with ProcessPoolExecutor(processes) as pool:
            list(pool.map(_write_shard, missing))
    return folder


def _write_shard(shard: tuple[Path, int, Path, list[int]]) -> None:
    path, n_rows, data, seed = shard
    columns = dict(zip(("instruction", "output"), Recombiner(data, seed).shard(n_rows), strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of real rows")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(write_recombined_pool(args.folder, args.rows, args.data, args.seed))


if __name__ == "__main__":
    main()
