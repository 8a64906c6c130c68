"""The run artifact: what a training leaves on disk, written and read back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curate.artifact import (
    MANIFEST,
    damaged_files,
    digest_bytes,
    digest_json,
    find_artifact,
    finished,
    home,
    read_manifest,
    read_output,
    record_file,
    require_whole,
    write_bytes,
    write_manifest,
    write_text,
)
from curate.artifact.manifest_schema import Manifest
from curate.artifact.outputs import MISSING, set_aside
from curate.console import say
from curate.errors import UserError
from curate.selection.record import Selection, read_selection
from finetune.config import RunConfig, read_yaml, validated
from finetune.run.base_model import BASE_DIGEST, base_model_digest, require_same_base
from finetune.run.card import render_card
from finetune.run.history_lines import HISTORY, TIMINGS, parse_lines, read_unfinished

KIND = "finetune.run"
CONFIG = "config.yaml"
ADAPTER = "adapter"
CHECKPOINTS = "checkpoints"
README = "README.md"
SELECTION_KEY = "selection"
SEAL = "seal"  # in config.yaml: the digest of everything else in it; it comes first, so that a cut file keeps it
# Settings that came later, and what earlier runs did: with that value they are left out of a run's digest.
ADDED = {"use_rslora": False, "use_dora": False, "init_lora_weights": True}
LAYOUT = ("gpus", "parallel", "nodes")  # of what a run was trained on; the latter two only where they are not as usual
ONE_GPU: dict[str, Any] = {"gpus": 1}
AGAIN = "Give the command that made the run again: it restores what its checkpoints hold. Else remove it and train."


@dataclass(frozen=True)
class Run:
    """A finished run, read back. `history` has the lines of history.jsonl, `timings` those of timings.jsonl."""

    path: Path
    manifest: Manifest
    config: RunConfig
    history: list[dict[str, Any]]
    timings: list[dict[str, Any]]

    @property
    def adapter_dir(self) -> Path:
        """The adapter in PEFT's layout."""
        return self.path / ADAPTER

    def check_adapter(self) -> None:
        """Raise where adapter or base model are not those of the training: before a model is loaded for them."""
        require_same_base(self.manifest.config, self.config.model, self.path.name)
        require_whole(self.path, self.manifest, AGAIN, lambda name: name.startswith(f"{ADAPTER}/"))

    def require_whole(self) -> None:
        """Raise where any file is not as the training left it: before the run is handed to others."""
        require_same_base(self.manifest.config, self.config.model, self.path.name)
        require_whole(self.path, self.manifest, AGAIN)

    @property
    def selection_path(self) -> Path:
        """Where the selection stands: where it stood when the run was made or, both moved, beside the run's folder."""
        recorded = Path(self.manifest.config[SELECTION_KEY])
        moved = self.path.parent.parent / recorded.parent.name / recorded.name
        return moved if moved.is_dir() and not recorded.is_dir() else recorded

    def read_selection(self) -> Selection:
        """The selection this run was trained on; one that is gone or has changed is an error."""
        selection = read_selection(self.selection_path)
        if selection.digest != self.manifest.config["selection_digest"]:
            raise UserError(
                f"{self.selection_path} is not the selection {self.path.name} was trained on.", "Make it again."
            )
        return selection


def resuming(folder: Path) -> str:
    """Return the command that goes on with the run in a folder, as a shell takes it."""
    return f"finetune run --resume {shlex.quote(str(folder))}"


def runs_dir() -> Path:
    """Where runs live."""
    return home() / "runs"


def selected_tokens(selection: Selection) -> int:
    """Return how many tokens the selected rows hold, prompts and end tokens included."""
    return sum(row.token_count for row in selection.selected)


def share_seen(run: Run) -> float | None:
    """Return the share of its selection's tokens that a run trained on, 0 to 1; more than an epoch counts as 1.

    None where an older run does not record it and its selection is gone.
    """
    config = run.manifest.config
    selected = config.get("selected_tokens")
    if selected is None:
        try:
            selected = selected_tokens(run.read_selection())
        except UserError:
            return None
    return min(1.0, config["tokens_seen"] / selected) if selected else None


def run_digest(config: RunConfig, selection: Selection) -> str:
    """Digest of the config and of the selection by content: what a run's name and its reuse depend on."""
    settings = {name: value for name, value in config.model_dump().items() if name not in ADDED or value != ADDED[name]}
    return digest_json([settings, selection.digest])


