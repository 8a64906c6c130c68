"""Every command's settings as one pydantic model, and the way back from settings to the command line.

`as_command` is the only place that writes a command line from settings: manifests, pages and messages use it. A test
parses what it writes with the program itself and gets the same settings back, for every command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from curate.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Joined:
    """Marks a field whose values stand in one word with commas between; `empty` is what no values look like."""

    empty: str = "none"


@dataclass(frozen=True)
class Words:
    """Marks a field whose values stand at the command's end, without an option's name."""


@dataclass(frozen=True)
class Named:
    """Marks a field whose option has another name than the field."""

    option: str


class CommandConfig(BaseModel):
    """The settings of one command. Unknown names are refused and nothing changes after it is made.

    `command` are the words before the options; the fields in `always` are written even where they have their default,
    those in `unwritten` never: they are not part of what the command is asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    command: ClassVar[tuple[str, ...]]
    always: ClassVar[frozenset[str]] = frozenset()
    unwritten: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **settings: Any) -> None:
        """Take the settings as typed; one that is none, such as a share of "nan", is a usage error that names it."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            loc = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                raise UsageError(f"{loc} is not a setting.", did_you_mean(loc, type(self).model_fields)) from None
            name, reason = loc.replace("_", "-"), first["msg"].replace("valid tuple", "list")
            raise UsageError(f"--{name} is {first['input']}: {reason[0].lower()}{reason[1:]}.") from None

    def as_command(self) -> list[str]:
        """Return the command line that has these settings: the options that differ from their defaults."""
        words, last = list(self.command), list[str]()
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.unwritten or (
                value == field.get_default(call_default_factory=True) and name not in self.always
            ):
                continue
            if any(isinstance(mark, Words) for mark in field.metadata):
                last += map(str, value)
            else:
                words += _option(name, value, field.metadata)
        return words + last


def _option(name: str, value: Any, marks: Sequence[Any]) -> list[str]:
    option = next((mark.option for mark in marks if isinstance(mark, Named)), f"--{name.replace('_', '-')}")
    joined = next((mark for mark in marks if isinstance(mark, Joined)), None)
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, Mapping):
        return [word for key, each in value.items() for word in (option, f"{key}={each}")]
    if joined is not None:
        return [option, ",".join(map(str, value)) or joined.empty]
    if isinstance(value, (tuple, list)):
        return [word for each in value for word in (option, str(each))]
    return [] if value is None else [option, str(value)]
