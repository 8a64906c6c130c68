"""Reads HumanEval(+) and MBPP(+) task files."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from curate.code.program import Program, cut_completion, find_program
from curate.code.syntax import parse_python
from curate.errors import UserError
from curate.sources.task_files import read_task_records, task_file
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.wanted_names import names_of_test

Style = Literal["completion", "raw", "cut"]  # cut: a completion up to where its function ends
_OPENERS = ("def ", "async def ", "class ")
STYLES: tuple[Style, ...] = ("completion", "raw")


@dataclass(frozen=True)
class Task:
    """One problem: its prompt, the name the tests call ("" where they name functions themselves), and its tests."""

    task_id: str
    prompt: str
    entry_point: str
    test: str
    reference: str
    continues_prompt: bool

    @property
    def wanted(self) -> frozenset[str]:
        """The names that an answer has to define: the entry point, and what the tests read and do not define."""
        return frozenset(names_of_test(self.test).names) | ({self.entry_point} - {""})

    def program(self, answer: str) -> Program | None:
        """The program in a whole answer, with what it needs of the prompt's imports and helpers; None without code."""
        prompt = self.prompt if self.continues_prompt else ""
        return find_program(answer, self.wanted, prompt, continues=self.continues_prompt)

    def job(self, answer: str, style: Style) -> Job | None:
        """The program that `answer` makes and its test; None when a raw answer holds no code.

        `completion`: the text continues the prompt, character for character; `cut`: up to where the wanted function and
        what it needs end. `raw`: a whole answer, whose program is found in it.
        """
        if style == "raw":
            program = self.program(answer)
            return None if program is None else self.job_of_code(program.code)
        prompt = self.prompt if self.continues_prompt else ""
        cut = cut_completion(prompt, answer, self.wanted) if style == "cut" else None
        return self.job_of_code(prompt + answer if cut is None else cut)

    def job_of_code(self, program: str) -> Job:
        """A program with the test of this task."""
        prelude = self.prompt if self.continues_prompt else ""
        known = _defined_names(_compilable(prelude)), _defined_names(self.reference)
        classes = tuple(sorted({name for names in known for name in names[0]}))
        functions = tuple(sorted({name for names in known for name in names[1]}))
        return Job(program, "test", _compilable(prelude), self.test, self.entry_point, classes, functions)


@lru_cache(maxsize=4096)
def _defined_names(code: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the classes and of the functions that `code` defines; none where it is no whole program."""
    try:
        body = parse_python(code).body
    except (SyntaxError, ValueError, RecursionError):
        return frozenset(), frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return (
        frozenset(node.name for node in body if isinstance(node, ast.ClassDef)),
        frozenset(node.name for node in body if isinstance(node, functions)),
    )


def _is_prose(prompt: str) -> bool:
    """Whether a prompt is a text in quotes, as MBPP+ has it, with no code behind it for the answer to go on with."""
    if not prompt.lstrip().startswith('"""'):
        return False
    try:
        return all(isinstance(node, ast.Expr) for node in parse_python(_compilable(prompt) or "x = 1").body)
    except (SyntaxError, ValueError, RecursionError):
        return False


def _compilable(prompt: str) -> str:
    """Return the prompt, with a body for the function or method that it leaves open; "" where it is no Python."""
    last = next((line for line in reversed(prompt.splitlines()) if line.lstrip().startswith(_OPENERS)), "")
    indent = " " * (len(last) - len(last.lstrip()) + 4)
    for ending in ("", "\n    pass\n", f"\n{indent}pass\n"):
        try:
            parse_python(prompt + ending)
        except (SyntaxError, ValueError, RecursionError):
            continue
        return prompt + ending
    return ""


def read_tasks(path: str | Path) -> dict[str, Task]:
    """The tasks of a file, or of a benchmark by its name (humaneval), by `task_id`, in file order.

    Anything that is not a usable task is a `UserError`.
    """
    tasks: dict[str, Task] = {}
    for place, row in read_task_records(task_file(path)):
        task = _task(row, place)
        if task.task_id in tasks:
            raise UserError(f'{place}: task_id "{task.task_id}" appears twice.', "Give each task its own.")
        tasks[task.task_id] = task
    if not tasks:
        raise UserError(f"{path} holds no tasks.", "Give a HumanEval or MBPP file, one JSON object a line.")
    return tasks


def _task(row: dict[str, Any], where: str) -> Task:
    if "task_id" not in row:
        raise UserError(f"{where}: no task_id.", "A task has task_id and tests (HumanEval: prompt, entry_point, test).")
    if "test" in row and "entry_point" in row:
        for name in ("prompt", "entry_point", "test"):
            if not isinstance(row.get(name), str):
                raise UserError(f"{where}: {name} is missing or not text.", "See the HumanEval file format.")
        if row["entry_point"] and not row["entry_point"].isidentifier():
            raise UserError(f'{where}: entry_point "{row["entry_point"]}" is not a name.', "Give a function's name.")
        test = row["test"]
        _check_asserts(test, where)
        if "check" in _defined(test, where):
            test += f"\ncheck({row['entry_point']})\n"
        reference = str(row.get("canonical_solution", ""))
        continues = "assertion" not in row and not _is_prose(row["prompt"])
        task = Task(str(row["task_id"]), row["prompt"], row["entry_point"], test, reference, continues)
    elif "test_list" in row:
        task = _mbpp_task(row, where)
        _check_asserts(task.test, where)
    elif "base_input" in row:
        raise UserError(
            f"{where}: EvalPlus's release file, which has inputs in the place of tests.",
            "Save the data set evalplus/humanevalplus or evalplus/mbppplus as JSONL: there each task has its test.",
        )
    else:
        raise UserError(
            f"{where}: neither HumanEval's fields (prompt, entry_point, test) nor MBPP's (text, test_list).",
            f"Found: {', '.join(sorted(row))}.",
        )
    return task


def _check_asserts(test: str, where: str) -> None:
    _defined(test, where)
    if not any(isinstance(node, ast.Assert | ast.Call | ast.Raise) for node in ast.walk(parse_python(test))):
        raise UserError(f"{where}: the test defines nothing that could pass or fail.", "Add assertions to the test.")


def _mbpp_task(row: dict[str, Any], where: str) -> Task:
    tests = row["test_list"]
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise UserError(f"{where}: test_list is not a list of assertions.", "See the MBPP file format.")
    imports = row.get("test_imports") or []
    if not isinstance(imports, list) or not all(isinstance(line, str) for line in imports):
        raise UserError(f"{where}: test_imports is not a list of lines.", "See the MBPP file format.")
    setup = [*imports, row.get("test_setup_code") or ""]
    prompt = row.get("text", row.get("prompt", ""))
    code = str(row.get("code", ""))
    body = row["test"] if isinstance(row.get("test"), str) else "\n".join(tests)
    return Task(str(row["task_id"]), str(prompt), "", "\n".join([*setup, body]), code, False)


def _defined(test: str, where: str) -> set[str]:
    try:
        tree = parse_python(test)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: the test is not Python ({error}).", "Fix the test.") from None
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
