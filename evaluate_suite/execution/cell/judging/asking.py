"""What stand-ins need of the judge's session, for type checking alone: nothing imports this in the sandbox."""

from __future__ import annotations

from typing import Any, Protocol


class Asks(Protocol):
    """A session: it asks the tested program and notes what cannot be decided."""

    needs_together: str
    dropped: list[int]

    def undecided(self, what: str) -> Any:
        """Raise for what only one process can do."""

    def note_rule(self, value: Any, name: str, other: Any) -> None:
        """Note a comparison that an object of the program would have decided by itself."""

    def trusts(self, value: Any) -> bool:
        """Return whether an object of the program may be asked about the test's values."""

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Return the program's answer."""

    def item(self, value: Any) -> Any:
        """Return the next item of an iterator of the program."""

    def await_(self, value: Any) -> Any:
        """Await an awaitable of the program."""

    def leave(self, value: Any, error: BaseException | None, name: str) -> bool:
        """Leave a context manager of the program."""

    def signature(self, value: Any) -> Any:
        """Return the signature of a callable of the program."""
