"""Weights & Biases. The only file that imports wandb."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from typing import Any

from curate.errors import UserError
from finetune.tracking.types import Session, TrackedRun, Tracker


class _Wandb:
    """A run of wandb's; a resumed run goes on in the same one."""

    def __init__(self, run: TrackedRun, mode: Any) -> None:
        import wandb

        try:
            self._run: Any = wandb.init(
                project="rowpick", name=run.name, dir=str(run.folder), config=dict(run.config), mode=mode,
                resume="allow", id=run.identity, settings=wandb.Settings(silent=True),
            )  # fmt: skip
        except wandb.errors.Error as error:
            raise UserError(f"wandb did not start ({error}).", "Use --track wandb-offline, or none.") from None

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


def _start(run: TrackedRun) -> Session:
    """As wandb itself does, what WANDB_MODE says comes first."""
    return _Wandb(run, os.environ.get("WANDB_MODE") or "online")


def _require_key() -> None:
    """wandb would ask for a key on the terminal."""
    if os.environ.get("WANDB_MODE") not in ("disabled", "offline", "dryrun") and not _has_key():
        raise UserError(
            "--track wandb, but wandb has no key.", "Run `wandb login`, or use --track wandb-offline or trackio."
        )


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


WANDB = Tracker(_start, "Weights & Biases, over the network", _require_key)
WANDB_OFFLINE = Tracker(lambda run: _Wandb(run, "offline"), "Weights & Biases' files in the run, for `wandb sync`")
