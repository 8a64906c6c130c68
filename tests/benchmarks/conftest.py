"""A plan of the study "which rows?" in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.which_rows_cells import SOURCES, all_cells
from benchmarks.which_rows_picks import Rows


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of 90 made rows of three sources, with the cells of two draws."""
    folder = tmp_path_factory.mktemp("plan")
    rng = np.random.default_rng(1)
    n = 120
    lengths = rng.integers(8, 30, size=n).astype(np.int32)
    role = np.array(["H"] * 9 + ["V"] * 21 + ["pool"] * 90)
    vectors = rng.standard_normal((n, 8))
    v, source = np.flatnonzero(role == "V"), np.array([SOURCES[i % 3] for i in range(n)])
    np.savez(
        folder / "rows.npz", ids=rng.integers(3, 900, size=lengths.sum()).astype(np.uint16), lengths=lengths,
        prompt_lengths=np.full(n, 4, dtype=np.int32), prompt_chars=rng.integers(5, 60, size=n).astype(np.int32),
        output_chars=rng.integers(5, 60, size=n).astype(np.int32), source=source, role=role,
        row_ids=np.array([f"r{i:03}" for i in range(n)]), vectors=vectors.astype(np.float16),
        labels=rng.integers(4, size=90).astype(np.int32), centres=vectors[:4].astype(np.float32),
        form=rng.choice([0.5, 1.0], size=90), odds=rng.standard_normal((20, 3, 90)).astype(np.float32),
        prompt_odds=rng.standard_normal((20, 3, 90)).astype(np.float32),
        targets=np.array([[v[source[v] == s][:4] for s in SOURCES]] * 20),
    )  # fmt: skip
    record = {
        "sources": SOURCES, "near_duplicate": 0.95, "budget": 300, "end_token": 2,
        "prompts": {"p1": [5, 6, 7], "p2": [8, 9]}, "humaneval": {"h1": [5, 6]}, "mbpp": {"m1": [7]},
        "cells": [],
    }  # fmt: skip
    (folder / "cells.json").write_text(json.dumps(record))
    cells = [
        cell | ({"budget": 150} if cell["cell"] == "proxy" else {})
        for cell in all_cells(4, 300, np.full(18, 1 / 18), Rows(folder).feature_names())
        if (cell["budget"] or 0) <= 600 or cell.get("proxy")
    ]
    (folder / "cells.json").write_text(json.dumps(record | {"cells": cells}))
    return folder
