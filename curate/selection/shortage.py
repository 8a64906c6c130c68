"""Too few rows are left to choose from: what removed them, and which option takes more."""

from __future__ import annotations

from curate.config import SelectConfig
from curate.errors import UserError
from curate.pool.fates import EXCLUDED, Fates
from curate.selection.by_column import NOT_TO_BE_PICKED

# What a user may say so that rows with these reasons are not excluded.
_OPTIONS = {
    "not_single_turn": "--turns last or --turns all takes longer conversations",
    "no_system_message": "--system keep takes rows without a system message",
    "not_kept": "--keep-where with more values keeps more",
    NOT_TO_BE_PICKED: "--pick-where with more values picks among more",
    "too_long": "a larger --max-tokens takes longer rows",
    "too_short": "a smaller --min-tokens takes shorter rows",
    "near_duplicate": "a larger --near-duplicate keeps more like each other",
    "near_duplicate_of_holdout": "a larger --near-duplicate keeps more like each other",
}


def ways_out(fates: Fates) -> str:
    """Return the options that keep rows which were excluded, those of the most rows first; "" where there are none."""
    counts = fates.counts()
    reasons = sorted(_OPTIONS, key=lambda reason: -counts.get(f"{EXCLUDED}.{reason}", 0))
    options = dict.fromkeys(_OPTIONS[reason] for reason in reasons if counts.get(f"{EXCLUDED}.{reason}"))
    return "; ".join(options)


def no_row_is_usable(fates: Fates) -> UserError:
    """Return the error for a pool of which no row has an output that could be used."""
    what = f"No row of the pool has an output that can be used (excluded: {fates.excluded_sentence()})."
    return UserError(what, _sentence(ways_out(fates)) or "Check --columns.")


def require_enough(config: SelectConfig, fates: Fates, n_held_out: int) -> None:
    """Raise a `UserError` where fewer candidates remain than asked for: both numbers, and what removed how many."""
    n_rows, left, budget = len(fates.codes), int((fates.codes == 0).sum()), config.token_budget
    if left >= (config.k if budget is None else 1):
        return
    asked = f"--k {config.k} is more than" if budget is None else f"--token-budget {budget} cannot be spent on"
    fewer = f"Take --k {left} or less" if left else "Name a larger --dataset"
    options = ways_out(fates)
    raise UserError(
        f"{asked} the {left} candidates left of {n_rows} rows "
        f"({n_held_out} held out; excluded: {fates.excluded_sentence()}).",
        f"{fewer}; {options}." if options else f"{fewer}.",
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
