"""Traps in the rows: as they were selected, and as the run batches them."""

from __future__ import annotations

from finetune.batches.packing import IGNORED
from finetune.check.facts import Facts

FEWEST_EVAL_ROWS = 8


def no_holdout(facts: Facts) -> str | None:
    """Nothing says whether the run helped."""
    if facts.selection.holdout:
        return None
    if facts.selection.manifest.counts.get("pool", 10) < 10:
        return "The selection has no held-out rows. They are a tenth of the pool at most: select from 10 rows or more."
    return "The selection has no held-out rows. Select again with --holdout 200."


def few_eval_rows(facts: Facts) -> str | None:
    """The eval loss would be mostly noise."""
    rows = len(facts.selection.holdout[: facts.config.eval_rows])
    if rows == 0 or rows >= FEWEST_EVAL_ROWS:
        return None
    if len(facts.selection.holdout) >= FEWEST_EVAL_ROWS:
        return f"The eval loss comes from {rows} rows. Use eval_rows={FEWEST_EVAL_ROWS} or more."
    least = FEWEST_EVAL_ROWS
    return (
        f"The eval loss comes from {rows} rows of {len(facts.selection.holdout)} held out. Select again with --holdout "
        f"{least} or more, from {10 * least} rows or more: a holdout is a tenth of the pool at most."
    )


def rows_are_cut(facts: Facts) -> str | None:
    """Pieces of rows: outputs without their beginning or end."""
    if facts.examples is None or facts.trained is None:
        return None
    whole = {tuple(example.input_ids) for example in facts.examples}
    pieces = sum(tuple(example.input_ids) not in whole for example in facts.trained)
    return f"{pieces} of {len(facts.trained)} samples are no whole row. Set packing=best-fit." if pieces else None


def row_over_limit(facts: Facts) -> str | None:
    """Rows are never cut, so the run would stop."""
    if facts.examples is None or facts.config.packing == "joined":
        return None
    long = [len(e.input_ids) for e in facts.examples if len(e.input_ids) > facts.config.max_length]
    if not long:
        return None
    return f"{len(long)} rows are longer than max_length {facts.config.max_length}. Set max_length={max(long)} or more."


def end_token_missing(facts: Facts) -> str | None:
    """A model that never sees the end of an answer never learns to stop."""
    if facts.end_id is None or not facts.trained:
        return None
    without = sum(example.input_ids[-1] != facts.end_id for example in facts.trained)
    return (
        f"{without} of {len(facts.trained)} training samples do not end with the end token. Set packing=best-fit."
        if without
        else None
    )


def end_token_masked(facts: Facts) -> str | None:
    """Present, but without loss: the usual fault of pad = end with a collator that masks by id."""
    if facts.end_id is None or not facts.batches:
        return None
    masked = 0
    for batch in facts.batches:
        ends = (batch["input_ids"] == facts.end_id) & (batch["sample_ids"] >= 0)
        last = batch["sample_ids"] != batch["sample_ids"].roll(-1, dims=1)
        last[:, -1] = True
        masked += int((ends & last & (batch["labels"] == IGNORED)).sum())
    return f"{masked} end tokens carry no loss in the batches as built. Use another pad_token." if masked else None


def start_token_doubled(facts: Facts) -> str | None:
    """The template writes a start token and the tokenizer adds one."""
    if not facts.start_ids or not facts.examples:
        return None
    start = facts.start_ids[0]
    doubled = sum(list(example.input_ids[:2]) == [start, start] for example in facts.examples)
    return f"{doubled} rows begin with two start tokens. Take it out of the prompt template." if doubled else None


def nothing_labelled(facts: Facts) -> str | None:
    """Bins without a target train nothing and make the loss not a number."""
    if not facts.batches:
        return None
    empty = sum(int(((batch["labels"] != IGNORED).sum(dim=1) == 0).sum()) for batch in facts.batches)
    return f"{empty} bins hold no token with loss: every place is masked." if empty else None


def empty_outputs(facts: Facts) -> str | None:
    """They teach to answer nothing."""
    empty = sum(not row.output.strip() for row in facts.selection.selected)
    return f"{empty} selected rows have an empty output. Make the selection again." if empty else None


def token_counts_differ(facts: Facts) -> str | None:
    """Another template, tokenizer or edited rows: the bounds of the selection no longer hold."""
    if facts.examples is None:
        return None
    pairs = zip(facts.selection.selected, facts.examples, strict=True)
    differ = sum(row.token_count != len(example.input_ids) for row, example in pairs)
    if not differ:
        return None
    return f"{differ} rows have other token counts than the selection says: its template or tokenizer is another one."


def holdout_in_training(facts: Facts) -> str | None:
    """The eval loss would praise memory."""
    held = {(row.instruction, row.output) for row in facts.selection.holdout}
    shared = sum((row.instruction, row.output) in held for row in facts.selection.selected)
    return f"{shared} training rows are held-out rows too. Make the selection again." if shared else None


def rows_repeated(facts: Facts) -> str | None:
    """Exact duplicates count twice."""
    rows = [(row.instruction, row.output) for row in facts.selection.selected]
    again = len(rows) - len(set(rows))
    return f"{again} training rows are exact duplicates. Make the selection again." if again else None
