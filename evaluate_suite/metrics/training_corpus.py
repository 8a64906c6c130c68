"""The training rows, indexed for finding the longest span a completion copies from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SEED = 8  # shorter spans are common phrases ("for i in range ( len ("), so they are not looked for
_TOKEN = re.compile(r"\w+|[^\w\s]")


def tokenise(text: str) -> list[str]:
    """Words and single signs; white space and layout do not count."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class CopiedSpan:
    """The longest copied span: its words and signs, in how many, and the row it stands in."""

    tokens: int
    text: str
    row_id: str | None


class TrainingCorpus:
    """Training outputs by row_id, with an index of all their 8-grams."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self.row_ids: list[str] = []
        self.rows: list[list[str]] = []
        self._index: dict[int, set[int]] = {}
        for row_id, output in rows:
            tokens = tokenise(output)
            place = len(self.rows)
            self.row_ids.append(row_id)
            self.rows.append(tokens)
            for gram in _grams(tokens):
                self._index.setdefault(gram, set()).add(place)

    def longest_copy(self, text: str) -> CopiedSpan:
        """The longest run of at least 8 words and signs of `text` that stands in a row; length 0 when there is none.

        Exact: rows that share an 8-gram with the text (any longer span has one) are searched with a suffix automaton
        of the text (Blumer et al., 1985), in time linear in their lengths. Of equal spans, that of the lowest row.
        """
        tokens = tokenise(text)
        shared: set[int] = set()
        for gram in set(_grams(tokens)):
            shared |= self._index.get(gram, set())
        best = CopiedSpan(0, "", None)
        automaton = SuffixAutomaton(tokens) if shared else None
        for place in sorted(shared):
            assert automaton is not None
            length, end = automaton.longest_common(self.rows[place])
            if length >= SEED and length > best.tokens:
                best = CopiedSpan(length, " ".join(self.rows[place][end - length : end]), self.row_ids[place])
        return best


def _grams(tokens: list[str]) -> Iterable[int]:
    return (hash(tuple(tokens[i : i + SEED])) for i in range(len(tokens) - SEED + 1))


class SuffixAutomaton:
    """All spans of a list of tokens; built in linear time."""

    def __init__(self, tokens: list[str]) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.link = [-1]
        self.length = [0]
        last = 0
        for token in tokens:
            last = self._extend(token, last)

    def _extend(self, token: str, last: int) -> int:
        state = self._add({}, self.length[last] + 1)
        at = last
        while at != -1 and token not in self.next[at]:
            self.next[at][token] = state
            at = self.link[at]
        if at == -1:
            self.link[state] = 0
            return state
        target = self.next[at][token]
        if self.length[target] == self.length[at] + 1:
            self.link[state] = target
            return state
        clone = self._add(dict(self.next[target]), self.length[at] + 1)
        self.link[clone] = self.link[target]
        while at != -1 and self.next[at].get(token) == target:
            self.next[at][token] = clone
            at = self.link[at]
        self.link[target] = self.link[state] = clone
        return state

    def _add(self, transitions: dict[str, int], length: int) -> int:
        self.next.append(transitions)
        self.link.append(0)
        self.length.append(length)
        return len(self.length) - 1

    def longest_common(self, tokens: list[str]) -> tuple[int, int]:
        """(length, end in `tokens`) of the longest span of `tokens` that is a span of ours; the first of equals."""
        state = matched = best = best_end = 0
        for end, token in enumerate(tokens, start=1):
            while state and token not in self.next[state]:
                state = self.link[state]
                matched = self.length[state]
            if token in self.next[state]:
                state = self.next[state][token]
                matched += 1
            if matched > best:
                best, best_end = matched, end
        return best, best_end
