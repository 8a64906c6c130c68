"""The JSON file of an artifact, such as `report.json`: one model that writes it and reads it, older ones included."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from curate.artifact.files import write_json
from curate.artifact.manifest_schema import Manifest
from curate.artifact.outputs import read_output
from curate.errors import UserError

Content = dict[str, Any]
Lifts = Mapping[int, Callable[[Content], Content]]


class RecordPart(BaseModel):
    """A part of a record. Unknown names are refused, nothing changes after it is made, and no number is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)


class Record(RecordPart):
    """The content of one JSON file of an artifact.

    A record declares its `file`, and first of its fields `schema_` (alias "schema"), whose default is KIND/NUMBER.
    `lifts` has, by older number, the function that lifts the content of such a file to the next number.
    """

    file: ClassVar[str]
    lifts: ClassVar[Lifts] = {}

    def as_dict(self) -> Content:
        """Return the record as its file holds it."""
        return self.model_dump(mode="json")

    def write(self, folder: Path) -> None:
        """Write the record's file."""
        write_json(folder / self.file, self.as_dict())

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, again: str) -> Self:
        """Return the record in a finished artifact's folder; it must be the one that its manifest describes.

        Missing, changed, unreadable or written by a newer version: a `UserError` that says which, with `again` as what
        to do about it.
        """
        data = read_output(folder, manifest, cls.file, again)
        path = folder / cls.file
        kind, _, newest = str(cls.model_fields["schema_"].default).partition("/")
        try:
            content = json.loads(data)
            schema = str(content.get("schema", f"{kind}/1"))  # some files of the first schema do not name it
            number = int(schema.rpartition("/")[2])
        except (ValueError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} is not a record ({error}).", again) from None
        if schema.rpartition("/")[0] != kind:
            raise UserError(f"{path} is of {schema}, not of {kind}.", again)
        if number > int(newest):
            raise UserError(f"{path} is of {schema}; this version reads up to {kind}/{newest}.", "Upgrade rowpick.")
        try:
            while number < int(newest):
                content = cls.lifts[number](content)
                number += 1
            return cls.model_validate(content | {"schema": f"{kind}/{newest}"})
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} does not fit {schema} ({error!r}).", again) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise UserError(f"{path} does not fit its schema ({where}: {first['msg']}).", again) from None
