"""Scoring anybody's file of generations, and the metrics through the `evaluate` library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import read_jsonl
from curate.errors import UsageError, UserError
from evaluate_suite.metrics import metrics_that_need
from evaluate_suite.metrics.generation_files import TEXT_NEEDS, score

LINES: list[dict[str, Any]] = [
    {"task_id": "HumanEval/0", "prompt": "def f(x):\n    '''One.'''\n", "completion": "    return 1\n"},
    {"task_id": "HumanEval/0", "prompt": "def f(x):\n    '''One.'''\n", "completion": "    return (\n", "other": [1]},
    {"prompt": "python fizzbuzz", "completion": "```python\nprint(1)\n```", "reference": "print(1)"},
]


def write(path: Path, lines: Sequence[Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_file_is_scored_line_by_line(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    result = score(write(tmp_path / "g.jsonl", LINES), out)
    rows = read_jsonl(out)
    assert [(row["prompt_id"], row["sample"]) for row in rows] == [
        ("HumanEval/0", 0), ("HumanEval/0", 1), ("python fizzbuzz", 0),
    ]  # fmt: skip
    assert [row["scores"]["parse_rate"] for row in rows] == [1.0, 0.0, 1.0]
    assert rows[0]["reasons"] == {
        "well_formed_answer": "stop_reason_unknown", "stopped_by_itself": "stop_reason_unknown", "chrf": "no_reference",
        "repeated_ngrams": "too_short", "prompt_echo": "prompt_is_code",
    }  # fmt: skip
    record = result.as_dict()
    assert record["generations"] == 3
    assert record["metrics"]["chrf"]["n_scored"] == 1
    assert record["metrics"]["stopped_by_itself"] == {
        "metric": "stopped_by_itself", "n_scored": 0, "n_unscored": 3, "mean": None, "interval": None,
        "reasons": {"stop_reason_unknown": 3},
    }  # fmt: skip
    assert set(record["metrics"]) == set(metrics_that_need(*TEXT_NEEDS))


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", LINES)
    for name in ("a", "b"):
        score(path, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no generations"),
        ([{"prompt": "a", "text": "b"}], ":1: no field completion (fields found: prompt, text)"),
        ([{"completion": "b"}], ":1: neither prompt nor task_id"),
        ([LINES[2], "", {"prompt": "a", "completion": None}], ":3: the field completion is a NoneType, not text"),
        ([LINES[2], '{"prompt": '], ":2: not a line of JSON"),
        ([["a"]], ":1: a JSON list, not an object"),
        ([{"prompt": "a", "completion": "b", "stop_reason": "length"}], ':1: unknown stop_reason "length"'),
    ],
)
def test_a_wrong_file_is_named_with_its_line_and_nothing_is_written(
    tmp_path: Path, lines: list[Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        score(write(tmp_path / "g.jsonl", lines), tmp_path / "out.jsonl")
    assert message in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_an_unknown_metric_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='Did you mean "parse_rate"'):
        score(write(tmp_path / "g.jsonl", LINES), None, ["parse_rat"])


def test_every_metric_loads_in_evaluate_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    evaluate = pytest.importorskip("evaluate")
    from evaluate_suite.metrics import METRICS
    from evaluate_suite.metrics.evaluate_library import adapter_path

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    cache = str(tmp_path / "cache")
    given = {
        "stop_reasons": ["end_token", "end_token"],
        "training_rows": ["def f(a, b):\n    return a + b"],
        "outcomes": [{"passed": True, "passed_when_cut": True, "runs": True}, {"reason": "stalled"}],
    }
    predictions = ["def f(a, b):\n    return a + b\n", "x = (((\ny = 1\nz = 2\n"]
    results = {}
    for name, metric in METRICS.items():
        loaded = evaluate.load(adapter_path(), name, cache_dir=cache)
        references = {"references": predictions} if metric.needs == "reference" else {}
        results[name] = loaded.compute(predictions=predictions, **references, **given)
    assert {name: result["scores"] for name, result in results.items() if name != "repeated_ngrams"} == {
        "well_formed_answer": [1.0, 0.0], "answered": [1.0, 1.0], "stopped_by_itself": [1.0, 1.0],
        "contains_code": [1.0, 1.0], "parse_rate": [1.0, 0.0], "language_match": [None, None],
        "trailing_share": [0.0, 0.0], "prompt_echo": [None, None], "chrf": [100.0, 100.0],
        "memorisation": [1.0, 0.0], "runs": [1.0, None], "passes_tests": [1.0, None], "stop_gap": [0.0, None],
    }  # fmt: skip
    assert results["runs"]["reasons"] == [None, "stalled"]
    assert (results["parse_rate"]["parse_rate"], results["parse_rate"]["n_scored"]) == (0.5, 2)
    assert results["language_match"]["language_match"] is None
    assert results["language_match"]["interval"] is None
    low, high = results["parse_rate"]["interval"]
    assert 0 < low < 0.5 < high < 1


OURS = [
    {"model": model, "prompt_id": "p", "prompt": "python one", "completion": text, "stop_reason": "end_token"}
    for model, text in (("base", "def f():\n    return (\n"), ("tuned", "def f():\n    return 1\n"))
]


def test_our_own_generations_are_scored_model_by_model(tmp_path: Path) -> None:
    """They are no two samples of one prompt: 0 and 1, not a half."""
    result = score(write(tmp_path / "generations.jsonl", OURS), tmp_path / "out.jsonl")
    record = result.as_dict()
    assert {name: part["metrics"]["parse_rate"]["mean"] for name, part in record["models"].items()} == {
        "base": 0.0, "tuned": 1.0,
    }  # fmt: skip
    assert "metrics" not in record
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["model"], row["sample"], row["scores"]["parse_rate"]) for row in rows] == [
        ("base", 0, 0.0), ("tuned", 0, 1.0),
    ]  # fmt: skip


OTHERS = {
    "evalplus": ('{"task_id": "T/0", "solution": "def f():\\n    return 1\\n"}', ["T/0"]),
    "bigcode": ('[["def f():\\n    return 1\\n", "x = ("], ["y = 2"]]', ["0", "0", "1"]),
    "bigcode over lines": ('[\n  ["x = 1"]\n]\n', ["0"]),
    "lm-eval": (
        '{"doc_id": 3, "doc": {"task_id": "T/1"}, "resps": [["a", "b"]], "filtered_resps": ["x"]}',
        ["T/1"],
    ),
    "lm-eval without a filter": ('{"doc_id": 3, "doc": {}, "resps": [["x = 1", "y = 2"]]}', ["3", "3"]),
    "human-eval": ('{"task_id": "T/0", "completion": "    return 1", "result": "passed", "passed": true}', ["T/0"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_generations_of_other_tools_are_read(name: str, tmp_path: Path) -> None:
    text, ids = OTHERS[name]
    (tmp_path / "g.json").write_text(text)
    result = score(tmp_path / "g.json")
    assert [generation.prompt_id for generation in result.generations] == ids


def test_a_field_of_another_name_is_named_with_its_new_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'fields found: task_id, generation.*Rename "generation" to "completion"'):
        score(write(tmp_path / "g.jsonl", [{"task_id": "T/0", "generation": "x"}]))


def test_the_metrics_old_name_still_works(tmp_path: Path) -> None:
    result = score(write(tmp_path / "g.jsonl", LINES), None, ["clean_answer"])
    assert list(result.summaries) == ["well_formed_answer"]


def test_a_folder_is_no_place_for_scores(tmp_path: Path) -> None:
    (tmp_path / "g.jsonl").write_text('{"task_id": 1, "completion": "x"}\n')
    with pytest.raises(UsageError, match="is a folder. Name a file."):
        score(tmp_path / "g.jsonl", tmp_path)
