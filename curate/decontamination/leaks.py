"""Which rows leak which task: the rules, and the references they compare with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from curate.code.languages import python_tree
from curate.decontamination.coverage import Index
from curate.decontamination.streams import Streams, code_streams, word_streams
from curate.decontamination.tasks import BenchmarkTask
from curate.engines.types import Engine, cut
from curate.pool.rows import Finding, Row
from curate.pool.table import CELL_ROWS, PoolTable

REASON = "leaks_benchmark"
_CHUNK_ROWS = CELL_ROWS
_IMPORT = re.compile(r"^(?:from [\w.]+ import |import ).*$", re.MULTILINE)
_REQUEST = re.compile(
    r"^\s*write an? (?:python )?(?:function|program|code|method)(?: to| that| which| for)?\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Rule:
    """When a comparison with a task's text is a leak: the `share` of it that must stand in the row in runs of `window`
    tokens; texts of fewer than `least_tokens` are not compared."""

    share: float
    window: int
    least_tokens: int = 0


# Tuned on the tasks that benchmarks/curate_decontamination.py does not measure with. Names that agree are worth much;
# code that agrees only in its shape needs the request to agree as well, or to be long: short loops are all alike.
SOLUTION = Rule(share=0.9, window=5)
BODY = Rule(share=1.0, window=5, least_tokens=8)
RENAMED = Rule(share=0.9, window=6)
RENAMED_ALONE = Rule(share=0.9, window=12, least_tokens=24)
REQUEST_WITH_CODE = Rule(share=0.5, window=2)
REQUEST = Rule(share=0.9, window=3, least_tokens=10)
TEST = Rule(share=1.0, window=6, least_tokens=12)


Hits = dict[tuple[int, int], float]  # (row, task) -> share of the task's text that stands in the row


class Comparison:
    """One way of comparing rows with texts of the tasks; `texts` are (task number, text)."""

    def __init__(
        self, texts: Sequence[tuple[int, str]], rule: Rule, *, words: bool = False, renamed: bool = False
    ) -> None:
        streams = (word_streams if words else code_streams)([text for _, text in texts])
        self.rule = rule
        self.task = [task for task, _ in texts]
        self.index = Index(streams, len(texts), rule.window, renamed=renamed)

    def hits(self, rows: Streams) -> Hits:
        """The pairs that reach the rule's share."""
        found = self.index.cover(rows, self.rule.share)
        best: Hits = {}
        for row, text, share in zip(found.row.tolist(), found.reference.tolist(), found.share.tolist(), strict=True):
            pair = row, self.task[text]
            if self.index.tokens[text] >= self.rule.least_tokens and share > best.get(pair, 0.0):
                best[pair] = share
        return best


class Detector:
    """All comparisons with the texts of `tasks`, built once."""

    def __init__(self, tasks: Sequence[BenchmarkTask]) -> None:
        solutions = [(number, text) for number, task in enumerate(tasks) for text in _solutions(task.code)]
        bodies = [(number, body) for number, text in solutions if (body := _body(text))]
        requests = [(number, _REQUEST.sub("", task.description)) for number, task in enumerate(tasks)]
        tests = [(number, line) for number, task in enumerate(tasks) for line in _tests(task.tests)]
        self.by_name = Comparison(solutions, SOLUTION)
        self.by_body = Comparison(bodies, BODY)
        self.by_test = Comparison(tests, TEST)
        self.by_request = Comparison(requests, REQUEST, words=True)
        self.by_shape = Comparison(solutions, RENAMED, renamed=True)
        self.by_word_pairs = Comparison(requests, REQUEST_WITH_CODE, words=True)
        self.by_long_shape = Comparison(solutions + bodies, RENAMED_ALONE, renamed=True)

    def evidence(self, texts: Sequence[str]) -> dict[int, tuple[int, float, str]]:
        """{text number: (task number, share, what was found)}: the plainest evidence, of the task with most of it."""
        code, words = code_streams(texts), word_streams(texts)
        shape = self.by_shape.hits(code)
        pairs = self.by_word_pairs.hits(words.only({row for row, _ in shape}))
        best: dict[int, tuple[int, float, str]] = {}
        for hits, what in (
            (self.by_name.hits(code), "its solution"),
            (self.by_body.hits(code), "its solution's body"),
            (self.by_test.hits(code), "one of its tests"),
            (self.by_request.hits(words), "its request"),
            ({pair: share for pair, share in shape.items() if pair in pairs}, "its solution, renamed, and its request"),
            (self.by_long_shape.hits(code), "its solution, renamed"),
        ):
            found: dict[int, tuple[int, float, str]] = {}
            for (row, task), share in sorted(hits.items()):
                if row not in best and (row not in found or share > found[row][1]):
                    found[row] = task, share, what
            best |= found
        return best


