"""The notebook: its cells are Python as it stands, and from top to bottom they do what its text says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "rowpick.ipynb"
# Takes the place of IPython, which Colab has and this project does not need.
PRELUDE = """
import sys, types
shown = []
display = types.ModuleType("IPython.display")
display.HTML, display.display = str, shown.append
sys.modules["IPython"], sys.modules["IPython.display"] = types.ModuleType("IPython"), display
"""
SMALL = """
ROWS, MODEL, ENCODER, K, MAX_TOKENS = {rows!r}, {model!r}, "tfidf", 20, 96
SETTINGS = ["device=cpu", "load_in_4bit=false", "max_length=128", "eval_steps=2", "logging_steps=1", "eval_rows=4"]
MORE = ["max_steps=2", "report_eval_rows=4", "report_max_new_tokens=4"]
PROMPTS = {prompts!r}
"""
AFTER = """
from pathlib import Path
assert "<iframe srcdoc=" in shown[0] and len(shown) == 1
assert sorted(path.name for path in exported.path.iterdir()) == ["Modelfile", "model-f16.gguf"]
assert [line["step"] for line in run.history] == [0, 1]
"""


def cells() -> list[dict[str, Any]]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["accelerator"]) == (4, "GPU")
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_every_code_cell_is_python_and_holds_no_output_of_an_earlier_run() -> None:
    for cell in cells():
        compile("".join(cell["source"]), cell["id"], "exec")
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert [cell["id"] for cell in cells() if "parameters" in cell["metadata"].get("tags", [])] == ["cell-03"]


@pytest.mark.long
def test_the_cells_run_from_top_to_bottom_on_a_tiny_model(tmp_path: Path) -> None:
    from tests.finetune.conftest import build_tiny

    build_tiny(tmp_path / "tiny")
    rows = [{"instruction": f"Count to {n}", "output": f"print(list(range({n})))"} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "count to 3"}\n')
    small = SMALL.format(
        rows=str(tmp_path / "rows.jsonl"), model=str(tmp_path / "tiny"), prompts=str(tmp_path / "prompts.jsonl")
    )
    program = PRELUDE
    for cell in cells():
        program += "".join(cell["source"]) + "\n"
        program += small if "parameters" in cell["metadata"].get("tags", []) else ""
    (tmp_path / "cells.py").write_text(program + AFTER)
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ROWPICK_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "traps sprung" in done.stdout
