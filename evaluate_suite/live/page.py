"""`evalsuite watch RUN`: a page on 127.0.0.1 that shows a run's losses while it trains."""

from __future__ import annotations

import http.server
from pathlib import Path
from typing import Any

from curate.artifact import MANIFEST, home
from curate.console import say
from curate.errors import UserError
from curate.page import format_count, format_duration, format_number, render_document
from evaluate_suite.reporting.charts import loss_chart
from evaluate_suite.reporting.estimates import loss_points
from evaluate_suite.reporting.page import verdict_class
from evaluate_suite.reporting.record import RunResult
from evaluate_suite.statistics.types import Estimate
from evaluate_suite.training_curve.runs import lines_so_far, verdict_on_run
from finetune.run.history_lines import TIMINGS, read_unfinished
from finetune.run.record import read_settings

REFRESH_SECONDS = 5
ADDRESS = "127.0.0.1"


def find_run(name: str) -> Path:
    """Return the folder of a run, finished or not: a path, or a name below the home of runs."""
    for folder in (Path(name), home() / "runs" / name):
        if folder.is_dir():
            return folder
    raise UserError(f"There is no run {name}.", f"Name a folder, or one of those in {home() / 'runs'}.")


def watched_run(folder: Path) -> RunResult:
    """Return what is known of a run so far: its history, and the verdict on it."""
    lines = lines_so_far(folder)
    nothing = Estimate(None, reason="measured when the run is finished")
    return RunResult(
        name=folder.name,
        selection=folder.name,
        strategy="",
        seed=None,
        rows=0,
        tokens=None,
        base_loss=nothing,
        tuned_loss=nothing,
        gain=nothing,
        base_perplexity=None,
        tuned_perplexity=None,
        verdict=verdict_on_run(folder, lines),
        history=loss_points(lines),
        metrics={},
    )


def planned_steps(folder: Path) -> int | None:
    """Return how many steps the run is to take; None where epochs are set instead, or nothing can be read."""
    try:
        steps = read_settings(folder)["config"].get("max_steps")
    except (UserError, KeyError, AttributeError):
        return None
    return steps if isinstance(steps, int) else None


def facts_so_far(folder: Path, steps: int | None) -> list[tuple[str, str]]:
    """Return time, speed and memory as logged, and the time left where the number of steps is known."""
    lines = read_unfinished(folder, TIMINGS)
    if not lines:
        return []
    last = lines[-1]
    seconds, done = last["elapsed_seconds"], last["step"]
    rates = [line["tokens_per_second"] for line in lines if line["tokens_per_second"]]
    facts = [("Training for", format_duration(seconds))]
    if steps is not None and seconds is not None and 0 < done < steps:
        facts.append(("Time left, about", format_duration(seconds / done * (steps - done))))
    if rates:
        facts.append(("Tokens a second", format_count(round(sorted(rates)[len(rates) // 2]))))
    if last["peak_memory_gib"] is not None:
        facts.append(("Peak memory", f"{format_number(last['peak_memory_gib'], 1)} GiB"))
    return facts


def render_live_page(folder: Path) -> str:
    """Return the page as it stands now; it asks for itself again every few seconds until the run is finished."""
    run, steps = watched_run(folder), planned_steps(folder)
    return render_document(
        "live.html",
        {
            "run": run,
            "steps": steps,
            "facts": facts_so_far(folder, steps),
            "chart": loss_chart([run]),
            "verdict_class": verdict_class,
            "finished": (folder / MANIFEST).is_file(),
            "refresh_seconds": REFRESH_SECONDS,
        },
        folders=[Path(__file__).parent],
    )


def answer(folder: Path, path: str, host: str) -> tuple[int, str, str]:
    """Return status, content type and text of the answer to a request; a run that cannot be read is said in its place.

    Only the page itself is served, and only under a name of this machine.
    """
    if path != "/" or host.split(":")[0] not in (ADDRESS, "localhost"):
        return 404, "text/plain", "not here\n"
    try:
        return 200, "text/html", render_live_page(folder)
    except UserError as error:
        return 500, "text/plain", f"{error}\n"


def build_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server on 127.0.0.1 that answers `/` with the page of this moment and nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, text = answer(folder, self.path, self.headers.get("Host", ""))
            body = text.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the terminal belongs to the user."""

    try:
        return http.server.ThreadingHTTPServer((ADDRESS, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"Port {port} cannot be used ({error}).", "Name another --port, or 0.") from None


def serve(name: str, port: int) -> None:
    """Serve the live page until interrupted."""
    folder = find_run(name)
    with build_server(folder, port) as server:
        say(f"Watching {folder.name} at http://{ADDRESS}:{server.server_address[1]}/  (Ctrl+C ends)")
        server.serve_forever()
