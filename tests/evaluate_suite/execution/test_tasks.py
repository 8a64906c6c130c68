"""HumanEval(+) and MBPP(+) files are understood; a file that is not usable is refused with the line at fault."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from evaluate_suite.execution.limits import DEFAULT_LIMITS
from evaluate_suite.execution.sandbox import run_job
from evaluate_suite.tasks.task_files import Style, read_tasks

from .test_attacks import usable_mode

HUMAN_EVAL = {
    "task_id": "T/0", "prompt": 'from typing import List\n\n\ndef add(a: int, b: int) -> int:\n    """ The sum. """\n',
    "entry_point": "add", "canonical_solution": "    return a + b\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n",
}  # fmt: skip
HUMAN_EVAL_PLUS = {
    **HUMAN_EVAL,
    "test": "import numpy as np\n\ndef assertion(out, exp, atol):\n    if atol: np.testing.assert_allclose(out, exp, rtol=1e-07, atol=atol)\n"
    "    else: assert out == exp, f'out: {out}, exp: {exp}'\n\n\ndef check(candidate):\n    inputs = [[1, 2], [5, 5]]\n"
    "    results = [3, 10]\n    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n",
}
MBPP = {
    "task_id": 1, "text": "Write a function to add two numbers.", "code": "def add(a, b):\r\n  return a + b", "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"], "challenge_test_list": [],
}  # fmt: skip
MBPP_SANITIZED = {
    "task_id": 2, "prompt": "Write a function to halve a number.", "code": "def half(a): return a / 2", "test_imports": ["import math"],
    "test_list": ["assert math.isclose(half(3), 1.5)"], "source_file": "x",
}  # fmt: skip
MBPP_PLUS = {
    **MBPP_SANITIZED,
    "test": "import math\ndef assertion(out, exp, atol):\n    assert math.isclose(out, exp, abs_tol=atol)\n\ninputs = [[3], [0]]\n"
    "results = [1.5, 0.0]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(half(*inp), exp, 1e-6)\n",
}
# One of EvalPlus's own release: inputs, and no test.
EVALPLUS_RELEASE = {"task_id": "Mbpp/3", "prompt": "x", "entry_point": "half", "base_input": [[3]], "plus_input": [[0]]}
FILES = {
    "HumanEval": HUMAN_EVAL, "HumanEval+": HUMAN_EVAL_PLUS, "MBPP": MBPP, "sanitized MBPP": MBPP_SANITIZED, "MBPP+": MBPP_PLUS,
}  # fmt: skip


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def verdict(row: dict[str, Any], answer: str, style: Style, folder: Path) -> str:
    (task,) = read_tasks(write(folder / "tasks.jsonl", row)).values()
    job = task.job(answer, style)
    return "no_code" if job is None else run_job(job, DEFAULT_LIMITS, usable_mode()).reason


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_understood(name: str, tmp_path: Path) -> None:
    row = FILES[name]
    (task,) = read_tasks(write(tmp_path / "t.jsonl", row)).values()
    assert task.task_id == str(row["task_id"])
    right = task.reference
    function = "add" if "add" in right or "a + b" in right else "half"
    whole = f"def {function}(*x): return {'sum(x)' if function == 'add' else 'x[0] / 2'}"
    assert verdict(row, right, "completion", tmp_path) == "passed"
    assert verdict(row, f"Sure! Here it is:\n\n```python\n{whole}\n```\nIt adds.", "raw", tmp_path) == "passed"
    assert verdict(row, whole.replace("return", "return 1 +"), "raw", tmp_path) == "wrong_answer"
    assert verdict(row, "I cannot do that.", "raw", tmp_path) == "no_code"
    assert verdict(row, "", "raw", tmp_path) == "no_code"
    assert verdict(row, "", "completion", tmp_path) in ("wrong_answer", "missing_entry_point")


def test_helpers_of_the_prompt_go_before_a_raw_answer(tmp_path: Path) -> None:
    row = {
        **HUMAN_EVAL,
        "prompt": "import math\n\ndef double(x):\n    return 2 * x\n\ndef add(a, b):\n    ''' Sum. '''\n",
    }
    answer = "```python\ndef add(a, b):\n    return int(math.fsum([double(a) // 2, b]))\n```"
    if sys.platform == "linux":
        assert verdict(row, answer, "raw", tmp_path) == "passed"


BAD = [
    ([], "holds no tasks"),
    (["x"], "1: a JSON str, not an object"),
    ([{"prompt": "x"}], "1: no task_id"),
    ([{**HUMAN_EVAL, "prompt": 3}], "1: prompt is missing or not text"),
    ([{**HUMAN_EVAL, "entry_point": "a b"}], 'entry_point "a b" is not a name'),
    ([HUMAN_EVAL, HUMAN_EVAL], '2: task_id "T/0" appears twice'),
    ([{**HUMAN_EVAL, "test": "def check(:"}], "1: the test is not Python"),
    ([{**HUMAN_EVAL, "test": ""}], "1: the test defines nothing that could pass or fail"),
    ([{**HUMAN_EVAL, "test": "METADATA = {}"}], "1: the test defines nothing that could pass or fail"),
    ([{**HUMAN_EVAL, "test": "def check(candidate):\n    pass"}], "1: the test defines nothing that could pass or fail"),
    ([{**MBPP, "test_list": []}], "1: test_list is not a list of assertions"),
    ([{**MBPP, "test_imports": "import math"}], "1: test_imports is not a list of lines"),
    ([{"task_id": 1, "text": "x"}], "1: neither HumanEval's fields"),
    ([EVALPLUS_RELEASE], "1: EvalPlus's release file, which has inputs in the place of tests"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "words"), BAD, ids=[words for _, words in BAD])
def test_an_unusable_file_is_refused_at_its_line(rows: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read_tasks(write(tmp_path / "t.jsonl", *rows))


def test_bytes_that_are_no_text_and_lines_that_are_no_json_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(json.dumps(HUMAN_EVAL).encode() + b'\n{"task_id": "\xff"}\n')
    with pytest.raises(UserError, match=r"t.jsonl:2: byte 14 is not UTF-8"):
        read_tasks(path)
    path.write_bytes(b"{")
    with pytest.raises(UserError, match=r"t.jsonl:1: not a line of JSON"):
        read_tasks(path)
    with pytest.raises(UserError, match=r"absent.jsonl does not exist"):
        read_tasks(tmp_path / "absent.jsonl")


def test_a_byte_order_mark_windows_line_ends_gzip_and_fields_of_null_are_read_past(tmp_path: Path) -> None:
    plain = write(tmp_path / "t.jsonl", HUMAN_EVAL, {**MBPP, "test_imports": None, "test_setup_code": None})
    tasks = read_tasks(plain)
    data = plain.read_bytes()
    for name, other in (
        ("bom", b"\xef\xbb\xbf" + data),
        ("crlf", data.replace(b"\n", b"\r\n")),
        ("gz", gzip.compress(data)),
    ):
        (tmp_path / name).write_bytes(other)
        assert read_tasks(tmp_path / name) == tasks
    (tmp_path / "cut").write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(UserError, match="cut cannot be read"):
        read_tasks(tmp_path / "cut")
