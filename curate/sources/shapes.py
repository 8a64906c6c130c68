"""The shapes of records that are recognised by their names, and what is said of those that are not."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from curate.errors import UsageError, UserError
from curate.sources.fields import NotText, Path, Record, field_at, is_blank, text_fields
from curate.sources.turns import has_turns

MESSAGES = "messages"
ROLES = ("instruction", "output", "input", MESSAGES)
_EXAMPLE = "Write instruction=NAME,output=NAME[,input=NAME], or messages=NAME."


@dataclass(frozen=True)
class Shape:
    """A kind of record: the names of its question and answer, or of its `turns`.

    Those of `inputs` that a record has are put behind the question, in this order, where they are not blank.
    """

    name: str
    instruction: str = ""
    output: str = ""
    inputs: tuple[str, ...] = ()
    turns: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.turns,) if self.turns else (self.instruction, self.output)


# The first whose names a record has is taken. A prompt and completion may be lists of messages, as TRL has them.
SHAPES = (
    Shape("alpaca", "instruction", "output", ("input",)),
    Shape("Dolly", "instruction", "response", ("context", "input")),
    Shape("prompt and completion", "prompt", "completion", ("input", "context")),
    Shape("messages", turns="messages"),
    Shape("ShareGPT", turns="conversations"),
    Shape("conversation", turns="conversation"),
    Shape("Gemini", turns="contents"),
    Shape("query and answer", "query", "answer", ("context",)),
    Shape("query and response", "query", "response", ("context",)),
    Shape("OpenCodeReasoning", "question", "r1_generation"),
    Shape("question and answer", "question", "answer", ("context",)),
    Shape("question and response", "question", "response", ("context",)),
    Shape("problem and solution", "problem", "solution", ("input", "context")),
    Shape("prompt and response", "prompt", "response", ("input", "context")),
    Shape("input and output", "input", "output"),
    Shape("MBPP", "text", "code"),
)
_INPUTS = frozenset(name for shape in SHAPES for name in shape.inputs)
_QUESTIONS = _INPUTS | {"passage", "background"}  # what a question is about, whatever the shape calls it
SYSTEM_NAMES = ("system", "system_prompt")
HISTORY = "history"
_LABELLED, _LABEL = ("prompt", "completion"), "label"  # TRL's answers by whether somebody wanted them
_LONG_NAME = 40  # letters; what is longer, or of more than three words, may be a row of a file without names
_BLANKS = " \t\r\n\u00a0\u200b\u2060\ufeff"  # around a name: blanks, and marks that nobody sees
# What people call the two columns, the likeliest first; only for the suggestion in an error.
_OFTEN = {
    "instruction": (
        "0.content", "0.value", "instruction", "prompt", "question", "query", "problem", "task", "input", "user",
        "human", "text",
    ),
    "output": (
        "1.content", "1.value", "output", "response", "answer", "completion", "solution", "chosen", "code", "target",
        "assistant", "bot",
    ),
    "input": ("context", "input", "passage", "background"),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Where a record has its question and answer: paths to its fields. `turns` is the path of its messages instead.

    `left_out` are columns that in other shapes are part of the question, and here are not read. `label` says false of
    an answer that was rejected. `others` are those of the other shapes that fit, for records in which these are blank:
    a table of rows of several shapes has the columns of all.
    """

    instruction: Path = ()
    output: Path = ()
    inputs: tuple[Path, ...] = ()
    turns: Path = ()
    system: Path = ()
    history: Path = ()
    label: Path = ()
    left_out: tuple[str, ...] = ()
    others: tuple[Columns, ...] = ()

    @property
    def top_names(self) -> list[str]:
        """The columns that are read, each once."""
        paths = (self.instruction, self.output, *self.inputs, self.turns, self.system, self.history, self.label)
        others = [name for other in self.others for name in other.top_names]
        return list(dict.fromkeys([*(path[0] for path in paths if path), *others]))

    def of(self, record: Record, place: str) -> Columns:
        """These columns, or the first of the others that are not blank in a record."""
        if not self.others or not self._blank(record, place):
            return self
        return next((other for other in self.others if not other._blank(record, place)), self)

    def _blank(self, record: Record, place: str) -> bool:
        paths = (self.turns,) if self.turns else (self.instruction, self.output)
        return all(is_blank(field_at(record, path, place)) for path in paths)


