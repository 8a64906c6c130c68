"""The tasks of a benchmark file, HumanEval's and MBPP's formats understood."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.artifact import digest_file
from curate.artifact.manifest_schema import FileRecord
from curate.code.languages import python_tree
from curate.errors import UserError
from curate.pool.read_options import is_remote
from curate.sources.remote import local_copy
from curate.sources.task_files import read_task_records, task_file

_FORMATS = "HumanEval (task_id, prompt, canonical_solution, test) or MBPP (task_id, text or prompt, code, test_list)"
_DOCTEST = re.compile(r"^[ \t]*>>>[^\n]*(?:\n[ \t]*(?!>>>)\S[^\n]*)?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """One task: what it asks in words, its reference solution as a program, and its tests as code."""

    task_id: str
    description: str
    code: str
    tests: str


def load_benchmarks(paths: Sequence[str]) -> tuple[list[BenchmarkTask], list[FileRecord]]:
    """The tasks of all files, in order, and the files' records for the manifest.

    HumanEval, HumanEval+, MBPP, sanitized MBPP and MBPP+ as JSON lines or a list, compressed or not, here or at an
    address, or a benchmark's name; anything else is an error that says which fields are missing.
    """
    tasks: list[BenchmarkTask] = []
    records: list[FileRecord] = []
    for name in paths:
        with local_copy(name if is_remote(name) else str(task_file(name))) as path:
            found = [_task(record, place) for place, record in read_task_records(path)]
            if not found:
                raise UserError(f"The benchmark file {path} holds no tasks.", f"Give {_FORMATS}.")
            tasks += found
            records.append(FileRecord(file=path.name, sha256=digest_file(path), rows=len(found)))
    return tasks, records


def _task(record: Mapping[str, Any], place: str) -> BenchmarkTask:
    def text(name: str) -> str | None:
        return value.replace("\r\n", "\n") if isinstance(value := record.get(name), str) else None

    solution, prompt = text("canonical_solution"), text("prompt")
    asked = text("text") or prompt
    tests = record.get("test_list")
    task_id = record.get("task_id")
    if task_id is not None and solution is not None and prompt is not None:
        whole = (
            solution
            if solution.lstrip("\n").startswith(("def ", "import ", "from ", "class ", "@"))
            else prompt + solution
        )
        return BenchmarkTask(str(task_id), _docstring(prompt, record), whole, text("test") or text("assertion") or "")
    if task_id is not None and asked is not None and (code := text("code")) is not None:
        name = str(task_id) if not isinstance(task_id, int) else f"MBPP/{task_id}"
        listed = "\n".join(map(str, tests)) if isinstance(tests, list) else ""
        return BenchmarkTask(name, _words(asked), code, listed)
    raise UserError(
        f"{place} has the fields {', '.join(map(str, record)) or 'none'}: no format we know.", f"Give {_FORMATS}."
    )


def _docstring(prompt: str, record: Mapping[str, Any]) -> str:
    """The prompt's words: the entry point's docstring, else the last one, without examples."""
    tree = python_tree(prompt.rstrip() + "\n    pass\n" if '"""' in prompt or "'''" in prompt else prompt)
    if not isinstance(tree, ast.Module):
        return _words(prompt)
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)]
    docs = {getattr(node, "name", ""): doc for node in documented if (doc := ast.get_docstring(node))}
    return _words(docs.get(str(record.get("entry_point"))) or next(reversed(docs.values()), prompt))


def _words(text: str) -> str:
    """`text` without doctests, asserts and the quotes that EvalPlus puts around a prompt."""
    lines = [line for line in _DOCTEST.sub("", text).strip().strip("\"'").split("\n") if not line.startswith("assert ")]
    return "\n".join(lines).strip()
