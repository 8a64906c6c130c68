"""Which rows leak which task: the rules, and the references they compare with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curate.cleaning import Finding
from curate.code.languages import python_tree
from curate.decontamination.coverage import Index
from curate.decontamination.streams import code_streams, word_streams
from curate.decontamination.tasks import BenchmarkTask
from curate.rows import Row

REASON = "leaks_benchmark"
_CHUNK_ROWS = 4_000
_IMPORT = re.compile(r"^(?:from [\w.]+ import |import ).*$", re.MULTILINE)
_REQUEST = re.compile(r"^\s*write an? (?:python )?(?:function|program|code|method)(?: to| that| which| for)?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Rule:
    """When a comparison with a task's text is a leak: the share that must stand in the row, of how many tokens at least,
    in runs of `window` tokens."""

    share: float
    window: int
    least_tokens: int = 0


# Tuned on the tasks that benchmarks/curate_decontamination.py does not measure with. Runs of few tokens find what was
# taken apart, and demand a share near one; names that agree are worth much, code that agrees only in its shape needs the
# request to agree as well, or to be long: a bubble sort looks alike everywhere.
SOLUTION = Rule(share=0.9, window=5)
RENAMED = Rule(share=0.9, window=6)
RENAMED_ALONE = Rule(share=0.95, window=12, least_tokens=40)
REQUEST_WITH_CODE = Rule(share=0.5, window=2)
REQUEST = Rule(share=0.9, window=3, least_tokens=10)
TEST = Rule(share=1.0, window=6, least_tokens=12)


class Comparison:
    """One way of comparing rows with texts of the tasks; `texts` are (task number, text)."""

    def __init__(self, texts: Sequence[tuple[int, str]], rule: Rule, *, words: bool = False, renamed: bool = False) -> None:
        streams = (word_streams if words else code_streams)([text for _, text in texts])
        self.rule, self.words = rule, words
        self.task = [task for task, _ in texts]
        self.index = Index(streams, len(texts), rule.window, renamed=renamed)

    def hits(self, streams: dict[bool, object]) -> dict[tuple[int, int], float]:
        """{(row, task): share} where the rule's share is reached."""
        covered = self.index.cover(streams[self.words], self.rule.share)  # type: ignore[arg-type]
        best: dict[tuple[int, int], float] = {}
        for row, text, share in zip(covered.row.tolist(), covered.reference.tolist(), covered.share.tolist(), strict=True):
            pair = row, self.task[text]
            if self.index.tokens[text] >= self.rule.least_tokens and share > best.get(pair, 0.0):
                best[pair] = share
        return best


def find_leaks(rows: Sequence[Row], tasks: Sequence[BenchmarkTask]) -> list[Finding]:
    """(row index, "leaks_benchmark", detail) of rows that hold a task's solution, tests or request.

    Compared are runs of tokens of the whole row, instruction and output, so layout, comments, docstrings, brackets,
    quotes and type annotations leave no trace, and code is found inside other code. A solution counts with its own
    names, or, consistently renamed (parameterized matching: Baker, 1993), together with half of the request's word
    pairs, or alone when it is long; a request counts when it is repeated nearly word for word; a test when it is whole.
    Only the first 50,000 characters of a row are looked at. What the rules find and miss:
    benchmarks/curate_decontamination.py.
    """
    solutions = [(number, text) for number, task in enumerate(tasks) for text in _solutions(task.code)]
    requests = [(number, _REQUEST.sub("", task.description)) for number, task in enumerate(tasks)]
    tests = [(number, line) for number, task in enumerate(tasks) for line in _tests(task.tests)]
    by_name = Comparison(solutions, SOLUTION)
    by_shape = Comparison(solutions, RENAMED, renamed=True)
    by_long_shape = Comparison(solutions, RENAMED_ALONE, renamed=True)
    by_pairs = Comparison(requests, REQUEST_WITH_CODE, words=True)
    by_request = Comparison(requests, REQUEST, words=True)
    by_test = Comparison(tests, TEST)
    found: list[Finding] = []
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        texts = [f"{row.instruction}\n{row.output}" for row in chunk]
        streams: dict[bool, object] = {False: code_streams(texts), True: word_streams(texts)}
        shape, pairs = by_shape.hits(streams), by_pairs.hits(streams)
        evidence: dict[int, tuple[float, int, str]] = {}

        def note(hits: dict[tuple[int, int], float], what: str, into: dict[int, tuple[float, int, str]] = evidence) -> None:
            for (row, task), share in hits.items():
                if (share, -task) > into.get(row, (0.0, 0, ""))[:2] and row not in settled:
                    into[row] = share, -task, what

        settled: set[int] = set()
        for hits, what in (
            (by_name.hits(streams), "its solution"),
            (by_test.hits(streams), "one of its tests"),
            (by_request.hits(streams), "its request"),
            ({pair: share for pair, share in shape.items() if pair in pairs}, "its solution, renamed, and its request"),
            (by_long_shape.hits(streams), "its solution, renamed"),
        ):
            note(hits, what)
            settled |= set(evidence)
        for row, (share, task, what) in sorted(evidence.items()):
            found.append((chunk[row].row_index, REASON, f"{tasks[-task].task_id}: {share:.0%} of {what}"))
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


def _tests(tests: str) -> Iterator[str]:
    """The asserts of a task, one line each."""
    for line in tests.split("\n"):
        if line.strip().startswith("assert "):
            yield line.strip()