def parse_columns(text: str | None) -> dict[str, str] | None:
    """`instruction=NAME,output=NAME[,input=NAME]` or `messages=NAME` as a mapping from role to column name."""
    if text is None:
        return None
    mapping: dict[str, str] = {}
    for part in text.split(","):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not name or role in mapping:
            raise UsageError(f'--columns has "{part}".', _EXAMPLE)
        mapping[role] = name
    missing = [role for role in ROLES[:2] if role not in mapping]
    if MESSAGES in mapping:
        if len(mapping) > 1:
            raise UsageError("--columns names messages, and other columns beside them.", _EXAMPLE)
    elif missing:
        raise UsageError(f"--columns names no {missing[0]}.", _EXAMPLE)
    return mapping


class Unrecognised(UserError):
    """A record with columns that are not those of a shape, or not those that `--columns` names."""


def recognise(
    names: tuple[str, ...], named: Mapping[str, str] | None, where: str, record: Record, turns: bool = False
) -> Columns:
    """The columns of a record with these names: those of `--columns`, else those of the first shape that fits.

    Where `turns` are asked for, messages come first. The other shapes that fit serve records in which these are blank.
    """
    if named is not None:
        return _named(names, named, where, record)
    actual = _spelling(names)
    fitting = [shape for shape in SHAPES if all(name in actual for name in shape.needs)]
    if not fitting:
        raise Unrecognised(f"{where}: no columns that are recognised.", explain(names, record))
    if turns:
        fitting.sort(key=lambda shape: not shape.turns)
    first, *others = (_columns(shape, actual, fitting) for shape in fitting)
    return replace(first, others=tuple(others))


def _columns(shape: Shape, actual: Mapping[str, str], fitting: Iterable[Shape]) -> Columns:
    read = {name for each in (fitting if shape.turns else [shape]) for name in (*each.needs, *each.inputs)}
    return Columns(
        instruction=_path(actual, shape.instruction),
        output=_path(actual, shape.output),
        inputs=tuple((actual[name],) for name in shape.inputs if name in actual),
        turns=_path(actual, shape.turns),
        system=next(((actual[name],) for name in SYSTEM_NAMES if name in actual), ()),
        history=_path(actual, HISTORY),
        label=_path(actual, _LABEL) if shape.needs == _LABELLED else (),
        left_out=tuple(actual[name] for name in sorted(_QUESTIONS - read) if name in actual),
    )


def fits(record: Record, named: Mapping[str, str] | None) -> bool:
    """Whether a record has the columns that `--columns` names, else those of one of the shapes."""
    if named is not None:
        return all(_leads_somewhere(record, name) for role, name in named.items() if role != "input")
    actual = _spelling(record)
    return any(all(name in actual for name in shape.needs) for shape in SHAPES)


def _leads_somewhere(record: Record, name: str) -> bool:
    path = resolve(record, name)
    try:
        return path is not None and (len(path) == 1 or field_at(record, path, "") is not None)
    except UserError:
        return False


def _spelling(names: Iterable[str]) -> dict[str, str]:
    """The names as they are written, by what they are without case and blanks; one written exactly so comes first."""
    names = [str(name) for name in names]
    return {name.strip(_BLANKS).casefold(): name for name in names} | {name: name for name in names}


def _path(actual: Mapping[str, str], name: str) -> Path:
    return (actual[name],) if name and name in actual else ()


def resolve(names: Iterable[str], wanted: str) -> Path | None:
    """The path to a column, blanks around its name and letter case apart, or into one: `messages.0.content`."""
    actual = _spelling(names)
    if wanted in actual or wanted.strip(_BLANKS).casefold() in actual:
        return (actual.get(wanted) or actual[wanted.strip(_BLANKS).casefold()],)
    first, dot, rest = wanted.partition(".")
    return (actual[first], *rest.split(".")) if dot and first in actual else None


