"""The statistics and the page of the study "which rows?": right values on made lines, nothing that was not measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.which_rows_lines import Lines
from benchmarks.which_rows_page import measure, with_model, write_page
from benchmarks.which_rows_picks import Rows
from benchmarks.which_rows_results import Results, kept_lines
from evaluate_suite.config import StudyConfig
from evaluate_suite.study.request import build_request


def made_lines(plan: Path, folder: Path) -> Path:
    """Lines of six draws: `target-words` 4% below random on codegen, half of what codegen's own rows give; in
    distribution one selector 1% worse and one like random."""
    rows = Rows(plan)
    tokens = rows.data["lengths"][rows.held_out] - 4
    source = rows.data["source"][rows.held_out]
    rng = np.random.default_rng(5)
    lines = []
    for draw in range(6):
        luck = 0.002 * rng.standard_normal()
        for name, target, budget, level in (
            ("random", None, 300, 1.0), ("random", None, 150, 1.05), ("random", None, 600, 0.9),
            ("kmeans", None, 300, 1.0), ("shortest", None, 300, 1.01), ("target-words", "codegen", 300, 0.96),
            ("only that source", "codegen", 300, 0.92),
        ):  # fmt: skip
            own = 0.0003 * rng.standard_normal() if name != "random" else 0.0
            levels = np.where((source == target) | (target is None), level, 1.03) + luck + own
            lines.append(
                {"cell": name, "target": target, "draw": draw, "budget": budget, "tokens": budget,
                 "steered": 1.0 + luck, "H": (levels * tokens).tolist()}
            )  # fmt: skip
            if target is None:
                del lines[-1]["target"]
    lines.append({"cell": "kmeans", "draw": 9, "budget": 300, "failed": "out of memory"})
    file = folder / "results.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_effects_are_paired_by_draw_and_the_share_of_the_ceiling_is_a_ratio_over_draws(
    plan: Path, tmp_path: Path
) -> None:
    results = Results(plan, [made_lines(plan, tmp_path)])
    by_name = {effect.selector: effect for effect in results.effects("codegen")}
    words = by_name["target-words"]
    assert words.percent == pytest.approx(-4, abs=0.1)
    assert words.shown and words.low is not None and words.high is not None
    assert words.high - words.low < 0.3  # the draws' common luck, 0.2%, has fallen out
    assert words.share == pytest.approx(0.5, abs=0.02)
    assert words.worth == pytest.approx(np.exp(np.log(2) * 0.4), rel=0.05)  # 0.04 of the 0.1 from 300 to 600 tokens
    assert words.others == {"codealpaca": pytest.approx(3, abs=0.2), "stdlib": pytest.approx(3, abs=0.2)}
    plain = {effect.selector: effect for effect in results.effects(None)}
    assert plain["shortest"].percent == pytest.approx(1, abs=0.1) and plain["shortest"].shown
    assert not plain["kmeans"].shown
    assert len(results.failed) == 1


def test_what_a_run_lacks_is_taken_from_the_earlier_page_and_the_cells_that_are_kept_give_the_same_numbers(
    plan: Path, tmp_path: Path
) -> None:
    file = made_lines(plan, tmp_path)
    whole = measure(Results(plan, [file]), {}, "a test's card")
    own = [line for line in file.read_text().splitlines() if json.loads(line)["budget"] == 300]
    file.write_text("\n".join(own) + "\n")
    assert measure(Results(plan, [file]), {}, "a test's card")["doubling_percent"] is None
    later = Results(plan, [file], whole)
    numbers = measure(later, {}, "a test's card")
    for name in ("doubling_percent", "in_distribution", "targets", "random_curve"):
        assert numbers[name] == whole[name]
    assert numbers["earlier"] == {"cells": whole["cells"], "random_at": ["150", "600"], "parts": []}
    kept = tmp_path / "cells.jsonl.gz"
    kept.write_bytes(kept_lines(later))
    assert kept.read_bytes() == kept_lines(Results(plan, [kept]))
    lines = Lines()
    assert len(lines.of([kept])) == len(lines.of([kept])) == len(later.cells)
    again = measure(Results(plan, [kept], whole), {}, "a test's card")
    for one, other in zip(again["targets"]["codegen"], numbers["targets"]["codegen"], strict=True):
        assert one["percent"] == pytest.approx(other["percent"], abs=0.05)


def test_the_page_says_what_was_measured_and_nothing_else(plan: Path, tmp_path: Path) -> None:
    results = Results(plan, [made_lines(plan, tmp_path)])
    numbers = measure(results, {}, "a test's card")
    write_page(tmp_path, numbers)
    page = (tmp_path / "index.html").read_text()
    heads = ["Want rows like codegen's?", "Want no rows in particular? Take random"]
    assert [s[: len(head)] for s, head in zip(numbers["answers"], heads, strict=True)] == heads
    assert "target-words lowers the loss on codegen" in page and "Not measured." in page
    assert (tmp_path / "worth.png").is_file() and not (tmp_path / "loss-and-form.png").exists()
    assert "Another base model" not in page
    write_page(tmp_path, with_model(numbers, "gemma", results))
    page = (tmp_path / "index.html").read_text()
    line = re.search(r"<tr>(?:(?!</tr>).)*gemma.*?</tr>", page, re.DOTALL)
    assert line
    cells = re.sub(r"<[^>]+>|\s+", " ", line.group()).split()
    assert cells[:4] == ["gemma", "codegen", "300", "6"]
    words, only = (float(cell.rstrip("%")) for cell in cells[4:6])
    assert (words, only) == (pytest.approx(-4, abs=0.1), pytest.approx(-8, abs=0.1)) and cells[6] == "50%"
    after = page[page.index("without a target on another") :]
    plain = re.search(r"<tr>(?:(?!</tr>).)*shortest.*?</tr>", after, re.DOTALL)
    assert plain
    cells = re.sub(r"<[^>]+>|\s+", " ", plain.group()).split()
    assert cells[:4] == ["gemma", "shortest", "300", "6"] and float(cells[4].rstrip("%")) == pytest.approx(1, abs=0.1)
    empty = measure(Results(plan, []), {}, "none")
    assert empty["answers"] == [] and empty["in_distribution"] == []
    write_page(tmp_path, empty)
    assert "no answer yet" in (tmp_path / "index.html").read_text()


def test_the_study_file_beside_the_page_asks_for_a_study_that_can_be_planned() -> None:
    file = Path(__file__).parents[2] / "reports" / "which-1000-rows" / "study.yaml"
    request = build_request(StudyConfig(file=file))
    request.check()
    studied = [(v.strategy, v.target, v.pick_where) for v in request.variants()]
    assert len(studied) == 32
    assert ("target-words", "wanted-stdlib.jsonl", ()) in studied and ("random", None, ("source=stdlib",)) in studied
