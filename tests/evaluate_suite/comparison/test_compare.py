"""`evalsuite compare` on other people's result files, and every gate and refusal through the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from evaluate_suite.cli import main as evalsuite


def write(path: Path, outcomes: dict[str, list[bool]]) -> str:
    rows = [{"task_id": task, "passed": passed} for task, samples in outcomes.items() for passed in samples]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def compare(capsys: pytest.CaptureFixture[str], *files: str) -> dict[str, Any]:
    assert evalsuite(["compare", *files, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_published_results_are_recomputed_with_wilsons_interval_and_mcnemars_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a.jsonl", {f"t{i}": [i < 40] for i in range(164)})
    b = write(tmp_path / "b.jsonl", {f"t{i}": [10 <= i < 65] for i in range(164)})
    found = compare(capsys, a, b)
    interval = stats.binomtest(40, 164).proportion_ci(0.95, "wilson")
    assert (found["models"][a]["value"], found["models"][a]["low"]) == pytest.approx((40 / 164, interval.low))
    pair = found["pairs"][0]
    assert pair["p"] == pytest.approx(stats.binomtest(25, 35).pvalue)
    assert (pair["n"], pair["unit"], pair["effect"]) == (164, "tasks", pytest.approx(15 / 164))
    assert found["winner"] == b


def test_several_samples_of_a_task_are_one_unit_and_the_mean_is_pass_at_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    hard = {f"t{i}": rng.random() for i in range(20)}
    files = [
        write(tmp_path / f"{name}.jsonl", {t: [rng.random() < p for _ in range(n)] for t, p in hard.items()})
        for name, n in (("a", 10), ("b", 10), ("c", 200))
    ]
    found = compare(capsys, *files)
    assert [pair["n_units"] for pair in found["pairs"]] == [20, 20, 20]
    # Twenty times the samples do not shrink the interval over tasks, which is what the tasks' own difficulty makes it.
    widths = [found["models"][name]["high"] - found["models"][name]["low"] for name in files]
    assert widths[2] > 0.7 * widths[0]
    assert found["winner"] is None


def test_unequal_samples_weigh_every_task_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.jsonl", {"x": [True] * 9, "y": [False], "z": [True, False]})
    b = write(tmp_path / "b.jsonl", {"x": [False], "y": [False], "z": [False]})
    assert compare(capsys, a, b)["models"][a]["value"] == 0.5


def test_tasks_that_one_file_lacks_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.jsonl", {"x": [True], "y": [False], "z": [True]})
    b = write(tmp_path / "b.jsonl", {"x": [True], "y": [True]})
    found = compare(capsys, a, b)
    assert (found["models"][a]["n"], found["models"][a]["value"]) == (2, 0.5)
    assert found["notes"] == [f"{a} has 1 task that not every file has, left out here."]


def test_the_table_says_what_is_shown_and_what_could_have_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a.jsonl", {f"t{i}": [i < 20] for i in range(60)})
    b = write(tmp_path / "b.jsonl", {f"t{i}": [i < 21] for i in range(60)})
    c = write(tmp_path / "c.jsonl", {f"t{i}": [i < 50] for i in range(60)})
    assert evalsuite(["compare", a, b, c]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "share passed"
    # The best comes first, and of the pairs the largest difference; a p value is never a zero.
    assert lines[1].split()[0] == c and lines[1].endswith("n 60  beats 2, beaten by 0")
    assert lines[3].split() == [a, "0.3333", "(0.2273", "to", "0.4594)", "n", "60", "beats", "0,", "beaten", "by", "1"]
    assert lines[6].startswith(f"  {c} minus {a}: 0.5000")
    assert "p <0.0001 (Holm) <0.0001 (FDR)" in lines[6] and lines[6].endswith(f": {c} is better")
    assert f"  {b} minus {a}: 0.0167" in lines[8]
    assert (
        "60 tasks, p 1.0000 (Holm) 1.0000 (FDR): no difference shown; 0.0475 would have been, 4 times in 5" in lines[8]
    )
    assert lines[-1] == f"Winner: {c}."


def test_many_models_are_a_sorted_summary_and_the_pairs_of_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path / f"m{n:02}.jsonl", {f"t{i}": [i < n] for i in range(40)}) for n in range(36)]
    assert evalsuite(["compare", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 80
    assert [line.split()[0] for line in lines[1:37]] == files[::-1]
    assert lines[-3].strip().startswith(f"595 pairs without {files[35]} are in --json")


def test_with_a_baseline_only_its_pairs_are_compared_and_corrected_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = (
        write(tmp_path / f"{n}.jsonl", {f"t{i}": [i < k] for i in range(60)})
        for n, k in zip("abc", (20, 27, 50), strict=True)
    )
    everything, asked = compare(capsys, a, b, c), compare(capsys, a, b, c, "--baseline", a)
    assert [(pair["first"], pair["second"]) for pair in asked["pairs"]] == [(a, b), (a, c)]
    assert (everything["pairs"][0]["p_holm"], asked["pairs"][0]["p_holm"]) == (2**-6, 2**-6)
    assert (everything["pairs"][1]["p_holm"], asked["pairs"][1]["p_holm"]) == pytest.approx((3 * 2**-29, 2 * 2**-29))
    assert (asked["winner"], asked["baseline"]) == (None, a)
    assert evalsuite(["compare", a, b, c, "--baseline", a]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Shown better than {a}: {b}, {c}."
    assert evalsuite(["compare", a, b, "--baseline", "bb"]) == 2
    assert '--baseline "bb" is none of what is compared.' in capsys.readouterr().err
    named = [f"x={a},{b}", f"y={c},{write(tmp_path / 'd.jsonl', {f't{i}': [i < 45] for i in range(60)})}"]
    drawn = compare(capsys, *named, "--baseline", "x")
    assert (drawn["pairs"], [pair["first"] for pair in drawn["strategies"]["pairs"]]) == ([], ["x"])


def test_files_named_as_draws_are_taken_together_so_that_one_lucky_draw_wins_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = {"a0": 30, "a1": 31, "a2": 29, "b0": 55, "b1": 30, "b2": 31, "c0": 52, "c1": 55, "c2": 54}
    paths = {n: write(tmp_path / f"{n}.jsonl", {f"t{i}": [i < k] for i in range(60)}) for n, k in passed.items()}
    named = [f"{name}={','.join(paths[f'{name}{d}'] for d in range(3))}" for name in "abc"]
    found = compare(capsys, *named)
    lucky = next(p for p in found["pairs"] if (p["first"], p["second"]) == (paths["a0"], paths["b0"]))
    assert lucky["winner"] == paths["b0"]
    levels = found["strategies"]
    assert [(p["first"], p["second"], p["winner"], p["unit"]) for p in levels["pairs"]] == [
        ("a", "b", None, "draws"), ("a", "c", "c", "draws"), ("b", "c", None, "draws"),
    ]  # fmt: skip
    assert levels["scope"] == "strategies"
    assert found["notes"][0].startswith("Few draws (a: 3, b: 3, c: 3)")
    assert evalsuite(["compare", *named]) == 0
    text = capsys.readouterr().out
    assert "share passed, taken together (about these strategies)" in text
    assert text.splitlines()[-1] == "No winner is shown."
    assert evalsuite(["compare", named[0], f"a={paths['b0']},{paths['b1']}"]) == 2
    assert "A name is given twice (a, a)." in capsys.readouterr().err
    alone = compare(capsys, named[0], named[2])
    assert (found["winner"], alone["winner"]) == (None, "c")


def test_no_difference_of_shares_is_larger_than_shares_can_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passing = {"x0": 6, "x1": 1, "y0": 1, "y1": 6}
    for name, n in passing.items():
        write(tmp_path / f"{name}.jsonl", {f"t{i}": [i < n] for i in range(6)})
    files = [f"{s}={tmp_path}/{s}0.jsonl,{tmp_path}/{s}1.jsonl" for s in "xy"]
    assert evalsuite(["compare", *files, "--json"]) == 0
    pair = json.loads(capsys.readouterr().out)["strategies"]["pairs"][0]  # it was -2.99 to 2.99, 3.70 would have been
    assert (pair["effect"], pair["low"], pair["high"], pair["smallest_detectable"]) == (0.0, None, None, None)
    assert pair["reason"].startswith("the interval is wider than the measure's range")


def test_a_file_is_not_compared_with_itself_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", {"x": [True], "y": [False]})
    assert evalsuite(["compare", "a.jsonl", "./a.jsonl"]) == 2
    assert "A file is named twice." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        ({"a.jsonl": '{"task_id": "x", "passed": true}\n'}, 2, "There is nothing to compare with"),
        ({"a.jsonl": '{"task_id": "x", "passed": 1}\n', "b.jsonl": ""}, 1, "a.jsonl:1: no task_id with passed true or"),
        ({"a.jsonl": "", "b.jsonl": ""}, 1, "a.jsonl holds no results"),
        ({"a.jsonl": '{"task_id": "x", "passed": true}\n', "b.jsonl": '{"task_id": "y", "passed": true}\n'}, 1,
         "The files have no task_id in common"),
        ({"a.jsonl": '{"task_id": "x", "pas', "b.jsonl": ""}, 1, "a.jsonl:1: not a line of JSON"),
        ({"a.jsonl": '{"task_id": "x", "passed": true}\n', "run": ""}, 2, "Runs and result files cannot be compared"),
        ({"a.jsonl": '{"task_id": "x", "passed": true}\n', "b.json": '[{"task_id": "x"}]'}, 1, "b.json:1: a JSON list"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], code: int, message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert evalsuite(["compare", *(str(tmp_path / name) for name in files)]) == code
    told = capsys.readouterr()
    assert message in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)
