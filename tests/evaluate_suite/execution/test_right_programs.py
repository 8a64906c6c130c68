"""Right programs pass, apart and together; what cannot be judged apart is unscored and says why, never a wrong answer."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
from evaluate_suite.execution.recipe import Judge, default_workers, run_answer
from evaluate_suite.execution.samples import read_generations, read_references
from evaluate_suite.execution.sandbox import UNSCORED_REASONS, ProgramResult, run_job
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.task_files import Task, read_tasks

from .right_programs import Right, all_programs, near_the_limit
from .test_attacks import usable_mode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
# What one process alone can do; apart these are unscored.
ONE_PROCESS = {
    "a subclass of a class of the program", "pickling a A of the program", "handing over a lock",
}  # fmt: skip
PASSED_BY_PLAIN_PYTHON = {"V13", "V26"}  # lists that change while nobody looks, and what is not greater than anything


def judged(programs: list[Right], judge: Judge) -> list[ProgramResult]:
    mode = usable_mode()

    def run(right: Right) -> ProgramResult:
        task = Task("t", right.prompt, right.entry_point, right.test, "", bool(right.prompt))
        return run_answer(task, right.program, "completion", DEFAULT_LIMITS, mode, judge)

    with ThreadPoolExecutor(default_workers()) as pool:
        return list(pool.map(run, programs))


def troubles(programs: list[Right], results: list[ProgramResult]) -> list[tuple[str, str, str, str]]:
    pairs = zip(programs, results, strict=True)
    return [(p.program, p.test, r.reason, r.detail) for p, r in pairs if not r.passed]


@pytest.mark.parametrize("judge", ["apart", "together"])
def test_a_sample_of_right_programs_passes(judge: Judge) -> None:
    sample = [right for right in all_programs() if right.kind != "one process only"][::9]
    assert troubles(sample, judged(sample, judge)) == []


def test_what_one_process_alone_can_do_is_unscored_with_its_reason() -> None:
    hard = [right for right in all_programs() if right.kind == "one process only"]
    found = [result for result in judged(hard, "apart") if not result.passed]
    assert {(result.reason, result.detail) for result in found} == {("needs_together", why) for why in ONE_PROCESS}
    assert troubles(hard, judged(hard, "together")) == []


@pytest.mark.long
def test_of_136_right_programs_all_pass_together_and_91_percent_apart() -> None:
    programs = all_programs()
    assert len(programs) == 136
    assert troubles(programs, judged(programs, "together")) == []
    apart = judged(programs, "apart")
    assert {reason for *_, reason, _ in troubles(programs, apart)} <= {"needs_together"}
    assert sum(result.passed for result in apart) / len(programs) >= 0.91


def cases(shared_data: Path, letter: str, judge: Judge) -> dict[str, ProgramResult]:
    """The cases of a letter beside the checkout, each run in the sandbox."""
    folder = shared_data.parent / "cases" / "sandbox"
    if not folder.is_dir():
        pytest.skip(f"CASES ARE ABSENT: {folder} is not there")
    mode, found = usable_mode(), {}
    for file in sorted(folder.glob(f"{letter}*.T.jsonl")):
        tasks = read_tasks(file)
        generations = read_generations(folder / file.name.replace(".T.", ".G."), tasks, "completion")
        for task, _, answer, _ in generations:
            found[file.name.split(".")[0]] = run_answer(task, answer, "completion", DEFAULT_LIMITS, mode, judge)
    return found


@pytest.mark.long
@pytest.mark.parametrize("judge", ["apart", "together"])
def test_the_right_programs_that_went_wrong_pass(judge: Judge, shared_data: Path) -> None:
    found = cases(shared_data, "L", judge)
    assert len(found) > 40
    assert {name: (r.reason, r.detail) for name, r in found.items() if not r.passed} == {}


@pytest.mark.long
def test_the_wrong_programs_that_got_through_fail_and_are_scored(shared_data: Path) -> None:
    found = cases(shared_data, "V", "apart")
    assert {name for name, result in found.items() if result.passed} == PASSED_BY_PLAIN_PYTHON
    assert {name: r.reason for name, r in found.items() if r.reason in UNSCORED_REASONS} == {}


def references_failed(file: Path, judge: Judge) -> dict[str, str]:
    mode = usable_mode()
    samples = read_references(read_tasks(file))
    with ThreadPoolExecutor(default_workers()) as pool:
        found = pool.map(lambda s: run_answer(s[0], s[2], "completion", DEFAULT_LIMITS, mode, judge), samples)
    return {s[0].task_id: r.reason for s, r in zip(samples, found, strict=True) if not r.passed}


@pytest.mark.long
@pytest.mark.parametrize("judge", ["apart", "together"])
@pytest.mark.parametrize("name", ["HumanEval.jsonl", "mbpp-601-974.jsonl"])
def test_every_reference_of_a_real_benchmark_passes(name: str, judge: Judge, shared_data: Path) -> None:
    assert references_failed(shared_data / name, judge) == {}


@pytest.mark.parametrize("judge", ["apart", "together"])
def test_mbpp_tests_as_they_are_found_are_passed_by_their_references(judge: Judge, shared_data: Path) -> None:
    file = shared_data.parent / "cases" / "24-mbpp-odd-tests" / "tasks.jsonl"
    if not file.exists():
        pytest.skip(f"CASES ARE ABSENT: {file} is not there")
    assert references_failed(file, judge) == {}


@pytest.mark.long
def test_sixty_programs_at_a_time_get_the_verdicts_of_two() -> None:
    limits = Limits(cpu_seconds=0.25)
    jobs = [Job(p, "test", "", "assert f() == 1", "f") for p in near_the_limit(limits.cpu_seconds, 60)]
    mode = usable_mode()
    for workers in (2, 60):
        with ThreadPoolExecutor(workers) as pool:
            reasons = [r.reason for r in pool.map(lambda job: run_job(job, limits, mode), jobs)]
        assert reasons == ["passed"] * 60, workers


def test_a_program_that_only_sleeps_is_stalled_after_twenty_times_its_cpu_limit() -> None:
    job = Job("import time\ndef f(): time.sleep(600)", "test", "", "assert f() == 1", "f")
    assert run_job(job, Limits(cpu_seconds=0.1), usable_mode()).reason == "stalled"


def test_a_program_of_33_mib_is_failed() -> None:
    job = Job("def f(): return 1\n#" + "x" * (33 << 20), "test", "", "assert f() == 1", "f")
    found = run_job(job, DEFAULT_LIMITS, usable_mode())
    assert (found.passed, found.reason) == (False, "memory_limit")
