"""The five commands from a file of conversations to Ollama, as they stand in the docs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.finetune.conftest import build_tiny

ROOT = Path(__file__).parents[1]
PAGES = ("docs/from-file-to-ollama.md", "README.md")


def commands_of(page: str) -> list[str]:
    """The lines of the page's first block that begins with a selection from conversations."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(
        r"(?:^|\n) *(curate select --dataset conversations\.json.*?ollama create [^\n]*)", text, re.DOTALL
    )[0].split("\n")


def test_readme_and_docs_show_the_same_five_commands() -> None:
    one, other = ([line.strip() for line in commands_of(page)] for page in PAGES)
    assert one == other
    assert [line.split()[0] for line in one] == ["curate", "finetune", "evalsuite", "finetune", "ollama"]


@pytest.mark.long
def test_the_commands_lead_from_a_sharegpt_file_to_a_modelfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tiny model in place of the hub's, and settings for a CPU in place of the card's."""
    from curate.cli import main as curate
    from evaluate_suite.cli import main as evalsuite
    from finetune.cli import main as finetune

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROWPICK_HOME", "artifacts")
    build_tiny(tmp_path / "tiny")
    talks = [
        {"conversations": [{"from": "human", "value": f"Count to {n}"}, {"from": "gpt", "value": f"print(range({n}))"}]}
        for n in range(60)
    ]
    Path("conversations.json").write_text(json.dumps(talks))
    Path("prompts.jsonl").write_text('{"prompt": "count to 3"}\n')
    select, run, report, export, ollama = map(shlex.split, commands_of(PAGES[0]))
    select[select.index("--model") + 1], select[select.index("--k") + 1] = str(tmp_path / "tiny"), "20"
    assert curate([*select[1:], "--encoder", "tfidf", "--near-duplicate", "1"]) == 0
    small = ["device=cpu", "load_in_4bit=false", "max_length=128", "eval_steps=2", "logging_steps=1", "max_steps=2"]
    assert all("=" in word for word in run[2:])
    assert finetune([*run[1:2], *small, "report_eval_rows=4", "report_max_new_tokens=4"]) == 0
    assert evalsuite([*report[1:], "--prompts", "prompts.jsonl"]) == 0
    assert finetune(export[1:]) == 0
    made = next(Path("artifacts/runs").iterdir()).name
    assert Path(ollama[-1].replace("RUN", made)).read_text().startswith("FROM ./model-q8_0.gguf\n")