@lru_cache(maxsize=1)
def _detector(tasks: tuple[BenchmarkTask, ...]) -> Detector:
    """Kept by a worker from block to block."""
    return Detector(tasks)


@dataclass(frozen=True)
class LeakStep:
    """Returns what `find_leaks` finds among the rows at the places of a block."""

    table: PoolTable
    tasks: tuple[BenchmarkTask, ...]

    def __call__(self, places: NDArray[np.int64]) -> list[Finding]:
        return find_leaks(self.table.read(places), self.tasks)


def find_leaks_in_pool(
    engine: Engine, table: PoolTable, places: NDArray[np.int64], tasks: Sequence[BenchmarkTask]
) -> list[Finding]:
    """Return what `find_leaks` finds among the rows at some places, mapped over their blocks."""
    blocks = engine.map(LeakStep(table, tuple(tasks)), cut(places, engine.block_cells))
    return [finding for block in blocks for finding in block]


def find_leaks(rows: Sequence[Row], tasks: Sequence[BenchmarkTask]) -> list[Finding]:
    """(row index, "leaks_benchmark", detail) of rows that hold a task's solution, a test or its request.

    Compared are runs of tokens of the whole row, instruction and output, so layout, comments, docstrings, brackets,
    quotes and type annotations leave no trace, and code is found inside other code. A solution counts with its own
    names, or, consistently renamed (parameterized matching: Baker, 1993), together with half of the request's word
    pairs, or alone when it is long; a request counts when it is repeated nearly word for word; a test when it is whole.
    Only the first 50,000 characters of a row are looked at. What the rules find and miss:
    benchmarks/curate_decontamination.py.
    """
    detector = _detector(tuple(tasks))
    found: list[Finding] = []
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        evidence = detector.evidence([f"{row.instruction}\n{row.output}" for row in chunk])
        for number, (task, share, what) in sorted(evidence.items()):
            found.append((chunk[number].row_index, REASON, f"{tasks[task].task_id}: {share:.0%} of {what}"))
    return found


def _solutions(code: str) -> Iterator[str]:
    """The solution as written, as Python would write it, and that without annotations, each once; no imports."""
    written = _IMPORT.sub("", code)
    texts = [written]
    for annotated in (True, False):
        tree = python_tree(code)
        if not isinstance(tree, ast.Module):
            break
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) and len(node.body) > 1:
                del node.body[0]
            if isinstance(node, ast.FunctionDef) and not annotated:
                node.returns = None
                for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                    argument.annotation = None
        texts.append(_IMPORT.sub("", ast.unparse(tree)))
    return iter(dict.fromkeys(texts))


def _body(solution: str) -> str | None:
    """What follows the first line of a solution that is a single function."""
    lines = solution.split("\n")
    heads = [number for number, line in enumerate(lines) if line.startswith("def ")]
    return "\n".join(lines[heads[0] + 1 :]) if len(heads) == 1 else None


def _tests(tests: str) -> Iterator[str]:
    """The asserts of a task, one line each."""
    for line in tests.split("\n"):
        if line.strip().startswith("assert "):
            yield line.strip()
