"""A selection on the hub: the metadata of its card, and what a push would send."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from curate.cli import main
from curate.selection.card import languages, licenses, size_category, source_datasets


@pytest.mark.parametrize(
    ("rows", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**9, "n>1B")]
)
def test_sizes_are_the_hubs_categories(rows: int, category: str) -> None:
    assert size_category(rows) == category


def test_licences_and_languages_are_spelled_as_the_hub_does() -> None:
    assert licenses({"license": {"MIT": 3}}) == "mit"
    assert licenses({"license": {"Apache 2.0": 3, "MIT": 1, "not said": 2}}) == ["apache-2.0", "mit", "unknown"]
    assert licenses({"license": {"not said": 2}}) == "unknown"
    assert licenses({}) is None
    assert languages({"language": {"en": 4, "de": 1, "not said": 1}}) == ["de", "en"]
    assert languages({"language": {"Python": 4, "sql": 1}}) == ["code"]
    assert languages({}) is None
    assert source_datasets({"source": "owner/name", "revision": "0" * 40}) == ["owner/name"]
    assert source_datasets({"source": "rows.jsonl", "revision": None}) is None


def test_a_dry_run_shows_the_files_and_asks_nobody_and_the_card_has_its_metadata(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"instruction": f"Say {n}", "output": f"print({n})", "license": "MIT"} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["select", "--dataset", str(tmp_path / "rows.jsonl"), "--model", "smollm2-135m", "--encoder", "tfidf"]
    assert main([*words, "--near-duplicate", "1", "--k", "5", "--out", str(tmp_path / "s")]) == 0
    front = yaml.safe_load((tmp_path / "s" / "README.md").read_text().split("---")[1])
    assert (front["license"], front["size_categories"], front["task_categories"]) == (
        "mit",
        "n<1K",
        ["text-generation"],
    )
    capsys.readouterr()
    monkeypatch.setattr("curate.selection.hub_upload.HfApi", None)
    monkeypatch.setattr("curate.selection.hub_upload.get_token", None)
    assert main(["push", "me/rows", "--selection", str(tmp_path / "s"), "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["repository"], planned["kind"], planned["private"]) == ("me/rows", "dataset", True)
    assert sorted(planned["files"]) == sorted(path.name for path in (tmp_path / "s").iterdir())
