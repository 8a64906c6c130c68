"""A pool of many real rows with no download: documented functions of the standard library and of installed packages.

    python benchmarks/mined_pool.py 80000 /tmp/pool.jsonl

Every documented function or method of the standard library and of every package installed beside it becomes one row, by
the miner behind `--dataset stdlib`. Rows that repeat another's text are left out. Where fewer than asked are found, the
rest are variations of them: the function and its arguments get other names and the request another wording. Prints how
many rows are of which kind. Also used by the benchmarks beside it.
"""

from __future__ import annotations

import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.sources.stdlib import load_stdlib, mine

_NAME = re.compile(r"\bdef (\w+)\(([\w, ]*)\)")
_OPENINGS = ("Please help me with this.", "For my project:", "Task:", "I want the following in Python.", "Hello!")


def mined_rows() -> Iterator[tuple[str, str, str]]:
    """(instruction, output, source), each text once: the standard library first, then packages by name."""
    seen = set()
    for row in load_stdlib().rows:
        if (row.instruction, row.output) not in seen:
            seen.add((row.instruction, row.output))
            yield row.instruction, row.output, f"stdlib/{row.source}"
    root = Path(sysconfig.get_paths()["purelib"])
    for path in sorted(root.rglob("*.py")):
        for pair in mine(path):
            if pair not in seen:
                seen.add(pair)
                yield (*pair, f"packages/{path.relative_to(root).parts[0]}")


def vary(instruction: str, output: str, rng: random.Random) -> tuple[str, str]:
    """The row with function and arguments renamed and the request reworded: a near-duplicate, as pools have them."""
    found = _NAME.search(output)
    names = (
        [found[1], *(name.strip() for name in found[2].split(",") if name.strip() not in ("", "self"))] if found else []
    )
    for name in names:
        new = f"{name}_{rng.choice(('value', 'item', 'data', 'new', 'other', 'result'))}{rng.randrange(100)}"
        instruction = re.sub(rf"\b{re.escape(name)}\b", new, instruction)
        output = re.sub(rf"\b{re.escape(name)}\b", new, output)
    opening = rng.choice(
        ("Please help me with this.", "For my project:", "Task:", "I want the following in Python.", "Hello!")
    )
    return f"{opening} {instruction}", output


def write_pool(path: Path, n_rows: int, seed: int = 0) -> dict[str, Any]:
    """Write `n_rows` rows as JSONL in a shuffled order; how many are of which kind comes back."""
    rng = random.Random(seed)
    rows = list(mined_rows())
    rng.shuffle(rows)
    real = rows[:n_rows]
    varied: list[tuple[str, str, str]] = []
    while len(real) + len(varied) < n_rows:
        instruction, output, source = rng.choice(real)
        varied.append((*vary(instruction, output, rng), f"varied/{source}"))
    pool = real + varied
    rng.shuffle(pool)
    with path.open("w", encoding="utf-8") as file:
        for instruction, output, source in pool:
            file.write(json.dumps({"instruction": instruction, "output": output, "source": source}) + "\n")
    stdlib = sum(source.startswith("stdlib/") for _, _, source in real)
    return {
        "rows": len(pool),
        "mined_from_stdlib": stdlib,
        "mined_from_packages": len(real) - stdlib,
        "varied": len(varied),
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "how": "documented functions of the installed library and packages; varied ones are renamed, reworded copies",
    }


if __name__ == "__main__":
    print(json.dumps(write_pool(Path(sys.argv[2]), int(sys.argv[1])), indent=2))
