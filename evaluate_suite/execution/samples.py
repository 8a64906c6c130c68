"""The answers that are run: each with its task, its place among the task's samples, and how its text is to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.code.languages import python_tree
from curate.code.program import cut_completion
from curate.errors import UserError
from evaluate_suite.answers.answer_files import read_answers, several_models
from evaluate_suite.tasks.task_files import Style, Task

SEALED_AS = "evalsuite execute"  # a line of results names program, test and settings by digest: nothing else decides it


@dataclass(frozen=True)
class Sample:
    """An answer to a task; `digest` is that of everything its result depends on."""

    task: Task
    index: int
    answer: str
    style: Style
    digest: str


def read_generations(
    path: str | Path, tasks: dict[str, Task], style: Style | None = None, *, cut_at_function: bool = False
) -> list[tuple[Task, int, str, Style]]:
    """Each generation with its task, its number among that task's samples (from 0) and its style, in file order.

    The style is the one asked for; else raw for what is a whole program by the file's format or begins with its prompt
    there, and completion for the rest, cut where that is asked for.
    """
    by_prompt: dict[str, list[Task]] = {}
    for each in tasks.values():
        by_prompt.setdefault(each.prompt, []).append(each)
    in_order = list(tasks.values())
    counts: dict[str, int] = {}
    samples: list[tuple[Task, int, str, Style]] = []
    rows = read_answers(path)
    if models := several_models(rows):
        raise UserError(
            f"{path} holds the answers of {len(models)} models ({', '.join(models[:3])}), which are no samples of one.",
            "Give a file for each model.",
        )
    for row in rows:
        name = row.fields.get("task_id")
        if row.place is not None:
            task = in_order[row.place] if row.place < len(in_order) else None
        else:
            task = tasks.get(str(name)) if name is not None else _only(by_prompt, row.fields.get("prompt"), row.where)
        if task is None:
            known = f"list {row.place}" if row.place is not None else "its prompt" if name is None else name
            raise UserError(
                f"{row.where}: {known} is not in the tasks file.", "Give the tasks the generations are for."
            )
        if row.whole and style == "completion":
            raise UserError(f"{row.where}: a whole program, not the rest of its prompt.", "Add --style raw.")
        whole = row.whole or ("completion" not in row.fields and row.text.startswith(task.prompt))
        index = counts.get(task.task_id, 0)
        counts[task.task_id] = index + 1
        kind: Style = style or ("raw" if whole else "completion")
        samples.append((task, index, row.text, "cut" if kind == "completion" and cut_at_function else kind))
    return samples


def _only(by_prompt: Mapping[str, Sequence[Task]], prompt: Any, where: str) -> Task | None:
    """Return the task of a prompt; a prompt of several tasks does not say whose tests an answer is to meet."""
    tasks = by_prompt.get(str(prompt), [])
    if len(tasks) > 1:
        names = ", ".join(task.task_id for task in tasks[:3])
        raise UserError(f"{where}: its prompt is that of {len(tasks)} tasks ({names}).", "Add task_id to the line.")
    return tasks[0] if tasks else None


def read_references(tasks: dict[str, Task]) -> list[tuple[Task, int, str, Style]]:
    """Each task with its own solution, in the place of a generation."""
    solved = [task for task in tasks.values() if task.reference.strip()]
    if not solved:
        raise UserError("No task has a solution.", "HumanEval calls it canonical_solution, MBPP code.")
    return [(task, 0, task.reference, "completion") for task in solved]


def notes_of(samples: Sequence[Sample], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the results do not say by themselves: completions that fail for what follows a function that is whole."""
    spoilt = 0
    for sample in samples:
        row = results.get(sample.digest + str(sample.index))
        if row and sample.style == "completion" and str(row["detail"]).startswith("SyntaxError"):
            prompt = sample.task.prompt if sample.task.continues_prompt else ""
            cut = cut_completion(prompt, sample.answer, sample.task.wanted)
            spoilt += cut is not None and not isinstance(python_tree(cut), str)
    if not spoilt:
        return []
    return [
        f"{spoilt} of {len(samples)} completions hold the whole function and fail for what follows it (SyntaxError): "
        "--cut-at-function cuts there, as other harnesses do."
    ]
