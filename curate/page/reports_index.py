"""`reports/index.html`: every finished report in the folder, newest first, with its headline."""

from __future__ import annotations

from pathlib import Path

from curate.artifact import file_lock, finished, read_manifest, write_text
from curate.page.document import render_document

INDEX = "index.html"
# Kinds of reports, as the index names them. Each has its page in `index.html` and its headline in its manifest.
REPORT_KINDS = {
    "evaluate_suite.report": "Runs",
    "curate.comparison": "Strategies side by side",
    "finetune.padding_study": "Padding study",
}


def write_index(parent: Path) -> None:
    """Write the page that lists every finished report directly below `parent`; unfinished folders are left out."""
    with file_lock(parent / ".index.lock"):  # or of two reports finished at once, the page could miss one
        reports = [
            (kind, folder, read_manifest(folder, kind)) for kind in REPORT_KINDS for folder in finished(parent, kind)
        ]
        reports.sort(key=lambda item: (item[2].created_at, item[1].name), reverse=True)
        entries = [
            {
                "href": f"{folder.name}/{INDEX}",
                "kind": REPORT_KINDS[kind],
                "name": folder.name,
                "headline": manifest.config.get("headline") or folder.name,
                "second": manifest.config.get("second", ""),
                "facts": manifest.config.get("facts", []),
                "made": manifest.created_at[:10],
            }
            for kind, folder, manifest in reports
        ]
        write_text(parent / INDEX, render_document("index.html", {"entries": entries}))
