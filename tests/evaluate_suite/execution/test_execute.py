"""evalsuite execute: checks unless told to run, prints pass@k, goes on where it stopped, loses nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from evaluate_suite.cli import main
from evaluate_suite.comparison.result_files import read_passed
from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits

from .test_attacks import ROOT, usable_mode
from .test_tasks import HUMAN_EVAL, MBPP, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
SHORT = "--cpu-seconds=0.3"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two tasks; three samples of the first (two right), one of the second (wrong)."""
    usable_mode()
    tasks = write(tmp_path / "tasks.jsonl", HUMAN_EVAL, MBPP)
    rows = [("T/0", "    return a + b\n"), ("T/0", "    return a - b\n"), ("T/0", "    return b + a\n")]
    rows += [("1", "def add(a, b): return 0")]
    generations = write(tmp_path / "g.jsonl", *({"task_id": t, "completion": c} for t, c in rows))
    return tasks, generations, tmp_path / "results.jsonl"


def run(files: tuple[Path, Path, Path], *options: str) -> int:
    tasks, generations, out = files
    return main(["execute", "--tasks", str(tasks), "--generations", str(generations), "--out", str(out), *options])


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_without_execute_the_files_are_checked_and_nothing_runs(files: Any, capsys: Any) -> None:
    assert run(files) == 0
    out, err = capsys.readouterr()
    assert out == "valid: 4 programs for 2 tasks; nothing was run\n"
    assert "add --execute" in err
    assert not files[2].exists()


def test_pass_at_k_is_printed_and_each_line_has_its_verdict(files: Any, capsys: Any) -> None:
    assert run(files, "--execute") == 0
    # pass@1: the mean of 2/3 and 0.
    assert capsys.readouterr().out.startswith("pass@1 0.333 (")
    lines = results(files[2])
    assert [(r["task_id"], r["sample"], r["passed"], r["reason"]) for r in lines] == [
        ("T/0", 0, True, "passed"), ("T/0", 1, False, "wrong_answer"), ("T/0", 2, True, "passed"),
        ("1", 0, False, "wrong_answer"),
    ]  # fmt: skip


