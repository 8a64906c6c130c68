"""How often the rules that find an answer's end are wrong, on real rows and on labelled texts, as one JSON object.

    ROWPICK_DATA=DIR python benchmarks/answer_rules.py     # DIR holds codealpaca-2k.jsonl; about 20 seconds

right_answers: outputs of real rows with their own prompts, all of which is answer: how many are called partly
unrelated, not taken for code (hundreds are prose), given 0 for the language asked, or do not parse. appended: the
output of another row after an answer in the same language: how often it is found. labelled: the generations labelled by
hand in the tests, and how many the rules split as the reader did.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.code.languages import parses
from curate.code.parts import UNRELATED
from evaluate_suite.answers.first_answer import split_answer
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS
from tests.evaluate_suite.answers.test_labelled_generations import LABELLED, agrees

DEFINES = {"python": ("def ", "class "), "javascript": ("function ", "class ")}


def prompt_of(row: dict[str, Any]) -> str:
    return "\n".join(text for text in (row["instruction"], row.get("input") or "") if text)


def right_answers(rows: list[dict[str, Any]]) -> dict[str, object]:
    counts: Counter[str] = Counter()
    for place, row in enumerate(rows):
        generation = Generation(str(place), prompt_of(row), row["output"])
        parts = split_answer(row["output"], generation.prompt).trailing
        counts["partly_unrelated"] += any(part.kind == UNRELATED for part in parts)
        for name in ("contains_code", "language_match", "parse_rate"):
            score = METRICS[name].score(generation)
            counts[f"{name}_scored"] += score.value is not None
            counts[f"{name}_0"] += score.value == 0
    return {"rows": len(rows), **dict(sorted(counts.items()))}


def appended(rows: list[dict[str, Any]], language: str, seed: int) -> dict[str, int]:
    """Answers that begin with a definition, each followed by another row's, which defines other names."""
    rng = random.Random(seed)
    starts = DEFINES[language]
    defining = [row for row in rows if row["output"].startswith(starts) and parses(row["output"], language)[0]]
    tried = found = 0
    for row in defining:
        other = rng.choice(defining)
        names = [text.split("(")[0].split(":")[0].split()[-1] for text in (row["output"], other["output"])]
        if names[0] == names[1] or names[1] in row["output"] or names[1] in prompt_of(row):
            continue
        text = row["output"].rstrip() + "\n\n" + other["output"].lstrip()
        tried += 1
        start = len(row["output"].rstrip())
        trailing = split_answer(text, prompt_of(row)).trailing
        found += any(part.kind == UNRELATED and part.end > start for part in trailing)
    return {"tried": tried, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ROWPICK_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data or set ROWPICK_DATA")
    lines = (Path(args.data) / "codealpaca-2k.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["output"].strip()]
    record = {
        "right_answers": right_answers(rows),
        "appended": {language: appended(rows, language, args.seed) for language in DEFINES},
        "labelled": {"texts": len(LABELLED), "as_the_reader": sum(map(agrees, LABELLED))},
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
