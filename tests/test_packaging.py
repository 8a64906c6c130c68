"""The wheel works where no checkout is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = sysconfig.get_path("purelib")


def run(*words: str | Path, folder: Path, libraries: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": libraries, "ROWPICK_HOME": str(folder / "home")}
    shown = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.long
def test_a_wheel_selects_checks_and_judges_from_another_folder(tmp_path: Path) -> None:
    """The packages it depends on are those of this environment; Rowpick's own files come from the wheel alone."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, folder=tmp_path)
    (wheel,) = tmp_path.glob("rowpick-*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    programs = tmp_path / "env" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    run(*pip, "install", "--no-deps", wheel, folder=tmp_path)
    where = run(
        programs / "python", "-c", "import curate; print(curate.__file__)", folder=tmp_path, libraries=LIBRARIES
    )
    assert Path(where.strip()).is_relative_to(tmp_path / "env")
    rows = [{"instruction": f"Print {n}.", "output": f"print({n})"} for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--dataset", "rows.jsonl", "--model", "smollm2-135m", "--strategy", "random", "--encoder", "tfidf",
             "--near-duplicate", "1", "--k", "60"]  # fmt: skip
    selection = Path(run(programs / "curate", "select", *asked, folder=tmp_path, libraries=LIBRARIES).strip())
    assert len((tmp_path / selection / "selected.jsonl").read_text().splitlines()) == 60
    settings = ("warmup_steps=0", "gradient_accumulation_steps=1", "per_device_train_batch_size=1", "eval_steps=1")
    checked = run(
        programs / "finetune", "check", "--preset", "cpu-demo", *settings, folder=tmp_path, libraries=LIBRARIES
    )
    assert checked.startswith("0 of ")
    history = [{"step": step, "train_loss": 2 / step, "eval_loss": 1 + 1 / step} for step in range(1, 30)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    assert run(programs / "evalsuite", "verdict", "history.jsonl", folder=tmp_path, libraries=LIBRARIES).strip() != ""
