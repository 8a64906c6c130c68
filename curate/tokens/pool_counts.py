"""Token counts of a whole pool, block by block, kept on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_json
from curate.artifact.array_cache import cached_array
from curate.console import progress
from curate.engines.types import Engine, cut
from curate.pool.dialogue import texts_of
from curate.pool.table import PoolTable
from curate.tokens.prompt import PromptTemplate
from curate.tokens.text_rule import TEXT_RULE
from curate.tokens.tokenizers import count_spelled, count_tokens


@dataclass(frozen=True)
class CountStep:
    """Returns the token counts of the rows at the places of a block (n,)."""

    table: PoolTable
    tokenizer: Any
    template: PromptTemplate

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        return count_tokens(self.tokenizer, self.template, [texts_of(row) for row in self.table.read(places)])


@dataclass(frozen=True)
class SpelledStep:
    """Returns how many rows of a block spell a control token."""

    table: PoolTable
    tokenizer: Any

    def __call__(self, places: NDArray[np.int64]) -> int:
        return count_spelled(self.tokenizer, ((row.instruction, row.output) for row in self.table.read(places)))


def count_pool_tokens(
    engine: Engine, table: PoolTable, tokenizer: Any, digest: str, template: PromptTemplate
) -> NDArray[np.int32]:
    """Return `count_tokens` of every row, by row_index (n,); kept in `cache/token_counts` by tokenizer, template and
    pool content.

    `digest` is the tokenizer's. Kept are the counts in row_id order: the order of the pool plays no part.
    """

    def compute() -> NDArray[np.int32]:
        blocks, counts = cut(np.arange(len(table)), engine.block_cells), []
        with progress("Counting tokens", len(table)) as advance:
            for block in engine.map(CountStep(table, tokenizer, template), blocks):
                advance(len(block))
                counts.append(block)
        return np.concatenate(counts)

    def fits(counts: NDArray[np.int32]) -> bool:
        return counts.dtype == "int32" and counts.shape == (len(table),)

    key = digest_json([digest, TEXT_RULE, template.digest, table.digest(), len(table)])[:32]
    return cached_array("token_counts", key, "token counts", fits, compute)[table.place]


def count_pool_spelled(engine: Engine, table: PoolTable, tokenizer: Any) -> int:
    """Return how many rows of a pool spell a control token of the tokenizer."""
    return sum(engine.map(SpelledStep(table, tokenizer), cut(np.arange(len(table)), engine.block_cells)))
