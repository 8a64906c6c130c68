"""What the README shows works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ROWPICK_HOME": str(tmp_path / "home"),
        "WANDB_MODE": "disabled",
    }
    ran = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    verdict, page = ran.stdout.splitlines()[-2:]
    assert verdict == "too_short"
    assert (tmp_path / page).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)|src=\"([^\"]+)\"", text)
    assert [one or other for one, other in links if not (ROOT / (one or other)).exists()] == []
    assert len(links) > 10
