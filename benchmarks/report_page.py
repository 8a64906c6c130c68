"""The report page in figures: size, rendering, opening, requests, console, accessibility, phone width, a large map.

    python -m benchmarks.report_page [--runs 10] [--prompts 200] [--pool-rows 100000] [--keep FOLDER]

A made-up report of the given size is rendered three times and opened three times in a fresh tab of a headless
Chromium; the medians are printed as JSON, with this process's own processor seconds beside the wall seconds of
rendering, because other work on the machine lengthens the latter. Interactive means: the page is parsed, its script has
run, and the first press of a sort button has been answered. The map's time runs from scrolling to it until it is alive.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.headless_browser import (
    console_messages,
    emulate,
    find_axe,
    network_requests,
    open_browser,
    serious_violations,
)

TARGETS = {
    "megabytes": 3.0,
    "render_seconds": 5.0,
    "interactive_seconds": 1.5,
    "network_requests": 0,
    "console_messages": 0,
    "serious_violations": 0,
    "sideways_pixels_at_380": 0,
    "large_map_seconds": 3.0,
}
REPEATS = 3
PRESS_SORT = (
    "const [head, done] = arguments; head.querySelector('button').click();"
    "requestAnimationFrame(() => done(performance.now() / 1000))"
)
DRAW_MAP = (
    "const [box, done] = arguments, begun = performance.now(); box.scrollIntoView({behavior: 'instant'});"
    "const look = () => box.dataset.live ? requestAnimationFrame(() => done((performance.now() - begun) / 1000))"
    ": setTimeout(look, 5); look()"
)


def repeated(work: Callable[[], Any]) -> tuple[list[float], list[float], Any]:
    """Wall seconds and this process's processor seconds of every repeat of `work`, and what the last one gave."""
    walls, processors, result = [], [], None
    for _ in range(REPEATS):
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return walls, processors, result


def open_page(driver: Any, address: str, width: int = 1280) -> None:
    """The page in a tab that has just shown nothing."""
    emulate(driver, width=width)
    driver.get("about:blank")
    console_messages(driver), network_requests(driver)
    driver.get(address)


def bring_charts_alive(driver: Any) -> None:
    """Scroll through the charts of the open parts."""
    for box in driver.find_elements("css selector", "details[open] [data-chart], #training [data-chart]"):
        driver.execute_async_script(DRAW_MAP, box)


def measure_report(driver: Any, address: str, axe_source: str) -> dict[str, Any]:
    """Opening, requests, console, accessibility and phone width of the page at `address`."""
    opened = []
    for _ in range(REPEATS):
        open_page(driver, address)
        opened.append(driver.execute_async_script(PRESS_SORT, driver.find_element("css selector", "#run-table th")))
    bring_charts_alive(driver)
    requests, messages = network_requests(driver), console_messages(driver)
    violations = serious_violations(driver, axe_source)
    open_page(driver, address, width=380)
    bring_charts_alive(driver)
    sideways = driver.execute_script("return document.documentElement.scrollWidth - 380")
    return {
        "interactive_seconds": round(statistics.median(opened), 3),
        "network_requests": len(requests),
        "console_messages": len(messages),
        "serious_violations": len(violations),
        "sideways_pixels_at_380": max(0, int(sideways)),
        "found": {"requests": requests[:5], "messages": messages[:5], "violations": violations},
    }


def measure_map(driver: Any, address: str) -> float:
    """Median seconds from scrolling to the map of a selection's page until it is alive."""
    seconds = []
    for _ in range(REPEATS):
        open_page(driver, address)
        box = driver.find_element("css selector", "#selection-map [data-chart]")
        seconds.append(driver.execute_async_script(DRAW_MAP, box))
    return float(round(statistics.median(seconds), 3))


def large_selection(n_rows: int) -> Any:
    """The page data of a made-up selection of 1,000 from a pool of `n_rows`."""
    from curate.selection.page import SelectionPageData
    from tests.evaluate_suite.reporting.report_factory import make_decisions

    columns, texts = make_decisions(n_rows, 1000)
    counts = {"pool": n_rows, "selected": columns["fate"].count("selected")}
    return SelectionPageData("large", {"strategy": "kmeans", "seed": 0}, counts, columns, texts)


def main() -> None:
    """Measure and print JSON."""
    from curate.selection.page import render_selection_page
    from evaluate_suite.reporting.page import render_report_page
    from tests.evaluate_suite.reporting.report_factory import make_report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--pool-rows", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="Leave the pages here.")
    given = parser.parse_args()
    axe_source = find_axe()
    if axe_source is None:
        raise SystemExit("axe-playwright-python is not installed: make .venv/installed")
    data = make_report(given.runs, given.prompts, hostile=True)
    walls, processors, report = repeated(lambda: render_report_page(data))
    selection = large_selection(given.pool_rows)
    map_walls, _, large = repeated(lambda: render_selection_page(selection))
    with tempfile.TemporaryDirectory() as scratch, open_browser() as driver:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {"report": folder / "report.html", "selection": folder / "selection.html"}
        paths["report"].write_text(report, encoding="utf-8")
        paths["selection"].write_text(large, encoding="utf-8")
        measured = measure_report(driver, paths["report"].resolve().as_uri(), axe_source)
        map_seconds = measure_map(driver, paths["selection"].resolve().as_uri())
    figures = {
        "megabytes": round(len(report.encode()) / 1e6, 3),
        "render_seconds": round(walls[0], 3),
        "render_again_seconds": round(statistics.median(walls[1:]), 3),
        "render_processor_seconds": round(processors[0], 3),
        **measured,
        "large_map_seconds": map_seconds,
        "large_page_render_seconds": round(statistics.median(map_walls), 3),
        "large_page_megabytes": round(len(large.encode()) / 1e6, 3),
    }
    missed = {name: figures[name] for name, most in TARGETS.items() if figures[name] > most}
    about = {"runs": given.runs, "prompts": given.prompts, "pool_rows": given.pool_rows}
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"report": about, "machine": machine, **figures, "targets": TARGETS, "missed": missed}, indent=2))


if __name__ == "__main__":
    main()