def test_json_has_every_number(files: Any, capsys: Any) -> None:
    assert run(files, "--execute", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pass_at_1"] == found["pass_at_k"]["1"] == pytest.approx(1 / 3)
    assert (found["samples"], found["scored"], found["unscored"], found["passed"]) == (4, 4, 0, 2)
    assert found["reasons"] == {"passed": 2, "wrong_answer": 2}
    assert found["tasks_scored_at_k"] == {"1": 2}


def test_the_tasks_own_solutions_pass(files: Any, capsys: Any) -> None:
    tasks, _, out = files
    assert main(["execute", "--tasks", str(tasks), "--reference", "--out", str(out), "--execute"]) == 0
    assert capsys.readouterr().out == "pass@1 1.000 (0.342 to 1.000), 2 tasks\n"


def test_a_second_run_executes_only_what_has_no_result(files: Any, monkeypatch: Any) -> None:
    import evaluate_suite.execution.recipe as module

    assert run(files, "--execute") == 0
    before = files[2].read_bytes()
    ran: list[str] = []
    real = module.run_answer
    monkeypatch.setattr(module, "run_answer", lambda task, *a, **k: ran.append(task.task_id) or real(task, *a, **k))
    assert run(files, "--execute") == 0
    assert ran == []
    lines = before.splitlines(keepends=True)
    files[2].write_bytes(b"".join(lines[:2]) + lines[2][:20])  # killed while it wrote the third
    assert run(files, "--execute") == 0
    assert ran == ["T/0", "1"]
    assert files[2].read_bytes() == before


@pytest.mark.parametrize(
    "edit", [(b'"passed": false', b'"passed": true'), (b'"sample": 1', b'"sample": 7'), (b"{", b"(")]
)
def test_a_result_that_was_changed_is_named_and_run_again(files: Any, edit: tuple[bytes, bytes], capsys: Any) -> None:
    assert run(files, "--execute") == 0
    before = files[2].read_bytes()
    lines = before.splitlines(keepends=True)
    changed = b"".join([lines[0], lines[1].replace(*edit, 1), *lines[2:]])
    files[2].write_bytes(changed)
    if edit[0] != b"{":
        with pytest.raises(UserError, match="results.jsonl:2: not as `evalsuite execute` wrote it"):
            read_passed(files[2])
    assert run(files, "--execute") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of the results in" in said and "not as they were written" in said
    assert files[2].read_bytes() == before
    assert files[2].with_name("results.jsonl.changed").read_bytes() == changed


def test_results_of_other_generations_are_not_overwritten(files: Any, capsys: Any) -> None:
    assert run(files, "--execute") == 0
    before = files[2].read_bytes()
    write(files[1], {"task_id": "T/0", "completion": "    return 1\n"})
    assert run(files, "--execute") == 1
    assert "holds results of other generations, tasks or limits" in capsys.readouterr().err
    assert files[2].read_bytes() == before


LINE = b'{"task_id": "T/0", "completion": "    return 1"}'


@pytest.mark.parametrize("data", [LINE + b"\n" + LINE, LINE, b"notes of mine", LINE[:30]])
def test_a_file_that_holds_no_results_keeps_every_byte(files: Any, data: bytes, capsys: Any) -> None:
    files[2].write_bytes(data)
    assert run(files, "--execute") == 1
    assert "holds results of other generations" in capsys.readouterr().err
    assert files[2].read_bytes() == data


def test_a_folder_is_no_place_for_results(files: Any, capsys: Any) -> None:
    files[2].mkdir()
    assert run(files, "--execute") == 1
    assert "is a folder. Name a file." in capsys.readouterr().err


def test_a_generation_without_task_id_is_found_by_its_prompt(files: Any) -> None:
    write(files[1], {"task_id": None, "prompt": HUMAN_EVAL["prompt"], "completion": "    return a + b\n"})
    assert run(files, "--execute") == 0
    assert [r["task_id"] for r in results(files[2])] == ["T/0"]


def test_a_prompt_of_several_tasks_does_not_say_which_is_answered(files: Any, capsys: Any) -> None:
    twin = {**HUMAN_EVAL, "task_id": "T/1"}
    write(files[0], HUMAN_EVAL, twin)
    write(files[1], {"prompt": HUMAN_EVAL["prompt"], "completion": "    return a + b\n"})
    assert run(files) == 1
    assert "g.jsonl:1: its prompt is that of 2 tasks (T/0, T/1). Add task_id" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "name"), [(0, "tasks"), (1, "generations")])
def test_the_results_do_not_go_into_what_is_read(files: Any, place: int, name: str, capsys: Any) -> None:
    before = files[place].read_bytes()
    assert run((files[0], files[1], files[place]), "--execute") == 2  # it said to remove the file
    assert f"is the file of the {name}. Name another file" in capsys.readouterr().err
    assert files[place].read_bytes() == before


def test_a_json_list_of_generations_is_read_as_its_lines_would_be(files: Any, capsys: Any) -> None:
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    files[1].write_text(json.dumps(rows, indent=1))
    assert run(files) == 0
    assert capsys.readouterr().out == "valid: 4 programs for 2 tasks; nothing was run\n"


def test_an_unscored_result_is_tried_again(files: Any) -> None:
    broken = {
        **HUMAN_EVAL,
        "test": "import threading\ndef check(candidate):\n    assert candidate(threading.Lock()) == 3\n",
    }
    write(files[0], broken, MBPP)
    assert run(files, "--execute") == 0
    lines = results(files[2])
    assert [(r["passed"], r["reason"]) for r in lines[:3]] == [(None, "needs_together")] * 3
    assert lines[3]["passed"] is False


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--execute", "--unsafe"], 2, "No such option: --unsafe"),
        (["--execute", "--unsafe-loca"], 2, "No such option: --unsafe-loca"),
        (["--style", "compl"], 2, 'Did you mean "completion"'),
        (["--workers", "0"], 2, "workers is 0"),
        (["--cpu-seconds", "0"], 2, "cpu_seconds is 0.0"),
        (["--reference"], 2, "one of --generations and --reference"),
    ],
)
def test_a_wrong_option_is_a_usage_error(files: Any, options: list[str], code: int, words: str, capsys: Any) -> None:
    assert run(files, *options) == code
    assert words in " ".join(capsys.readouterr().err.split())


