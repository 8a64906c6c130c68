"""The trackers there are. None is asked for anything unless the command names it."""

from __future__ import annotations

from curate.console import say
from curate.errors import UsageError, did_you_mean
from curate.extensions import Table
from finetune.tracking.trackio_tracker import TRACKIO
from finetune.tracking.types import Nowhere, Tracker
from finetune.tracking.wandb_tracker import WANDB, WANDB_OFFLINE

NONE = Tracker(lambda run: Nowhere(), "nothing but the run's own files")

# Another package adds one with an entry point of the group `rowpick.trackers`.
TRACKERS = Table(
    "rowpick.trackers",
    Tracker,
    {"none": NONE, "wandb": WANDB, "wandb-offline": WANDB_OFFLINE, "trackio": TRACKIO},
)
ALIASES = {"off": "none", "online": "wandb", "offline": "wandb-offline"}  # of --wandb, from before there were others


def tracker_name(track: str | None, wandb: str | None = None) -> str:
    """Return the name of the tracker that `--track`, or `--wandb` from before, asks for; "none" where neither does."""
    if track is not None and wandb is not None:
        raise UsageError("--track and --wandb are both given.", "Give --track alone.")
    if wandb is not None:
        if wandb not in ALIASES:
            raise UsageError(f'--wandb is "{wandb}".', did_you_mean(wandb, list(ALIASES)))
        say(f"--wandb {wandb} is --track {ALIASES[wandb]}.")
        return ALIASES[wandb]
    return named(track or "none")


def named(name: str) -> str:
    """Return a tracker's name in the table, for itself or one of `ALIASES`."""
    name = ALIASES.get(name, name)
    if name not in TRACKERS:
        raise UsageError(f'--track is "{name}".', did_you_mean(name, list(TRACKERS)))
    return name


def require_tracker(name: str | None) -> Tracker:
    """Return the tracker of that name, ready to start; None means none."""
    tracker = TRACKERS[named(name or "none")]
    tracker.require()
    return tracker
