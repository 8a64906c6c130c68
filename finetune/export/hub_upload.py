"""`finetune push`: a run's adapter on the hub, with a model card that says what was measured."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from curate.defaults import SMOLLM2
from curate.errors import UserError
from curate.errors.hub import hub_failure
from curate.selection.hub_upload import Upload, require_repository
from finetune.export.hub_card import card_with_results, find_results, result_files
from finetune.run.base_model import BASE_DIGEST
from finetune.run.record import README, Run


def plan_upload(run: Run, repository: str, private: bool = True, report: str | None = None) -> Upload:
    """Return what a push would send: the adapter, the model card, and the results of `report`. Asks nobody.

    Refused for a base model that others could not load by its name: a local folder or the embedded one.
    """
    require_repository(repository)
    run.require_whole()
    base = run.config.model
    if (
        base == SMOLLM2 or Path(base).exists() or BASE_DIGEST in run.manifest.config
    ):  # that of a folder, gone or elsewhere
        raise UserError(
            f"The base model is {base}, which nobody could load from the hub.",
            "Push the merged model instead: finetune merge, then hf upload.",
        )
    results = find_results(run, report)
    card = (run.path / README).read_bytes() if results is None else card_with_results(run, results).encode()
    files = {path.name: path.read_bytes() for path in sorted(run.adapter_dir.iterdir()) if path.is_file()}
    return Upload(repository, "model", private, {**files, README: card, **result_files(run, results)})


def push(upload: Upload, message: str) -> str:
    """Send what was planned; return the address."""
    if not get_token():
        raise UserError("There is no token for the hub.", "Run `hf auth login` with a token that may write.")
    api = HfApi()
    try:
        api.create_repo(upload.repository, private=upload.private, exist_ok=True)
        api.create_commit(upload.repository, upload.operations(), commit_message=message)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"The hub did not take {upload.repository} ({hub_failure(error)}).",
            "Check the name and what the token may do.",
        ) from None
    return f"{api.endpoint}/{upload.repository}"
