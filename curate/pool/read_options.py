"""What can be said about how a source is read. Loads nothing heavy: the config of `curate select` knows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from curate.defaults import SelectDefaults
from curate.errors import UsageError, did_you_mean

WHOLE = re.compile(r"(-?\d+)\.0+")  # a whole number that pandas wrote with a point: it is the number without
SYSTEM_CHOICES = ("drop", "keep", "require")
SINGLE, LAST, ALL = TURN_CHOICES = ("single", "last", "all")


@dataclass(frozen=True)
class ReadOptions:
    """How the records of a source become rows.

    `keep_where` are conditions NAME=VALUE[,VALUE...] on columns that travel with a row, all of which must hold;
    `travel` are further columns that are to travel with their rows;
    `system` says what becomes of system messages; `turns` whether a row is one question and its answer, or a
    conversation of which the last answer or all of them are learnt; `subset`, `split` and `first` choose rows of a hub
    dataset.
    """

    keep_where: tuple[str, ...] = ()
    system: str = SelectDefaults.system
    subset: str | None = None
    split: str | None = None
    first: int | None = None
    turns: str = SINGLE
    travel: tuple[str, ...] = ()

    @staticmethod
    def of(record: Mapping[str, Any]) -> ReadOptions:
        """The options in a recorded config; those that it does not know have their default."""
        known = {field.name: record[field.name] for field in fields(ReadOptions) if field.name in record}
        asked = {name: tuple(record.get(name, ())) for name in ("keep_where", "pick_where", "cap")}
        travel = columns_named(asked["pick_where"], asked["cap"])
        return ReadOptions(**known | {"keep_where": asked["keep_where"], "travel": travel})

    def check(self) -> None:
        """Raise a `UsageError` for a value that is wrong whatever the source holds."""
        parse_conditions(self.keep_where)
        if self.system not in SYSTEM_CHOICES:
            raise UsageError(f'Unknown --system "{self.system}".', did_you_mean(self.system, SYSTEM_CHOICES))
        if self.turns not in TURN_CHOICES:
            raise UsageError(f'Unknown --turns "{self.turns}".', did_you_mean(self.turns, TURN_CHOICES))
        if self.first is not None and self.first < 1:
            raise UsageError(f"--first is {self.first}; it must be at least 1.", "")


def parse_conditions(conditions: Sequence[str], option: str = "--keep-where") -> dict[str, frozenset[str]]:
    """`NAME=VALUE[,VALUE...]` conditions as the values, in lower case, that each column may have."""
    allowed: dict[str, frozenset[str]] = {}
    for condition in conditions:
        name, equals, values = (piece.strip() for piece in condition.partition("="))
        wanted = frozenset(value.strip().casefold() for value in values.split(",") if value.strip())
        wanted |= {whole[1] for value in wanted if (whole := WHOLE.fullmatch(value))}
        if not name or not equals or not wanted or name in allowed:
            raise UsageError(f'{option} has "{condition}".', "Write NAME=VALUE[,VALUE...], once for each column.")
        allowed[name] = wanted
    return allowed


def is_remote(path: str) -> bool:
    """Whether a path is the address of something on another file system, such as s3://BUCKET/FOLDER."""
    return "://" in path


def allows(allowed: frozenset[str], value: str) -> bool:
    """Whether a value, or every one of several with commas between, is allowed."""
    return value.casefold() in allowed or all(part.casefold() in allowed for part in value.split(", "))


def parse_caps(caps: Sequence[str]) -> dict[str, float]:
    """`NAME=SHARE` caps as the share of the picks that each value of a column may have."""
    shares: dict[str, float] = {}
    for cap in caps:
        name, _, given = (piece.strip() for piece in cap.partition("="))
        try:
            share = float(given)
        except ValueError:
            share = 0.0
        if not name or not 0 < share <= 1 or name in shares:
            raise UsageError(
                f'--cap has "{cap}".', "Write NAME=SHARE, above 0 and up to 1, once for each column: source=0.3"
            )
        shares[name] = share
    return shares


def columns_named(pick_where: Sequence[str], caps: Sequence[str]) -> tuple[str, ...]:
    """The columns that `--pick-where` and `--cap` speak of."""
    return tuple(dict.fromkeys(each.partition("=")[0].strip() for each in (*pick_where, *caps)))
