"""The form of a row's answer by plain features: does it parse, is it finished, is it code or prose, is it clean?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.cleaning.unparsable import find as find_unparsable
from curate.code.languages import languages_named
from curate.code.unfenced import code_start, looks_like_prose
from curate.pool.rows import Row

FULL_STOPS = (".", "!", "?", "}", ")", "]", ";", "`", '"', "'", ">", ":")
PAIRS = ("()", "[]", "{}")


def well_formed(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return for every row the share (n,) of four conditions its answer meets, from 0 to 1.

    It parses where it claims a language; its brackets and fences are closed and it does not end in the middle of
    something; nothing but the answer stands in it (no prose behind code, no new question); it is code where
    the instruction names a language. Plain features of the text: no model is asked.
    """
    broken = {row_index for row_index, _, _ in find_unparsable(rows, [])}
    return (
        np.array(
            [
                (row.row_index not in broken)
                + _is_finished(row.output)
                + _nothing_behind(row.output)
                + _is_asked_for(row)
                for row in rows
            ],
            dtype=np.float64,
        )
        / 4
    )


def _is_finished(output: str) -> bool:
    text = output.rstrip()
    balanced = all(text.count(pair[0]) == text.count(pair[1]) for pair in PAIRS) and text.count("```") % 2 == 0
    last = text.splitlines()[-1] if text else ""
    in_sentence = looks_like_prose(last) and not text.endswith(FULL_STOPS)
    return balanced and not in_sentence and not text.endswith((",", "=", "\\", "(", "{", "["))


def _nothing_behind(output: str) -> bool:
    """Whether no sentence follows the code; an answer that is prose alone is fine."""
    start = code_start(output)
    if start is None:
        return True
    return not any(looks_like_prose(line) for line in output[start:].splitlines()[1:])


def _is_asked_for(row: Row) -> bool:
    return not languages_named(row.instruction) or code_start(row.output) is not None or "```" in row.output
