"""How much of a batch is padding, packed in three ways, and how long packing takes beside TRL's own.

    ROWPICK_DATA=DIR python benchmarks/packing.py      # DIR holds codegen-4.5k.jsonl and llama2-tokenizer/

Prints JSON. Padding: share of the places of all batches that hold no token of a row, for best-fit decreasing (what
`finetune run` does), first-fit in the order given, and one row a bin; rows over the limit are left out and counted, as
a selection does. `cut` is what TRL's `bfd` cuts off those rows, in tokens. Without ROWPICK_DATA only `stdlib`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import count_tokens, load_tokenizer
from finetune.batches.packing import pack_examples
from finetune.config import load_config

ROWS_TIMED = 80_000
Bins = list[list[int]]


def first_fit(lengths: Sequence[int], max_length: int) -> Bins:
    """Each row, in the order given, into the first bin that still holds it."""
    bins: Bins = []
    rooms: list[int] = []
    for index, length in enumerate(lengths):
        place = next((i for i, room in enumerate(rooms) if room >= length), None)
        if place is None:
            rooms.append(max_length - length)
            bins.append([index])
        else:
            rooms[place] -= length
            bins[place].append(index)
    return bins


def one_row_a_bin(lengths: Sequence[int], max_length: int) -> Bins:
    """No packing."""
    return [[index] for index in range(len(lengths))]


PACKERS: dict[str, Callable[[Sequence[int], int], Bins]] = {
    "best-fit decreasing": pack_examples, "first-fit": first_fit, "none": one_row_a_bin,
}  # fmt: skip


def padding_share(lengths: Sequence[int], bins: Bins, batch: int) -> float:
    """Of the places of batches of `batch` bins, each as wide as its fullest bin."""
    filled = [sum(lengths[i] for i in places) for places in bins]
    batches = [filled[i : i + batch] for i in range(0, len(filled), batch)]
    return 1 - sum(filled) / sum(len(part) * max(part) for part in batches)


def measure(name: str, lengths: Sequence[int], max_length: int, batch: int) -> dict[str, Any]:
    fitting = [n for n in lengths if n <= max_length]
    shares = {}
    for packer, pack in PACKERS.items():
        bins = pack(fitting, max_length)
        shares[packer] = {
            "padding_share": padding_share(fitting, bins, batch),
            "unused_share_of_the_limit": 1 - sum(fitting) / (max_length * len(bins)) if packer != "none" else None,
            "bins": len(bins),
        }
    return {
        "rows": name, "max_length": max_length, "bins_a_batch": batch, "fitting": len(fitting),
        "over_the_limit": len(lengths) - len(fitting), "tokens": sum(fitting),
        "cut_by_trl_bfd": sum(n - max_length for n in lengths if n > max_length), "packers": shares,
    }  # fmt: skip


def seconds_of(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def time_packing(lengths: Sequence[int], max_length: int) -> dict[str, Any]:
    """Best of three for 80,000 rows, made by repeating the real lengths; TRL's packs the ids along, as it must."""
    import datasets
    from trl import pack_dataset

    many = [min(n, max_length) for n in (list(lengths) * (ROWS_TIMED // len(lengths) + 1))[:ROWS_TIMED]]
    rows = datasets.Dataset.from_dict({"input_ids": [[1] * n for n in many]})
    datasets.disable_progress_bars()
    ours = seconds_of(lambda: pack_examples(many, max_length))
    theirs = seconds_of(lambda: pack_dataset(rows, max_length, "bfd"))
    return {
        "rows": ROWS_TIMED, "max_length": max_length, "best_fit_seconds": ours, "trl_bfd_seconds": theirs,
        "bins": len(pack_examples(many, max_length)), "trl_bins": len(pack_dataset(rows, max_length, "bfd")),
    }  # fmt: skip


def main() -> None:
    from curate.sources.stdlib import load_stdlib

    results: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "padding": []}
    mined = [(row.instruction, row.output) for row in load_stdlib().rows]
    demo = load_config("cpu-demo")
    counts = count_tokens(load_tokenizer(demo.model), RAW, mined).tolist()
    results["padding"].append(measure("stdlib", counts, demo.max_length, 4))
    folder = os.environ.get("ROWPICK_DATA")
    if folder:
        rows = [json.loads(line) for line in (Path(folder) / "codegen-4.5k.jsonl").open(encoding="utf-8")]
        tokenizer = load_tokenizer("codegen", str(Path(folder) / "llama2-tokenizer"))
        counts = count_tokens(tokenizer, RAW, [(row["instruction"], row["output"]) for row in rows]).tolist()
        results["padding"].append(measure("codegen-4.5k", counts, 1024, 4))
    results["packing"] = time_packing(counts, 1024)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