def run_folder(config: RunConfig, selection: Selection, out: Path | None) -> Path:
    """`out`, or `runs/<selection's strategy and size>-<digest>` below the home of artifacts."""
    if out is not None:
        return out.resolve() if out.name in ("", "..") else out  # card, manifest and trackers show the folder's name
    picked = selection.manifest.config
    size = f"k{picked['k']}" if picked.get("token_budget") is None else f"t{picked['token_budget']}"
    return runs_dir() / f"{picked['strategy']}-{size}-{run_digest(config, selection)[:8]}"


def start_run(
    folder: Path, config: RunConfig, selection: Selection, resume: bool, layout: Mapping[str, Any] = ONE_GPU
) -> bool:
    """Make the folder ready; True when it already holds this very run, finished.

    `config.yaml` is written first: it says which run an unfinished folder holds. Another run there is an error.
    `layout` is what the run records of its GPUs; going on with other ones changes nothing else.
    """
    digest = run_digest(config, selection)
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder, KIND)
        if manifest.config["run_digest"] != digest:
            raise UserError(f"{folder} holds another run.", "Name another --out, or remove that folder.")
        require_same_base(manifest.config, config.model, folder.name)
        restore(folder, manifest, config, selection)
        return True
    written = folder / CONFIG
    if written.is_file():
        settled = read_settings(folder)
        if not resume and _holds_settings_alone(folder):  # of a start that was refused: nothing was trained
            return _begin(folder, config, selection, layout)
        if resume and settled.get("selection_digest", selection.digest) != selection.digest:
            raise UserError(
                f"{settled[SELECTION_KEY]} is not the selection that {folder} was started with.",
                "Make that one again, or start a run on this one in another --out. (What a padding study trains "
                "goes on with the study's own command.)",
            )
        if settled["run_digest"] != digest and resume:
            raise UserError(
                f"{written} was changed after the run was started.", "Put it back, or start a run with those settings."
            )
        if settled["run_digest"] != digest:
            raise UserError(f"{folder} holds another, unfinished run.", "Name another --out, or remove that folder.")
        if not resume:
            raise UserError(f"{folder} holds this run, unfinished.", f"Go on with: {resuming(folder)} (or remove it).")
        require_same_base(settled, config.model, folder.name)
        if {name: settled.get(name) for name in LAYOUT} != {name: layout.get(name) for name in LAYOUT}:
            write_text(written, started_text(config, selection, {BASE_DIGEST: settled.get(BASE_DIGEST), **layout}))
        return False
    if folder.is_dir() and any(not path.name.endswith(".part") for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty.", "Name an empty or new folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file.", "Name a folder.")
    return _begin(folder, config, selection, layout)


def _begin(folder: Path, config: RunConfig, selection: Selection, layout: Mapping[str, Any]) -> bool:
    recorded = {BASE_DIGEST: base_model_digest(config.model), **layout}
    write_text(folder / CONFIG, started_text(config, selection, recorded))
    return False


def _holds_settings_alone(folder: Path) -> bool:
    return all(path.name == CONFIG or path.name.endswith(".part") for path in folder.iterdir())


def started_text(config: RunConfig, selection: Selection, recorded: Mapping[str, Any]) -> str:
    """What `config.yaml` holds: every setting, the selection, and the digest of it all.

    Of what is `recorded` beside them it takes the digest of the base model and the layout of GPUs.
    """
    base = recorded.get(BASE_DIGEST)
    settings = {
        "run_digest": run_digest(config, selection),
        SELECTION_KEY: str(selection.path.resolve()),
        "selection_digest": selection.digest,
        **({} if base is None else {BASE_DIGEST: base}),
        **{name: recorded[name] for name in LAYOUT if name in recorded},
        "config": config.model_dump(),
    }
    return yaml.safe_dump({SEAL: digest_json(settings), **settings}, sort_keys=False, allow_unicode=True)


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of a run's `config.yaml`, as it was when the run was started."""
    path = folder / CONFIG
    settings = read_yaml(path)
    kinds = {"run_digest": str, SELECTION_KEY: str, "config": dict}
    if not all(isinstance(settings.get(name), kind) for name, kind in kinds.items()):
        raise UserError(f"{path} is not the config of a run.", "Start the run again.")
    seal = settings.pop(SEAL, None)
    if seal is not None and seal != digest_json(settings):
        raise UserError(
            f"{path} was changed after the run was started.", "Put it back, or start a run with those settings."
        )
    return settings


def restore(folder: Path, manifest: Manifest, config: RunConfig, selection: Selection) -> None:
    """Make a finished run's damaged files again from its checkpoints and its manifest, and say so.

    A file counts as made again when it has the digest that the manifest recorded. One that cannot be is a `UserError`
    that names it: only training again would give it back.
    """
    lost = []
    for damage in damaged_files(folder, manifest):
        name = damage.path.relative_to(folder).as_posix()
        recorded = next(record.sha256 for record in manifest.outputs if record.file == name)
        content = next(
            (c for c in _copies(folder, name, manifest, config, selection) if digest_bytes(c) == recorded), None
        )
        if content is None:
            lost.append(str(damage))
            continue
        kept = set_aside(damage.path)
        write_bytes(damage.path, content)
        say(f"{damage} It was made again" + (f"; the changed one is kept as {kept.name}." if kept else "."))
    if lost:
        raise UserError(" ".join(lost), f"Remove {folder} and train it again.")


def _copies(folder: Path, name: str, manifest: Manifest, config: RunConfig, selection: Selection) -> Iterator[bytes]:
    """What a file of a finished run may have held: copies in the checkpoints, or what its manifest renders to."""
    if name == README:
        yield render_card(folder.name, config, selection, manifest.config).encode()
    elif name == CONFIG:
        yield started_text(config, selection, ONE_GPU | manifest.config).encode()
    for path in sorted((folder / CHECKPOINTS).glob(f"*/{Path(name).name}")):
        yield path.read_bytes()


def finish_run(
    folder: Path,
    config: RunConfig,
    selection: Selection,
    command: Sequence[str],
    results: dict[str, Any],
    counts: dict[str, int],
    seconds: dict[str, float],
    device: str,
) -> None:
    """Write the model card and, last, the manifest."""
    write_text(folder / README, render_card(folder.name, config, selection, results))
    base = read_settings(folder).get(BASE_DIGEST)
    adapter_files = sorted(p.relative_to(folder).as_posix() for p in (folder / ADAPTER).iterdir() if p.is_file())
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config={
            **config.model_dump(),
            **results,
            "run_digest": run_digest(config, selection),
            **({} if base is None else {BASE_DIGEST: base}),
            SELECTION_KEY: str(selection.path.resolve()),
            "selection_digest": selection.digest,
            "holdout_digest": selection.holdout_digest,
            "tokenizer_digest": selection.manifest.config["tokenizer_digest"],
            "prompt_template_text": selection.template.text,
        },
        seed=config.seed,
        inputs=[record for record in selection.manifest.outputs if record.file.endswith(".jsonl")],
        outputs=[record_file(folder, name) for name in (CONFIG, HISTORY, TIMINGS, README, *adapter_files)],
        counts=counts,
        seconds=seconds,
        device=device,
    )


