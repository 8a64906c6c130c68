"""Train an adapter on a selection: exact, resumable, recorded.

import curate, finetune

config = finetune.load_config("cpu-demo", overrides=["max_steps=10"])
run = finetune.train(config, curate.read_selection())
print(run.path, run.history[-1])
"""

from typing import TYPE_CHECKING

from curate.lazy import load_when_used

if TYPE_CHECKING:
    from finetune.config import RunConfig, load_config
    from finetune.model import load_run
    from finetune.recipe import train
    from finetune.run.record import Run, read_run

__all__ = ["Run", "RunConfig", "load_config", "load_run", "read_run", "train"]

__getattr__ = load_when_used(
    __name__,
    {
        "Run": "finetune.run.record",
        "RunConfig": "finetune.config",
        "load_config": "finetune.config",
        "load_run": "finetune.model",
        "read_run": "finetune.run.record",
        "train": "finetune.recipe",
    },
)
