"""`curate push`: a selection uploaded to the hub as a dataset, with its card and the reason for every row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from curate.artifact import MANIFEST
from curate.console import say
from curate.errors import UserError
from curate.errors.hub import hub_failure
from curate.selection.mix import license_doubt
from curate.selection.record import Selection, require_whole_selection

_MAY_WRITE = "Make a token that may write at {endpoint}/settings/tokens, then run `hf auth login`."


def require_repository(name: str) -> None:
    """Raise a `UserError` where `name` is not OWNER/NAME as the hub takes it."""
    address = re.fullmatch(r"(?:https?://[^/]+/|hf://)(?:datasets/)?([^/]+/[^/]+?)/?", name)
    try:
        validate_repo_id(address[1] if address else name)
    except HFValidationError:
        address, owned = None, False
    else:
        owned = name.count("/") == 1
    if not owned:
        step = f"Write {address[1]}." if address else "Write OWNER/NAME."
        raise UserError(f'"{name}" is no name of a repository.', step)


@dataclass(frozen=True)
class Upload:
    """What a push would send: the files' bytes, or where they lie, by their name there."""

    repository: str
    kind: Literal["dataset", "model"]
    private: bool
    files: Mapping[str, bytes | Path]

    def __post_init__(self) -> None:
        require_repository(self.repository)

    def sizes(self) -> dict[str, int]:
        """Bytes by file."""
        return {name: data.stat().st_size if isinstance(data, Path) else len(data) for name, data in self.files.items()}

    def lines(self) -> list[str]:
        """For people: where to, who may read it there, and every file."""
        shown = "private" if self.private else "public"
        where = f"{self.kind} {self.repository}, {shown} (one that exists stays as it is)"
        return [where, *(f"  {name}  {size:,} bytes" for name, size in sorted(self.sizes().items()))]

    @property
    def result(self) -> str:
        """What a command says of it: nothing was sent."""
        return f"{len(self.files)} files would be uploaded; nothing was."

    def operations(self) -> list[CommitOperationAdd]:
        """For one commit on the hub."""
        return [CommitOperationAdd(name, data) for name, data in sorted(self.files.items())]

    def as_record(self) -> dict[str, Any]:
        """For `--json`."""
        return {"repository": self.repository, "kind": self.kind, "private": self.private, "files": self.sizes()}


def plan_upload(selection: Selection, repository: str, private: bool = True, any_license: bool = False) -> Upload:
    """Return what `push_selection` would send: every file its manifest lists, and the manifest. Asks nobody.

    A public one whose rows do not all name the same licence is a `UserError`, unless `any_license`.
    """
    require_repository(repository)
    require_whole_selection(selection)
    doubt = license_doubt(selection.manifest.config.get("mix", {})) if not private and not any_license else None
    if doubt is not None:
        raise UserError(doubt, "Where all of them may be published, say so: --any-license")
    files = [*(record.file for record in selection.manifest.outputs), MANIFEST]
    return Upload(repository, "dataset", private, {name: selection.path / name for name in files})


@dataclass(frozen=True)
class Pushed:
    """Where a selection lies now: its address, the commit, and the files that were sent."""

    address: str
    commit: str
    files: list[str]

    @property
    def result(self) -> str:
        """What a command says of it: where it lies."""
        return self.address

    def as_record(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def push_or_show(
    selection: Selection, repository: str, private: bool, any_license: bool, dry_run: bool
) -> Upload | Pushed:
    """Push a selection and say how to load it; with `dry_run` only list what would be sent."""
    if dry_run:
        planned = plan_upload(selection, repository, private, any_license)
        for line in planned.lines():
            say(line)
        return planned
    pushed = push_selection(selection, repository, private, any_license)
    say(f'Load it with: datasets.load_dataset("{repository}")')
    return pushed


def push_selection(selection: Selection, repository: str, private: bool = True, any_license: bool = False) -> Pushed:
    """Upload the files its manifest lists, and the manifest, to the dataset `repository` (OWNER/NAME), made if absent.

    Others get it with `datasets.load_dataset(repository)`: splits train and test, as here. An existing repository gets
    one more commit. Without a token, without the right to write or without the hub: a `UserError`. So is a public one
    whose rows do not all name the same licence, unless `any_license`.
    """
    files = list(plan_upload(selection, repository, private, any_license).files)
    step = _MAY_WRITE.format(endpoint=constants.ENDPOINT)
    if not get_token():
        raise UserError("There is no token for the hub on this machine.", step)
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=selection.path,
            allow_patterns=files,
            commit_message=f"Selection {selection.path.name}",
        )
    except HFValidationError:
        raise UserError(f'"{repository}" is no name of a repository.', "Write OWNER/NAME.") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise UserError(f"The token on this machine may not write to {repository} ({status}).", step) from None
        raise UserError(f"The hub did not take {repository} ({hub_failure(error)}).", "Try again later.") from None
    except OSError as error:
        raise UserError(
            f"The hub could not be reached, or broke off ({hub_failure(error)}).", "Check the network, then push again."
        ) from None
    return Pushed(f"{constants.ENDPOINT}/datasets/{repository}", done.oid, sorted(files))
