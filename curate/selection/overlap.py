"""`curate overlap`: which rows two selections share, and whether one picked what the other holds out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from curate.selection.record import Selection


@dataclass(frozen=True)
class Overlap:
    """Rows that two selections have in common, by row_id.

    `by_chance` is how many two draws at random from the same candidates would share, None where the candidates are not
    the same. `first_in_second_holdout` are picks of the first that the second holds out, and the other way round.
    """

    first: str
    second: str
    first_rows: int
    second_rows: int
    shared: int
    share_of_all: float
    same_pool: bool
    same_holdout: bool
    by_chance: float | None
    first_in_second_holdout: int
    second_in_first_holdout: int
    shared_row_ids: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "shared_row_ids": list(self.shared_row_ids)}


def measure_overlap(first: Selection, second: Selection) -> Overlap:
    """Return what two finished selections share."""
    picks, others = ({row.row_id for row in each.selected} for each in (first, second))
    held, held_too = ({row.row_id for row in each.holdout} for each in (first, second))
    shared = [row.row_id for row in first.selected if row.row_id in others]
    pools = [each.manifest.config.get("pool_digest") for each in (first, second)]
    same_pool = pools[0] is not None and pools[0] == pools[1]
    candidates = [_candidates(each) for each in (first, second)]
    comparable = same_pool and candidates[0] == candidates[1] and candidates[0] > 0
    return Overlap(
        first=first.path.name,
        second=second.path.name,
        first_rows=len(picks),
        second_rows=len(others),
        shared=len(shared),
        share_of_all=round(len(shared) / max(1, len(picks | others)), 4),
        same_pool=same_pool,
        same_holdout=first.holdout_digest == second.holdout_digest,
        by_chance=round(len(picks) * len(others) / candidates[0], 1) if comparable else None,
        first_in_second_holdout=len(picks & held_too),
        second_in_first_holdout=len(others & held),
        shared_row_ids=tuple(shared),
    )


def _candidates(selection: Selection) -> int:
    """How many rows the strategy chose from, near-duplicates of its picks apart."""
    counts = selection.manifest.counts
    dropped = counts.get("excluded", 0) - counts.get("excluded.near_duplicate", 0)
    return counts.get("pool", 0) - counts.get("held_out", 0) - dropped


def overlap_lines(overlap: Overlap) -> str:
    """The overlap in a few sentences."""
    o = overlap
    pool = "the same pool" if o.same_pool else "different pools"
    lines = [
        f"{o.shared} rows are in both, of {o.first_rows} in {o.first} and {o.second_rows} in {o.second} "
        f"({o.share_of_all:.1%} of all that either picked), from {pool}."
    ]
    if o.by_chance is not None:
        lines.append(f"Two draws at random would share {o.by_chance:.1f}.")
    lines.append("The held-out rows are the same." if o.same_holdout else "The held-out rows differ.")
    for n, picker, holder in (
        (o.first_in_second_holdout, o.first, o.second),
        (o.second_in_first_holdout, o.second, o.first),
    ):
        if n:
            lines.append(f"{n} rows that {picker} picked are held out by {holder}: do not compare runs of the two.")
    return "\n".join(lines)
