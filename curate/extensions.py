"""Tables of named things that another package can add to, by an entry point.

A package adds to a table in its `pyproject.toml`; the object is of the same type as the table's own entries:

    [project.entry-points."rowpick.metrics"]
    line_count = "my_package.line_count:METRIC"
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from curate.errors import UserError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Table(Mapping[str, T], Generic[T]):
    """A table's own entries, in their order, then those of installed packages, in the order of their names.

    Names are read without loading anything; an entry of another package is loaded when it is looked up. One that has
    the name of an own entry, or is not of the table's type, raises a `UserError` that names the package.
    """

    def __init__(self, group: str, kind: type[T], own: Mapping[str, T]) -> None:
        self.group = group
        self.kind = kind
        self.own = dict(own)
        self._loaded: dict[str, T] = {}

    @cached_property
    def added(self) -> dict[str, EntryPoint]:
        """The entry points of other packages by name, none of them loaded."""
        # Loaded here, because help shows defaults out of tables and does not look for packages.
        metadata = importlib.import_module("importlib.metadata")
        points = sorted(metadata.entry_points(group=self.group), key=lambda point: point.name)
        for point in points:
            if point.name in self.own:
                raise UserError(
                    f'The package {package_of(point)} adds "{point.name}" to {self.group}, a name that is taken.',
                    f"Rename it, or uninstall {package_of(point)}.",
                )
        return {point.name: point for point in points}

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self.added

    def __len__(self) -> int:
        return len(self.own) + len(self.added)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.added

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            return self.own[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self.added[name])
        return self._loaded[name]

    def _load(self, point: EntryPoint) -> T:
        try:
            entry = point.load()
        except Exception as error:  # whatever another package's import raises, the user learns whose it is
            raise UserError(
                f'"{point.name}" of {self.group}, from the package {package_of(point)}, could not be loaded ({error}).',
                f"Fix {package_of(point)}, or uninstall it.",
            ) from error
        if not isinstance(entry, self.kind):
            raise UserError(
                f'"{point.name}" of {self.group}, from the package {package_of(point)}, is a {type(entry).__name__}.',
                f"It must be a {self.kind.__name__}.",
            )
        return entry


def package_of(point: EntryPoint) -> str:
    """Return the name of the package that an entry point comes from."""
    return point.dist.name if point.dist is not None else point.value.split(".")[0]


def print_added(table: Table[T]) -> None:
    """List what other packages add to a table, by name alone: nothing of theirs is loaded."""
    for name, point in table.added.items():
        print(f"{name:<20} from the package {package_of(point)}")
