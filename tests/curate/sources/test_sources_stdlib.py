"""Rows mined from the installed standard library: many, the same every time, code that is the function itself."""

from __future__ import annotations

import ast
import platform
from pathlib import Path

import pytest

from curate.sources import load_rows
from curate.sources.stdlib import REQUESTS, mine
from curate.sources.types import LoadedPool

MODULE = '''"""Module."""
import os
\f
def plain(a, b=2, *, c):
    """Return the sum of all three numbers.

    Nothing else happens.
    """

    return a + b + c  # done


class Box:
    @property
    def size(self, /):
        "The number of things in the box."
        if self.things:
            return len(self.things)
        return 0

    async def fetch(cls, key: str) -> "Box":
        """Fetch the box with this key from far away."""
        return await cls.find(key)

    def later(self):
        """To be written by whoever derives from this."""
        raise NotImplementedError("later")

    def text(self):
        """A text whose second line is deeper than the code."""
        return """
            kept
        """


def undocumented():
    return 1


def short():
    """Too short."""
    return 1


def only():
    """A docstring and nothing else at all."""


def inline(): "A docstring beside the name of it."; return 1
'''


@pytest.fixture(scope="module")
def pool() -> LoadedPool:
    return load_rows("stdlib")


def test_the_standard_library_gives_about_4500_rows_that_say_where_they_are_from(pool: LoadedPool) -> None:
    assert 4000 <= len(pool.rows) <= 5000
    assert [row.row_index for row in pool.rows] == list(range(len(pool.rows)))
    assert pool.source == "stdlib"
    assert pool.revision == platform.python_version()
    assert [record.rows for record in pool.inputs] == [len(pool.rows)]
    sources = {row.source for row in pool.rows}
    assert {"json", "json.decoder", "heapq", "textwrap"} <= sources
    assert not [source for source in sources if "test" in source.split(".") or source.endswith("__init__")]


def test_every_output_is_code_that_parses_and_every_instruction_is_text(pool: LoadedPool) -> None:
    for row in pool.rows:
        assert isinstance(ast.parse(row.output).body[0], ast.FunctionDef | ast.AsyncFunctionDef)
    assert min(len(row.instruction) for row in pool.rows) >= 20


def test_requests_are_phrased_in_every_way_about_equally_often(pool: LoadedPool) -> None:
    openings = (
        "Write a Python ",
        "Implement ",
        "I need a Python ",
        "Complete this Python ",
        "python ",
        "Can you show ",
    )
    for opening in openings:
        share = sum(row.instruction.startswith(opening) for row in pool.rows) / len(pool.rows)
        assert share == pytest.approx(1 / len(REQUESTS), abs=0.02)


@pytest.mark.long
def test_mining_again_gives_the_same_rows(pool: LoadedPool) -> None:
    again = load_rows("stdlib")
    assert (list(again.rows), again.digest, again.inputs) == (list(pool.rows), pool.digest, pool.inputs)


def test_documented_functions_come_without_their_docstring_and_stubs_do_not_come(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(MODULE, encoding="utf-8")
    mined = list(mine(path))
    assert [code for _, code in mined] == [
        "def plain(a, b=2, *, c):\n    return a + b + c  # done",
        "@property\ndef size(self, /):\n    if self.things:\n        return len(self.things)\n    return 0",
        'async def fetch(cls, key: str) -> "Box":\n    return await cls.find(key)',
    ]
    for (instruction, _), phrase in zip(
        mined,
        ("Return the sum of all three numbers.", "The number of things", "Fetch the box with this key"),
        strict=True,
    ):
        assert phrase in instruction


def test_a_file_that_does_not_parse_gives_nothing(tmp_path: Path) -> None:
    broken, latin = tmp_path / "broken.py", tmp_path / "latin.py"
    broken.write_text("def f(:\n", encoding="utf-8")
    latin.write_bytes(b"# caf\xe9\n")
    assert list(mine(broken)) == []
    assert list(mine(latin)) == []
