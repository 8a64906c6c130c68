"""Result files of any origin: which task passed, by sample."""

from __future__ import annotations

from pathlib import Path

from curate.artifact.sealed import SEAL, sealed
from curate.errors import UserError
from curate.sources.numbered_rows import read_numbered_rows
from evaluate_suite.execution.samples import SEALED_AS


def read_passed(path: Path) -> dict[str, list[float]]:
    """Outcomes (0 or 1) by task_id of a JSONL file with `task_id` and `passed`.

    What `evalsuite execute` left unscored (`passed` null, with a reason) is left out here too; a line of it that was
    changed since is a `UserError`.
    """
    outcomes: dict[str, list[float]] = {}
    for number, row in read_numbered_rows(path):
        if SEAL in row and row != sealed({name: row[name] for name in row if name != SEAL}, SEALED_AS):
            raise UserError(
                f"{path}:{number}: not as `evalsuite execute` wrote it.",
                "Give that command again: it runs what changed.",
            )
        if row.get("passed", 0) is None and row.get("reason"):
            continue
        if row.get("task_id") is None or not isinstance(row.get("passed"), bool):
            names = ", ".join(row) or "none"
            answers = {"completion", "solution", "resps", "filtered_resps"} & set(row)
            raise UserError(
                f"{path}:{number}: no task_id with passed true or false (fields: {names}).",
                f"These are answers: run them first, evalsuite execute --tasks TASKS --generations {path} --execute."
                if answers
                else 'A line looks like {"task_id": "HumanEval/0", "passed": true}.',
            )
        outcomes.setdefault(str(row["task_id"]), []).append(float(row["passed"]))
    if not outcomes:
        raise UserError(f"{path} holds no results.", 'A line looks like {"task_id": "HumanEval/0", "passed": true}.')
    return outcomes