def test_unsafe_local_runs_without_a_sandbox_and_says_so(files: Any, capsys: Any) -> None:
    assert run(files, "--execute", "--unsafe-local") == 0
    out, err = capsys.readouterr()
    assert "NONE (--unsafe-local)" in err
    assert out.startswith("pass@1 0.333 (")


def test_limits_below_the_promise_are_refused() -> None:
    assert DEFAULT_LIMITS.stall_seconds == 20 * DEFAULT_LIMITS.cpu_seconds
    for wrong in (
        {"memory_bytes": 0},
        {"cpu_seconds": -1.0},
        {"stall_factor": 19.0},
        {"cpu_seconds": math.inf},
        {"cpu_seconds": math.nan},
    ):
        with pytest.raises(Exception, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]


BAD_GENERATIONS = [
    (b"", "holds no generations"),
    (b"\n\n", "holds no generations"),
    (b'{"task_id": "T/0"}\n', "g.jsonl:1: no field completion (fields found: task_id)"),
    (b'{"task_id": "T/0", "completion": null}\n', "g.jsonl:1: the field completion is a NoneType, not text"),
    (b'{"task_id": "T/9", "completion": ""}\n', "g.jsonl:1: T/9 is not in the tasks file"),
    (b'{"completion": "x"}\n', "g.jsonl:1: its prompt is not in the tasks file"),
    (b'{"task_id": "T/0", "completion": "\xff"}\n', "g.jsonl:1: byte 35 is not UTF-8"),
    (b'{"task_id": "T/0", "comple', "g.jsonl:1: not a line of JSON"),
]


@pytest.mark.parametrize(("data", "words"), BAD_GENERATIONS, ids=[words for _, words in BAD_GENERATIONS])
def test_a_bad_file_of_generations_is_one_clear_line(files: Any, data: bytes, words: str, capsys: Any) -> None:
    files[1].write_bytes(data)
    assert run(files, "--execute") == 1
    err = " ".join(capsys.readouterr().err.split())
    assert words in err
    assert "Traceback" not in err
    assert not files[2].exists()


def test_odd_completions_are_failed_and_not_feared(files: Any) -> None:
    odd = [
        "",
        "\u0000",
        "\ud800",
        "    return 'x' * 3 #" + "y" * 100_000,
        "(" * 50_000,
        "    return a + b\n" + "# z\n" * 25_000,
    ]
    write(files[1], *({"task_id": "T/0", "completion": c} for c in odd))
    assert run(files, "--execute") == 0
    found = [(r["passed"], r["reason"]) for r in results(files[2])]
    assert found[:4] == [(False, "wrong_answer"), (False, "exception"), (False, "exception"), (False, "wrong_answer")]
    assert found[4][0] is False
    assert found[5] == (True, "passed")


def test_a_hung_reference_is_stopped_and_named(files: Any, capsys: Any) -> None:
    tasks, _, out = files
    write(tasks, {**HUMAN_EVAL, "canonical_solution": "    while True: pass\n"})
    assert main(["execute", "--tasks", str(tasks), "--reference", "--out", str(out), "--execute", SHORT]) == 0
    assert [(r["passed"], r["reason"]) for r in results(out)] == [(False, "cpu_limit")]
    assert "cpu limit" in capsys.readouterr().err


