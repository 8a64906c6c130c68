"""Makes the golden artifacts: one small finished artifact of every kind, as this schema version leaves it on disk.

    python -m tests.make_golden

Run it once for a new schema number, and never again for that number: what stands in `tests/golden` is what people have
on their disks, and `tests/test_golden.py` shows that it is still read.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from curate.cli import main as curate
from evaluate_suite.cli import main as evalsuite
from finetune.cli import main as finetune
from tests.finetune.conftest import QUICK, build_tiny

GOLDEN = Path(__file__).parent / "golden"
# Pages hold a charting library and are rendered from the record beside them; checkpoints are gone when a run is done.
LEFT_OUT = shutil.ignore_patterns("index.html", "report.html", "checkpoints", "*.lock")
ACTIONS = ("sort", "reverse", "parse", "copy", "merge", "count")
THINGS = ("list", "dict", "file", "string", "matrix", "graph", "tree", "queue")


def golden_rows() -> list[dict[str, str]]:
    """48 rows, all different, and one of them once more."""
    made = [
        {
            "instruction": f"{action} a {thing}",
            "output": f"def {action}_{thing}(x):\n    return {action}(x)\n" * (1 + n % 4),
        }
        for n, (action, thing) in enumerate(((a, t) for a in ACTIONS for t in THINGS), start=1)
    ]
    return [*made, made[3]]


def write_golden_rows(path: Path) -> None:
    """The rows as the file that the golden selection was made from."""
    path.write_text("".join(json.dumps(row) + "\n" for row in golden_rows()), encoding="utf-8")


def select_arguments(rows: Path, model: Path, out: Path) -> list[str]:
    """The command that makes the golden selection."""
    options = ["--strategy", "shortest", "--encoder", "tfidf", "--near-duplicate", "0.999", "--k", "12",
               "--max-tokens", "128"]  # fmt: skip
    return ["select", "--dataset", str(rows), "--model", str(model), *options, "--out", str(out)]


def compare_arguments(rows: Path, model: Path, out: Path) -> list[str]:
    """The command that makes the golden comparison of strategies."""
    options = ["--strategies", "random,first", "--encoder", "tfidf", "--near-duplicate", "0.999", "--k", "12",
               "--max-tokens", "128"]  # fmt: skip
    return ["compare", "--dataset", str(rows), "--model", str(model), *options, "--out", str(out)]


def proxy_arguments(work: Path) -> list[str]:
    """What the commands that train proxy runs have in common."""
    return ["--dataset", str(work / "rows.jsonl"), "--model", str(work / "tiny-llama"), "--encoder", "tfidf",
            "--near-duplicate", "0.999", "--k", "12", "--max-tokens", "128", "--apart", "4"]  # fmt: skip


def make(work: Path) -> None:
    """One artifact of every kind below `work`, which must be the folder the process stands in."""
    write_golden_rows(work / "rows.jsonl")
    (work / "prompts.jsonl").write_text('{"prompt_id": "a", "prompt": "reverse a list", "language": "python"}\n')
    build_tiny(work / "tiny-llama")
    selection, run = work / "selections" / "golden", work / "runs" / "golden"
    codes = [
        curate(select_arguments(work / "rows.jsonl", work / "tiny-llama", selection)),
        finetune(["run", "--selection", str(selection), "--out", str(run), "--track", "none", *QUICK]),
        evalsuite(["report", str(run), "--out", str(work / "reports" / "golden"), "--max-new-tokens", "8",
                   "--prompts", str(work / "prompts.jsonl")]),
        curate(compare_arguments(work / "rows.jsonl", work / "tiny-llama", work / "reports" / "comparison")),
        finetune(["padding-study", "--selection", str(selection), "--rows", "12", *QUICK]),
        finetune(["influence", "--selection", str(selection), "--out", str(work / "influence" / "golden"), *QUICK]),
        evalsuite(["best-of-draws", *proxy_arguments(work), "--draws", "2", "--out", str(work / "draws" / "golden"),
                   *QUICK]),
        evalsuite(["mixture", *proxy_arguments(work), "--by", "strata", "--proxies", "10", "--clusters", "1",
                   "--min-correlation", "-1", "--out", str(work / "mixtures" / "golden"), *QUICK]),
    ]  # fmt: skip
    if any(codes):
        sys.exit(f"a command failed: {codes}")


def main() -> None:
    """Make the artifacts in a scratch folder and keep those whose schema number has none yet."""
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        work = Path(scratch)
        os.environ["ROWPICK_HOME"] = scratch
        os.chdir(work)
        sys.argv = ["make_golden.py"]  # what manifests record: no folder of the machine it ran on
        make(work)
        single = [work / kind / "golden" for kind in ("selections", "runs", "influence", "draws", "mixtures")]
        for made in (*single, *(work / "reports").glob("*/")):
            schema = json.loads((made / "manifest.json").read_text(encoding="utf-8"))["schema"]
            target = GOLDEN / schema.replace("/", "-")
            if target.exists():
                print(f"{target.name} stands already and is left as it is")
                continue
            shutil.copytree(made, target, ignore=LEFT_OUT)
            print(f"{target.name} written")


if __name__ == "__main__":
    main()
