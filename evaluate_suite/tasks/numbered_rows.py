"""Rows of anybody's JSONL file with their line numbers, for messages that point at a line."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path
from typing import Any

from curate.artifact import parse_jsonl
from curate.errors import UserError

GZIP = b"\x1f\x8b"


def read_numbered_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank; a broken line is a `UserError` with its number.

    A byte order mark is read past, and what is compressed with gzip, as HumanEval is published, is unpacked.
    """
    return parse_jsonl(read_file_bytes(Path(path)).removeprefix(codecs.BOM_UTF8), path)


def read_file_bytes(source: Path) -> bytes:
    """Return what is in a file, unpacked where gzip compressed it; what cannot be read is a `UserError`."""
    try:
        data = source.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except FileNotFoundError:
        raise UserError(f"{source} does not exist.", "Check the path.") from None
    except IsADirectoryError:
        raise UserError(f"{source} is a folder.", "Name a JSONL file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{source} cannot be read ({error}).", "Check its permissions, or get it again.") from None