def test_a_full_disk_loses_nothing_that_was_finished(files: Any) -> None:
    """The limit on file size stands in for the full disk: a write fails in the middle of a line."""
    tasks, generations, out = files
    command = [
        sys.executable,
        "-m",
        "evaluate_suite.cli",
        "execute",
        "--tasks",
        str(tasks),
        "--generations",
        str(generations),
    ]
    command += ["--out", str(out), "--execute", "--workers", "1"]
    limited = (
        f"import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400)); sys.dont_write_bytecode = True; sys.argv = {command[2:]!r}; "
        "from evaluate_suite.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    full = subprocess.run([sys.executable, "-c", limited], env=environment, capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert "Could not write" in full.stderr
    assert "Traceback" not in full.stderr
    left = results(out)
    assert 1 <= len(left) < 4
    assert run(files, "--execute") == 0
    assert results(out)[: len(left)] == left
    assert len(results(out)) == 4


def test_a_killed_run_leaves_no_process_and_its_results(files: Any) -> None:
    tasks, generations, out = files
    write(generations, *({"task_id": "T/0", "completion": c} for c in (
        "    return a + b\n", "    import time\n    time.sleep(99)\n", "    import time\n    time.sleep(98)\n")))  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "evaluate_suite.cli",
        "execute",
        "--tasks",
        str(tasks),
        "--generations",
        str(generations),
    ]
    host = subprocess.Popen(
        [*command, "--out", str(out), "--execute", "--workers", "2"], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().endswith(b"\n")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    before = below(host.pid)
    assert before
    host.send_signal(signal.SIGKILL)
    host.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, before)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [pid for pid in before if alive(pid)] == []
    assert [r["passed"] for r in results(out)] == [True]


def test_ctrl_c_does_not_wait_for_sleepers_and_keeps_what_was_finished(files: Any) -> None:
    tasks, generations, out = files
    write(generations, *({"task_id": "T/0", "completion": c} for c in (
        "    return a + b\n", *(f"    import time\n    time.sleep({s})\n" for s in (900, 901, 902)))))  # fmt: skip
    command = [sys.executable, "-m", "evaluate_suite.cli", "execute", "--tasks", str(tasks), "--cpu-seconds", "30"]
    command += ["--generations", str(generations), "--out", str(out), "--execute", "--workers", "2"]
    host = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().endswith(b"\n")) and time.monotonic() < deadline:
        time.sleep(0.1)
    host.send_signal(signal.SIGINT)
    try:
        told = host.communicate(timeout=120)[1]  # the sleepers would be stopped after 600 s
    finally:
        host.kill()
    assert host.returncode == 130
    assert "Traceback" not in told
    assert [r["passed"] for r in results(out)] == [True]


def alive(pid: int) -> bool:
    """Whether a process is there and more than a dead one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def below(top: int) -> list[int]:
    """The processes that `top` started, and theirs."""
    found, queue = [], [top]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            children = [int(pid) for pid in task.read_text().split()]
            found += children
            queue += children
    return found


def test_tasks_that_the_programs_could_read_are_refused(files: Any, monkeypatch: Any, capsys: Any) -> None:
    from evaluate_suite.execution import sandbox

    seen = ([str(files[0].parent)], *sandbox._layout()[1:])
    monkeypatch.setattr(sandbox, "_layout", lambda: seen)
    assert run(files, "--execute") == 1
    assert "lies where the tested programs can read it" in " ".join(capsys.readouterr().err.split())
    assert not files[2].exists()


@pytest.mark.long
def test_all_references_of_real_benchmarks_pass(shared_data: Path, tmp_path: Path, capsys: Any) -> None:
    usable_mode()
    for name, count in (("HumanEval.jsonl", 164), ("mbpp-601-974.jsonl", 374)):
        out = tmp_path / f"{name}.results"
        assert main(["execute", "--tasks", str(shared_data / name), "--reference", "--out", str(out), "--execute"]) == 0
        assert capsys.readouterr().out.startswith("pass@1 1.000 (")
        assert [r["passed"] for r in results(out)] == [True] * count


def test_compare_takes_the_results_and_leaves_the_unscored_out(tmp_path: Path) -> None:
    rows = [("a", True, "passed"), ("b", None, "test_error"), ("a", False, "cpu_limit")]
    path = write(tmp_path / "r.jsonl", *({"task_id": t, "passed": p, "reason": r} for t, p, r in rows))
    assert read_passed(path) == {"a": [1.0, 0.0]}


CUT_SHORT = [
    '    return a + b\n\n\ndef average(xs):\n    """The mean of',
    "    return a + b\n\n\nprint(add([1, 2",
    "def add(a, b):\n    return a + b\n\n\ndef average(xs,",
]


