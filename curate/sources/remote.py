"""Files on object stores and hubs, through fsspec: listed, and copied here one by one while they are read."""

from __future__ import annotations

import errno
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.registry import known_implementations

from curate.artifact.files import write_errors
from curate.errors import UserError
from curate.errors.hub import hub_failure
from curate.pool.read_options import is_remote

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true.",
    "gs": "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket "
    "FSSPEC_GS_TOKEN=anon.",
    "hf": "Run `hf auth login`, or set HF_TOKEN; ask for access on the data set's page where it is gated.",
}
# Classes of errors of botocore, gcsfs, google.auth and huggingface_hub, by name: most of them are not installed.
_REFUSED = {
    "NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "CredentialRetrievalError", "RefreshError",
    "DefaultCredentialsError", "PermissionError", "GatedRepoError", "LocalTokenNotFoundError",
}  # fmt: skip
_UNREACHED = (ConnectionError, TimeoutError, socket.gaierror)  # to fsspec's HTTP, what does not answer is not found
_REFUSED_WORDS = ("credentials", "forbidden", "unauthorized", "access denied", "accessdenied", "401", "403")


def list_remote(url: str) -> list[tuple[str, str, int]]:
    """Return (address, path below `url`, bytes) of every file at or below an address, in path order."""
    with _explained(url):
        system, root = fsspec.url_to_fs(url)
        entries = _find(system, root)
        if not entries:
            system.info(root)  # says why, where it is not that there are no files
    files = []
    for path, entry in entries.items():
        name = path.removeprefix(root.rstrip("/")).lstrip("/") or path.rpartition("/")[2]
        if not any(part.startswith(".") for part in name.split("/")):
            files.append((system.unstrip_protocol(path), name, int(entry.get("size") or 0)))
    return sorted(files, key=lambda file: file[1].split("/"))


def _find(system: AbstractFileSystem, root: str) -> dict[str, Any]:
    """Return what is known of every file at or below a path, by path.

    Object stores list what begins with a prefix. fsspec's own `find`, which the file systems with real folders have
    (SFTP, HDFS, pages of a web server), passes over what it cannot list, and rows would be left out unsaid: there an
    error is one.
    """
    if _lists_prefixes(system) or (system.isfile(root) and not system.isdir(root)):  # a page is a file and a folder
        return dict(system.find(root, detail=True))
    entries: dict[str, Any] = {}
    seen = {root.rstrip("/")}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        for entry in _list(system, folder, root):
            name = entry["name"].rstrip("/")
            if entry["type"] != "directory":
                entries[entry["name"]] = entry
            elif name not in seen and not name.rpartition("/")[2].startswith("."):  # pages may name themselves
                seen.add(name)
                waiting.append(entry["name"])
    return entries


def _list(system: AbstractFileSystem, folder: str, root: str) -> list[dict[str, Any]]:
    """Return what a folder lists; the error about one below the address says that it is."""
    if folder == root:
        return list(system.ls(folder, detail=True))
    try:
        with _explained(system.unstrip_protocol(folder)):
            return list(system.ls(folder, detail=True))
    except UserError as error:
        left_out = f"It is listed below {system.unstrip_protocol(root)}: without it, its rows would be left out."
        raise UserError(error.what, f"{error.next_step} {left_out}") from error


def _lists_prefixes(system: AbstractFileSystem) -> bool:
    if isinstance(system, AsyncFileSystem):
        return type(system)._find is not AsyncFileSystem._find
    return type(system).find is not AbstractFileSystem.find


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """Yield a path of this machine: `path` itself, or a copy of what is at that address, removed afterwards.

    An error about the copy names the address; a command in its next step is for a download of the user's own.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with write_errors(Path(tempfile.gettempdir())):
        aside = tempfile.TemporaryDirectory(prefix="rowpick-")
    with aside as folder:
        copy = Path(folder) / path.rpartition("/")[2]
        with _explained(path):
            system, name = fsspec.url_to_fs(path)
            system.get_file(name, str(copy))
        try:
            yield copy
        except UserError as error:
            step = error.next_step.replace(f"{folder}/", "")
            step = f"Download it first. {step}" if step != error.next_step else step
            raise type(error)(error.what.replace(str(copy), path), step) from None


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Raise a `UserError` for whatever goes wrong with an address in the block."""
    protocol = url.partition("://")[0]
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        step = (
            f"pip install '{package}'" if package else f"{known_implementations.get(protocol, {}).get('err', error)}."
        )
        raise UserError(f"{protocol}:// needs a package that is not installed.", step) from None
    except Exception as error:  # every file system has classes of its own
        raise _explain(error, url, protocol) from error


def _explain(error: BaseException, url: str, protocol: str) -> UserError:
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        return UserError(f"{url}: there is no file system {protocol}://.", "Write s3://, gs://, hf://, or a path.")
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    unreached = next((each for each in chain if isinstance(each, _UNREACHED)), None)
    if any(isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT) for each in chain):
        where = tempfile.gettempdir()
        return UserError(f"There is no room for a copy of {url} in {where}.", "Free space, or set TMPDIR to a folder.")
    said = hub_failure(unreached or chain[0])
    absent = unreached is None and any(isinstance(each, FileNotFoundError) for each in chain)
    refused = any(type(each).__name__ in _REFUSED or (not absent and _says(each, _REFUSED_WORDS)) for each in chain)
    kind = {"s3a": "s3", "gcs": "gs"}.get(protocol, protocol)
    if refused:
        step = _CREDENTIALS.get(kind, "Give this process the credentials that the file system asks for.")
        return UserError(f"{url} may not be read: credentials are missing or refused ({said}).", step)
    if absent:
        private = "; if it is private, run `hf auth login`" if kind == "hf" else ""
        return UserError(f"{url} does not exist.", f"Check the address{private}.")
    return UserError(f"{url} could not be read ({said}).", "Check the address and the network, and run it again.")


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).casefold()
    return any(word in text for word in words)
