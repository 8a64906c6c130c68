"""Artifacts changed on purpose and signed again, as if the command that made them had written them so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.artifact import digest_bytes
from curate.artifact.manifest import sign


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the content of `folder/manifest.json` and sign it."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(sign(content)), encoding="utf-8")


def sign_files(folder: Path) -> None:
    """Have the manifest describe the files as they are now."""

    def record(content: dict[str, Any]) -> None:
        for output in content["outputs"]:
            output["sha256"] = digest_bytes((folder / output["file"]).read_bytes())

    edit_manifest(folder, record)
