"""Makes `reports/demo` from real runs, and the pictures of it: select, train and report, as anybody would type it.

    python -m benchmarks.demo_report [--strategies random,kmeans,shortest] [--prompts FILE] [--tasks FILE]

Without --strategies it is the report of `make demo`, whose selection and run are reused, as is every step that was made
before (below `$ROWPICK_HOME`); with them, runs of several strategies in its settings are compared. The pictures (light,
dark, phone) go to `docs/pictures`. Prints JSON with the seconds of every step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.headless_browser import emulate, open_browser, screenshot

DEMO = ("--max-tokens", "96", "--decontaminate", "humaneval")  # what `make demo` selects with, beside the model
PICTURES = {"light": (1280, 1500, False), "dark": (1280, 1500, True), "phone": (380, 1500, False)}


def run(*words: str) -> str:
    """The last line a command of ours prints on stdout; its failure ends the whole."""
    command = [sys.executable, "-m", *words]
    print("$", " ".join(words), file=sys.stderr, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]


def photograph(page: Path, folder: Path) -> list[str]:
    """Pictures of the top of a page, its charts alive, in both themes and on a phone."""
    from selenium.webdriver.support.ui import WebDriverWait

    folder.mkdir(parents=True, exist_ok=True)
    with open_browser() as driver:
        for name, (width, height, dark) in PICTURES.items():
            emulate(driver, width=width, dark=dark)
            driver.get(page.resolve().as_uri())
            for box in driver.find_elements("css selector", "#training [data-chart]"):
                driver.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", box)
                WebDriverWait(box, 20, 0.1).until(lambda chart: chart.get_attribute("data-live"))
            driver.execute_script("scrollTo(0, 0)")
            screenshot(driver, folder / f"report-{name}.png", clip=(0, 0, width, height))
    return [f"report-{name}.png" for name in PICTURES]


def main() -> None:
    """Make everything and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="stdlib")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--strategies", help="Compare these. Default: the one run of make demo.")
    parser.add_argument("--prompts", help="JSONL of raw prompts. Default: the packaged set.")
    parser.add_argument("--tasks", help="HumanEval or MBPP tasks to execute in the sandbox.")
    parser.add_argument("--out", type=Path, default=Path("reports/demo"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args()
    seconds: dict[str, float] = {}

    def timed(name: str, *words: str) -> str:
        started = time.perf_counter()
        result = run(*words)
        seconds[name] = round(time.perf_counter() - started, 1)
        return result

    pool = ["--dataset", given.dataset, "--model", given.model, "--k", "1000", *DEMO]
    runs = [] if given.strategies else ["demo"]
    for strategy in given.strategies.split(",") if given.strategies else []:
        selection = timed(f"select {strategy}", "curate.cli", "select", *pool, "--strategy", strategy)
        words = ["--selection", Path(selection).name, "--wandb", "off"]
        runs.append(Path(timed(f"train {strategy}", "finetune.cli", "run", *words)).name)
    asked = [*runs, "--out", str(given.out)] + (["--prompts", given.prompts] if given.prompts else [])
    asked += ["--tasks", given.tasks, "--execute"] if given.tasks else []
    page = Path(timed("report", "evaluate_suite.cli", "report", *asked))
    record: dict[str, Any] = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    pictures = photograph(page, given.pictures)
    answer = [record["headline"], record["second"]]
    print(json.dumps({"answer": answer, "page": str(page), "pictures": pictures, "seconds": seconds}, indent=2))


if __name__ == "__main__":
    main()
