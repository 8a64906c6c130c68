"""One writer at a time: a lock beside what is written, which says who holds it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from curate.artifact.files import write_errors
from curate.console import say
from curate.errors import UserError


@contextmanager
def one_writer(folder: str | Path) -> Iterator[None]:
    """Hold the right to write the artifact `folder`, from asking what is there to its manifest.

    Where another process holds it: a `UserError` that says which. The lock is `.NAME.lock` beside the folder; the
    system lets it go when its process ends, however that ends.
    """
    target = Path(folder).absolute()
    path = target.with_name(f".{target.name}.lock")
    made = [parent for parent in path.parents if not parent.exists()]
    lock = FileLock(path)
    if not _acquired(lock, path, seconds=0):
        raise UserError(
            f"{folder} is being written by {_holder(path)}.", "Wait until that ends, or name another --out."
        )
    try:
        _sign(path)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever waits for this inode sees that it has gone
        lock.release()
        with suppress(OSError):  # a folder that got something in it stays
            for parent in made:
                parent.rmdir()


@contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (created when absent), so that two processes can share a cache.

    One that has to wait says for whom.
    """
    target = Path(path).absolute()
    lock = FileLock(target)
    if not _acquired(lock, target, seconds=1):
        say(f"Waiting for {_holder(target)}, which is writing {target.parent.name}/{target.stem}.")
        lock.acquire()
    try:
        _sign(target)
        yield
    finally:
        target.unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock, path: Path, seconds: float) -> bool:
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            return False
    return True


def _sign(path: Path) -> None:
    """Write into the lock who holds it."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    with write_errors(path):
        path.write_text(json.dumps({"pid": os.getpid(), "command": " ".join(command)}), encoding="utf-8")


def _holder(path: Path) -> str:
    """Who holds the lock, as it signed; it may be about to."""
    try:
        signed = json.loads(path.read_text(encoding="utf-8"))
        return f"process {signed['pid']} ({signed['command'][:200]})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