def _named(names: tuple[str, ...], named: Mapping[str, str], where: str, record: Record) -> Columns:
    paths: dict[str, Path] = {}
    for role, name in named.items():
        path = resolve(names, name)
        if path is not None:
            field_at(record, path, where)
            paths[role] = path
        elif role != "input":
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            guess = f' Did you mean "{close[0]}"?' if close else ""
            raise Unrecognised(f'{where} has no column "{name}".', _have(names) + guess)
    if MESSAGES in paths:
        return Columns(turns=paths[MESSAGES])
    inputs = (paths["input"],) if "input" in paths else ()
    read = {path[0] for path in paths.values()}
    left_out = tuple(name for name in names if name in _INPUTS and name not in read)
    return Columns(instruction=paths["instruction"], output=paths["output"], inputs=inputs, left_out=left_out)


def explain_nested(columns: Columns, error: NotText) -> str:
    """What to type where a question or an answer is a structure: the `--columns` value that names the text in it."""
    paths = {"instruction": columns.instruction, "output": columns.output, "input": next(iter(columns.inputs), ())}
    names = {role: ".".join(path) for role, path in paths.items() if path}
    inside = next((name for name in text_fields({error.name: error.value}) if "," not in name), None)
    if error.name not in names.values() or inside is None:
        return error.next_step
    value = ",".join(f"{role}={inside if name == error.name else name}" for role, name in names.items())
    return f"If the text is in a field of it: --columns {shlex.quote(value)}"


def explain_other(names: tuple[str, ...], before: Columns) -> str:
    """What to make of a record that is of no known shape behind others that were read by the columns `before`."""
    wanted = [".".join(path) for path in (before.turns, before.instruction, before.output) if path]
    pairs = ((name, difflib.get_close_matches(name, names, n=1, cutoff=0.6)) for name in wanted if name not in names)
    renamed = ", ".join(f'"{close[0]}" to "{name}"' for name, close in pairs if close)
    step = f"Rename {renamed}, or leave it out." if renamed else "Give it those names, or leave it out."
    return f"{_have(names)} What stands before it was read by {' and '.join(wanted)}. {step}"


def _have(names: Iterable[str]) -> str:
    return f"Its columns: {', '.join(map(str, names)) or 'none'}."


def explain(names: tuple[str, ...], record: Record) -> str:
    """What a record has and what to type: a `--columns` value that works, or what to make of the file."""
    texts = list(text_fields(record))
    have = _have(names)
    if "chosen" in names and "rejected" in names:
        have = f"It holds preferences (chosen and rejected answers), which are not trained on here. {have}"
    spoken = next((name for name, value in record.items() if has_turns(value) and "," not in str(name)), None)
    if spoken is not None and "rejected" not in names:
        return f"{have} If these are the messages of a conversation: --columns {shlex.quote(f'messages={spoken}')}"
    if {"role", "content"} <= set(names) or {"from", "value"} <= set(names):
        return f'{have} These are single messages: write a conversation as one row, {{"messages": [...]}}'
    parts, free = {}, list(texts)
    for role, words in _OFTEN.items():
        name = next((name for word in words for name in free if word in name.lower()), None)
        if name is not None:
            parts[role] = name
            free = [other for other in free if other != name]
    for role in ROLES[:2] if len(texts) == 2 else ():  # nothing else is left to be taken for it
        if role not in parts:
            parts[role] = free.pop(0)
    if any(len(name) > _LONG_NAME or len(name.split()) > 3 for name in names):
        have += " If these are no names but a row, put a first line before it: instruction,output."
    if "instruction" in parts and "output" in parts and not any("," in name for name in parts.values()):
        value = ",".join(f"{role}={name}" for role, name in parts.items())
        return f"{have} If these are the question and the answer: --columns {shlex.quote(value)}"
    if len(texts) < 2:
        return f"{have} A row needs a question and an answer: write them as the columns instruction and output."
    if any("," in name for name in texts):
        return f"{have} A name with a comma cannot be written in --columns: rename the two to instruction and output."
    return f"{have} Say which are the question and the answer: --columns instruction={texts[0]},output={texts[1]}"
