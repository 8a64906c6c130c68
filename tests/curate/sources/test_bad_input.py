"""Rows, caches and encoders as they should not be: each is dealt with, or told in one line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.artifact.array_cache import cached_array
from curate.cli import main
from curate.errors import UserError
from curate.pool.rows import build_row
from curate.selection.record import read_selection
from curate.vectors import embedding
from curate.vectors.encoders import Encoder

FEW = [
    {"instruction": f"print the word number {i} {'x' * (i % 5)}", "output": f"print({i}, 'word')"} for i in range(60)
]


def write_pool(tmp_path: Path, *more: dict[str, str]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*FEW, *more]))
    return path


def run(pool: Path, out: Path, *more: str) -> int:
    return main(
        ["select", "--dataset", str(pool), "--model", "smollm2-135m", "--encoder", "tfidf",
         "--near-duplicate", "0.9999", "--k", "10", "--clean", "all", "--out", str(out), *more]
    )  # fmt: skip


@pytest.mark.long
def test_a_row_of_five_megabytes_is_too_long_and_does_no_harm(tmp_path: Path) -> None:
    huge = {"instruction": "Write a Python program.", "output": "x = [\n" + "    1, 2,\n" * 500_000 + "]\n"}
    assert len(huge["output"]) > 5_000_000
    assert run(write_pool(tmp_path, huge), tmp_path / "s", "--decontaminate", str(benchmark(tmp_path))) == 0
    assert read_selection(tmp_path / "s").manifest.counts["excluded.too_long"] == 1


def benchmark(tmp_path: Path) -> Path:
    path = tmp_path / "mbpp.jsonl"
    path.write_text('{"task_id": 1, "text": "Add.", "code": "def add(a, b):\\n  return a + b", "test_list": []}')
    return path


@pytest.mark.parametrize(
    "text", ["a\0b", "\x1b[31mred\x07", "\ud800 lone", "\u2028 line \u0085 end \x0c", "\ufeffmark"]
)
def test_control_characters_and_lone_surrogates_come_through_to_the_letter(text: str, tmp_path: Path) -> None:
    odd = {"instruction": f"odd one {text}", "output": f"print(1)  # {text}"}
    assert run(write_pool(tmp_path, odd), tmp_path / "s", "--strategy", "first", "--k", "40", "--holdout", "0") == 0
    assert run(write_pool(tmp_path, odd), tmp_path / "all", "--k", str(count(tmp_path / "s")), "--holdout", "0") == 0
    selected = {(row.instruction, row.output) for row in read_selection(tmp_path / "all").selected}
    assert (odd["instruction"], odd["output"]) in selected


def test_inspect_prints_json_of_a_row_with_a_lone_surrogate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"instruction": "odd one \ud800", "output": "print(1)"}
    assert run(write_pool(tmp_path, odd), tmp_path / "s", "--holdout", "0") == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "s"), "--row", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["instruction"] == "odd one \ud800"


def count(selection: Path) -> int:
    counts = read_selection(selection).manifest.counts
    return counts["selected"] + counts.get("not_picked", 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_without_a_direction_are_an_error_that_names_the_encoder_option(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(texts: Sequence[str], advance: object) -> Any:
        vectors = np.ones((len(texts), 4), dtype=np.float32)
        vectors[2] = bad
        return vectors

    monkeypatch.setattr(embedding, "load_encoder", lambda name, batch: Encoder(name, "digest", encode))
    with pytest.raises(UserError, match=r"1 vectors that are zero, infinite or not numbers \(first at row 2\)"):
        embedding.embed_rows([build_row(i, f"a{i}", "b", "t") for i in range(5)], "own")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"junk" * 1000, None])
def test_a_cache_file_that_is_cut_short_is_computed_again_and_said(
    content: bytes | None, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []

    def compute() -> Any:
        made.append(1)
        return np.arange(1000, dtype=np.float32)

    def get() -> Any:
        return cached_array("embeddings", "key", "vectors", lambda a: a.shape == (1000,), compute)

    get()
    path = own_home / "cache" / "embeddings" / "key.npy"
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    assert get().tolist() == list(range(1000))
    assert "were damaged; computing them again" in capsys.readouterr().err
    assert get().tolist() == list(range(1000))
    assert made == [1, 1]


def _use_cache(home: str, log: str) -> None:
    os.environ["ROWPICK_HOME"] = home

    def compute() -> Any:
        with Path(log).open("a") as file:
            file.write("computed\n")
        time.sleep(0.5)
        return np.arange(10, dtype=np.float32)

    got = cached_array("embeddings", "key", "vectors", lambda array: len(array) == 10, compute)
    raise SystemExit(got.tolist() != list(range(10)))


@pytest.mark.long
def test_processes_that_want_the_same_array_at_once_compute_it_once(tmp_path: Path, own_home: Path) -> None:
    context = get_context("spawn")
    log = tmp_path / "log"
    processes = [context.Process(target=_use_cache, args=(str(own_home), str(log))) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "computed\n"
    assert not list((own_home / "cache" / "embeddings").glob("*.part"))
