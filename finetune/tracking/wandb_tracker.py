"""wandb, when it is wanted: never a prompt, never a surprise. The only file that imports wandb."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any, Literal

from curate.errors import UserError

Mode = Literal["online", "offline", "off"]


def resolve_mode(asked: str | None) -> Mode:
    """The mode asked for, or "online" when wandb has a key, else "off"."""
    if asked in ("online", "offline", "off"):
        if asked == "online" and not _has_key():
            raise UserError("--wandb online, but wandb has no key.", "Run `wandb login`, or use --wandb offline.")
        return asked  # type: ignore[return-value]
    if os.environ.get("WANDB_MODE") in ("disabled", "offline"):
        return "offline" if os.environ["WANDB_MODE"] == "offline" else "off"
    return "online" if _has_key() else "off"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True

    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Tracker:
    """Sends each logged line to wandb; does nothing when the mode is off. Open it with `with`.

    `identity` names the wandb run: the same one again goes on where it was.
    """

    def __init__(self, mode: Mode, name: str, identity: str, folder: Path, config: dict[str, Any]) -> None:
        self._run: Any = None
        if mode != "off":
            import wandb

            try:
                self._run = wandb.init(
                    project="rowpick", name=name, dir=str(folder), config=config, mode=mode, resume="allow",
                    id=identity, settings=wandb.Settings(silent=True),
                )  # fmt: skip
            except wandb.errors.Error as error:
                raise UserError(f"wandb did not start ({error}).", "Use --wandb offline, or off.") from None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.finish()

    def log(self, line: dict[str, Any]) -> None:
        """One line of history and timings; what was not measured is left out."""
        if self._run is not None:
            self._run.log({k: v for k, v in line.items() if k != "step" and v is not None}, step=line["step"])
