"""A selection's name and reuse depend on all it was made from, as it was read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from curate.config import SelectConfig
from curate.engines import open_engine
from curate.pipeline import load
from curate.selection.steps import Stopwatch
from curate.selection.write import config_digest


def test_a_target_read_as_other_rows_is_another_selection(tmp_path: Path) -> None:
    rows = [{"instruction": f"Add {n} to x.", "output": f"return x + {n}"} for n in range(12)]
    for name, some in (("rows.jsonl", rows), ("wanted.jsonl", rows[:2])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in some))
    config = SelectConfig(
        dataset=str(tmp_path / "rows.jsonl"), target=str(tmp_path / "wanted.jsonl"), strategy="target-words",
        model="smollm2-135m", k=4,
    )  # fmt: skip
    with open_engine("local") as engine:
        pool = load(config, Stopwatch(), engine)
    other = replace(pool, target_rows=pool.target_rows[:1])
    assert config_digest(pool) == config_digest(replace(pool)) != config_digest(other)