def read_run(run: str | Path | None = None) -> Run:
    """The finished run at a path, of a name, or the newest one for None."""
    folder = find_artifact(run, runs_dir(), KIND)
    if (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is an unfinished run.", f"Go on with: {resuming(folder)}")
    manifest = read_manifest(folder, KIND)
    config = validated({k: v for k, v in manifest.config.items() if k in RunConfig.model_fields})
    recorded = {record.file for record in manifest.outputs}
    if not (folder / ADAPTER / "adapter_config.json").is_file():
        raise UserError(f"{folder / ADAPTER / 'adapter_config.json'} {MISSING}.", AGAIN)
    history = parse_lines(read_output(folder, manifest, HISTORY, AGAIN), folder / HISTORY)
    timings = (
        parse_lines(read_output(folder, manifest, TIMINGS, AGAIN), folder / TIMINGS)
        if TIMINGS in recorded
        else read_unfinished(folder, TIMINGS)  # schema 1 did not sign the times
    )
    if not history:
        raise UserError(f"{folder / HISTORY} holds no line.", AGAIN)
    return Run(folder, manifest, config, history, timings)


def readable_runs() -> Iterator[Run]:
    """The finished runs here, newest first; one that somebody damaged is passed over, and said."""
    for folder in reversed(finished(runs_dir(), KIND)):
        try:
            yield read_run(folder)
        except UserError as error:
            say(f"Passing over {folder}: {error.what}")


def find_unfinished(run: str) -> Path:
    """The folder of a run that was started: a path, or a name below the home of runs."""
    for folder in (Path(run), runs_dir() / run):
        if (folder / CONFIG).is_file():
            return folder
    raise UserError(f"There is no run {run} that was started.", f"Look in {runs_dir()}.")
