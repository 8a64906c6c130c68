"""How many processes train a run together, where, and what of the model each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import torch

from curate.errors import UsageError, UserError, did_you_mean
from finetune.config import RunConfig
from finetune.parallel.processes import batch_shape

Parallel: TypeAlias = Literal["ddp", "fsdp"]
WAYS = ("ddp", "fsdp")


@dataclass(frozen=True)
class Layout:
    """`gpus` processes on each of `nodes` machines, which meet at `rendezvous` (HOST:PORT).

    With "ddp" every GPU holds the whole model; with "fsdp" the frozen weights are spread over all of them.
    """

    gpus: int = 1
    parallel: Parallel = "ddp"
    nodes: int = 1
    rendezvous: str | None = None

    @property
    def size(self) -> int:
        """How many processes there are in all."""
        return self.gpus * self.nodes

    @property
    def shards(self) -> int:
        """Over how many GPUs the frozen weights are spread; 1 where each holds them whole."""
        return self.size if self.parallel == "fsdp" else 1

    def as_record(self) -> dict[str, Any]:
        """Return what a run records; what is as on one machine under DDP is left out."""
        record: dict[str, Any] = {"gpus": self.size}
        if self.parallel != "ddp":
            record["parallel"] = self.parallel
        if self.nodes > 1:
            record["nodes"] = self.nodes
        return record


ONE = Layout()


def layout_of(record: Mapping[str, Any], rendezvous: str | None = None) -> Layout:
    """Return the layout that a run recorded; where its nodes met is not part of it."""
    nodes = int(record.get("nodes", 1))
    return Layout(int(record.get("gpus", 1)) // nodes, record.get("parallel", "ddp"), nodes, rendezvous)


def build_layout(gpus: int, parallel: str, nodes: int, rendezvous: str | None) -> Layout:
    """Return the layout that options ask for; a `UsageError` for what does not go together."""
    if parallel not in WAYS:
        raise UsageError(f'--parallel is "{parallel}".', did_you_mean(parallel, WAYS))
    for name, value in (("gpus", gpus), ("nodes", nodes)):
        if value < 1:
            raise UsageError(f"--{name} is {value}; it must be at least 1.", "Leave it out for one.")
    if nodes > 1 and rendezvous is None:
        raise UsageError(
            f"--nodes is {nodes} and no --rendezvous says where they meet.",
            "Name one of the machines and a free port on it: --rendezvous HOST:29400.",
        )
    if nodes == 1 and rendezvous is not None:
        raise UsageError("--rendezvous is for several machines, and --nodes is 1.", "Leave it out, or name --nodes.")
    if rendezvous is not None:
        split_address(rendezvous)
    if parallel == "fsdp" and gpus * nodes < 2:
        raise UsageError("--parallel fsdp spreads the weights, and there is one GPU.", "Name --gpus 2 or more.")
    return Layout(gpus, cast("Parallel", parallel), nodes, rendezvous)


def split_address(rendezvous: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT; a `UsageError` for anything else."""
    host, _, port = rendezvous.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f'--rendezvous is "{rendezvous}".', "Write HOST:PORT, for example node1:29400.")
    return host, int(port)


def require_layout(layout: Layout, config: RunConfig) -> None:
    """Refuse what the config or this machine cannot do. With device=cpu processes share the CPU, to try things out."""
    problem = missing_gpus(layout, config.device, visible_gpus())
    if problem is not None:
        raise UserError(*problem)
    batch_shape(config, layout.size)


def missing_gpus(layout: Layout, device: str, there: int) -> tuple[str, str] | None:
    """Return what is wrong and what to do where more GPUs are asked for than are `there`; None where all is well."""
    if device == "cpu" or layout.gpus <= there or layout.size == 1:
        return None
    return f"--gpus is {layout.gpus} and torch can use {there}.", f"Use --gpus {max(1, there)}."


def visible_gpus() -> int:
    """Return how many GPUs torch can use here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
