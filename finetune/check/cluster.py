"""Traps in what several GPUs and several machines share."""

from __future__ import annotations

from curate.errors import UserError
from finetune.check.facts import Facts
from finetune.parallel.layout import missing_gpus
from finetune.parallel.processes import batch_shape
from finetune.parallel.software import difference


def batch_not_divisible(facts: Facts) -> str | None:
    """A step holds the same bins however many processes share it."""
    try:
        batch_shape(facts.config, facts.layout.size)
    except UserError as error:
        return str(error)
    return None


def more_gpus_than_there_are(facts: Facts) -> str | None:
    """Asked for and not there."""
    missing = missing_gpus(facts.layout, facts.config.device, facts.gpu_count)
    return None if missing is None else " ".join(missing)


def rendezvous_silent(facts: Facts) -> str | None:
    """The machines would wait for each other, and in the end give up."""
    return facts.rendezvous_problem


def machines_differ(facts: Facts) -> str | None:
    """Other versions compute other numbers, or cannot talk to each other at all."""
    different = None if facts.machines is None else difference(facts.machines)
    return None if different is None else f"{different} Install the same versions on every machine."