@pytest.mark.parametrize(
    ("options", "passed"),
    [((), 0), (("--cut-at-function",), 3), (("--style", "raw"), 3)],
    ids=["as it is", "cut", "raw"],
)
def test_a_completion_cut_in_the_next_function_passes_where_its_own_ends(
    files: Any, options: tuple[str, ...], passed: int, capsys: Any
) -> None:
    write(files[1], *({"task_id": "T/0", "completion": text} for text in CUT_SHORT))
    assert run(files, "--execute", *options) == 0
    assert sum(row["passed"] for row in results(files[2])) == passed
    note = "3 of 3 completions hold the whole function and fail for what follows it (SyntaxError): --cut-at-function"
    assert (note in " ".join(capsys.readouterr().err.split())) == (passed == 0)


def test_a_completion_that_lost_its_first_blanks_is_said_to_and_raw_puts_them_back(files: Any) -> None:
    write(files[1], {"task_id": "T/0", "completion": "return a + b"})
    assert run(files, "--execute") == 0
    (row,) = results(files[2])
    assert (row["passed"], row["reason"]) == (False, "indentation_lost")
    assert row["detail"].startswith("IndentationError: ")
    files[2].unlink()
    assert run(files, "--execute", "--style", "raw") == 0
    assert [row["passed"] for row in results(files[2])] == [True]


OTHER_FILES = {
    "evalplus": '{"task_id": "T/0", "solution": "def add(a, b):\\n    return a + b\\n"}',
    "bigcode": '[["def add(a, b):\\n    return a + b\\n"], []]',
    "lm-eval's filtered answers": json.dumps(
        {"doc_id": 0, "doc": {"task_id": "T/0"}, "resps": [["x"]],
         "filtered_resps": [HUMAN_EVAL["prompt"] + "    return a + b\n"]}),
    "lm-eval's raw answers": '{"doc_id": 0, "doc": {"task_id": "T/0"}, "resps": [["    return a + b\\n"]]}',
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_of_other_tools_are_run_in_the_style_that_they_are_written_in(files: Any, name: str) -> None:
    files[1].write_text(OTHER_FILES[name])
    assert run(files, "--execute") == 0
    assert [(row["task_id"], row["passed"]) for row in results(files[2])] == [("T/0", True)]


WRONGLY_NAMED = [
    ('{"task_id": "T/0", "generation": "x"}', (), 'Rename "generation" to "completion"'),
    (OTHER_FILES["evalplus"], ("--style", "completion"), "a whole program, not the rest of its prompt. Add --style raw."),
    ('[["x"], ["y"], ["z"]]', (), "list 2 is not in the tasks file"),
    ('{"model": "a", "task_id": "T/0", "completion": ""}\n{"model": "b", "task_id": "T/0", "completion": ""}', (),
     "holds the answers of 2 models (a, b)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "words"), WRONGLY_NAMED, ids=[words for _, _, words in WRONGLY_NAMED])
def test_what_cannot_be_read_says_what_to_rename_or_to_add(
    files: Any, text: str, options: tuple[str, ...], words: str, capsys: Any
) -> None:
    files[1].write_text(text)
    assert run(files, *options) == 1
    assert words in " ".join(capsys.readouterr().err.split())


# Folder: pass@1, further options.
CASES = {
    "10-crlf-fences": (1.0, ["--style", "raw"]), "11-stray-closing-fence": (1.0, ["--style", "raw"]),
    "12-end-token-in-text": (1.0, ["--style", "raw"]), "14-imports-in-first-block": (1.0, ["--style", "raw"]),
    "16-mbpp-second-block": (1.0, ["--style", "raw"]), "17-think-draft": (1.0, ["--style", "raw"]),
    "21-uneven-n": ((1 / 3 + 9 / 10) / 2, []), "23-indent-lost": (1.0, ["--style", "raw"]),
    "25-cut-in-the-next-function": (1.0, ["--style", "completion", "--cut-at-function"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_case_that_was_found_elsewhere_has_its_right_value(
    name: str, shared_cases: Path, tmp_path: Path, capsys: Any
) -> None:
    usable_mode()
    value, options = CASES[name]
    folder = shared_cases / name
    command = ["execute", "--tasks", str(folder / "tasks.jsonl"), "--generations", str(folder / "generations.jsonl")]
    assert main([*command, "--out", str(tmp_path / "out.jsonl"), "--execute", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["pass_at_1"] == pytest.approx(value)
