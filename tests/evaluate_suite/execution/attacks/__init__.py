"""Programs that try to get out of the sandbox or to fake a pass: one file a kind, one entry a program.

A program sees what it would hurt by name: `SECRET_FILE` (its content is the secret), `CANARY_DIR`, the listeners `TCP4`,
`TCP6`, `UDP4` (ports), `UNIX` (path), `ABSTRACT` (name), `HOST_PID`, `HOST_NAME`, `ENV_NAME`. What it learns or achieves it
hands to `leak(...)`; `MARK` says "I did it". Whether it succeeded is decided outside, by `arena.py`.
"""

from __future__ import annotations

import os
from importlib import import_module

from .attack import Attack

KINDS = (
    "read_outside",
    "write_outside",
    "snooping",
    "network",
    "process_bombs",
    "memory_bombs",
    "disk_bombs",
    "output_floods",
    "endless",
    "leftovers",
    "links_and_descriptors",
    "kernel_calls",
    "killing_the_judge",
    "faked_verdicts",
    "forged_results",
)


def load_attacks() -> list[Attack]:
    """Every attack, kind by kind; those that make system calls by number only where the numbers are those meant."""
    found: list[Attack] = []
    for kind in KINDS:
        module = import_module(f".{kind}", __name__)
        found += [attack.of_kind(kind) for attack in module.ATTACKS]
    by_number = os.uname().machine == "x86_64"
    return [attack for attack in found if by_number or "syscall(" not in attack.program]


def load_controls() -> list[Attack]:
    """For every kind a program that does what the kind tries, to be run with the guards off."""
    return [import_module(f".{kind}", __name__).CONTROL.of_kind(kind) for kind in KINDS]


__all__ = ["KINDS", "Attack", "load_attacks", "load_controls"]
