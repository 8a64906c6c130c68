"""The page of the study "which rows?": from its JSON lines to reports/which-1000-rows.

    python benchmarks/which_rows_page.py PLAN RESULTS.jsonl ... [--answers ANSWERS.jsonl ...] [--out DIR] [--card NAME]
    python benchmarks/which_rows_page.py PLAN RESULTS.jsonl --add-model NAME [--out DIR]

The second adds to the page in DIR what `which_rows_other_model.py` measured on another base model.

Writes `index.html`, `numbers.json` (every figure of the page), the charts as PNG, `generations.jsonl` with answers to
the packaged prompts, `cells.jsonl.gz` (every run: its losses on the held-out rows; RESULTS may be such a file). No row
of the pool is in any of them. Sentences are computed: what was not measured is not said.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_answered import answer_scores, answered_effects
from benchmarks.which_rows_cells import BEST, FRESH
from benchmarks.which_rows_charts import times, two_measures_chart, worth_chart
from benchmarks.which_rows_goals import NO_LOSS, frontier, goals
from benchmarks.which_rows_lines import key
from benchmarks.which_rows_results import (
    ONLY,
    RANDOM,
    Effect,
    Results,
    kept_lines,
    same,
)
from benchmarks.which_rows_tables import (
    COLUMNS,
    effect_rows,
    form_rows,
    law_sentences,
    other_model_plain_rows,
    other_model_rows,
)
from curate.artifact import write_bytes, write_json, write_jsonl, write_text
from curate.page import chart_png, render_document
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import decode_completion, encode_prompt, load_tokenizer
from evaluate_suite.generation.raw_prompts import load_raw_prompts

HERE = Path(__file__).parent
MODEL = "smollm2-135m"
ADVISED = "target-words"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--answers", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("reports/which-1000-rows"))
    parser.add_argument("--programs", type=Path, help="what which_rows_programs.py wrote")
    parser.add_argument("--law", type=Path, help="laws.json, the fitted mixing law")
    parser.add_argument("--weights", type=Path, help="weights.json, the fitted weights of features")
    parser.add_argument("--earlier", action="store_true", help="take what these results lack from the page in --out")
    parser.add_argument("--card", default="not said")
    parser.add_argument("--add-model", metavar="NAME", help="the base model of these results, beside the page's own")
    args = parser.parse_args()
    earlier = json.loads(file.read_text("utf-8")) if (file := args.out / "numbers.json").is_file() else {}
    results = Results(args.plan, args.results, earlier if args.earlier else None)
    if args.add_model:
        write_page(args.out, with_model(earlier, args.add_model, results))
        return
    prompts = load_raw_prompts()
    tokenizer = load_tokenizer(MODEL)

    def decode(prompt: str, ids: list[int]) -> str:
        return decode_completion(tokenizer, encode_prompt(tokenizer, RAW, prompt), ids)

    scores = answer_scores(args.answers, prompts, decode)
    programs = json.loads(args.programs.read_text(encoding="utf-8")) if args.programs else {}
    fitted = [json.loads(file.read_text(encoding="utf-8")) if file else {} for file in (args.law, args.weights)]
    numbers = measure(results, scores, args.card, programs, *fitted)
    numbers |= {"other_models": earlier.get("other_models", {})}
    args.out.mkdir(parents=True, exist_ok=True)
    write_page(args.out, numbers)
    write_bytes(args.out / "cells.jsonl.gz", kept_lines(results))
    write_jsonl(args.out / "generations.jsonl", generations(args.answers, decode))
    print(json.dumps({"page": str(args.out / "index.html"), "answer": numbers["answers"]}, indent=1))


def with_model(numbers: Mapping[str, Any], name: str, results: Results) -> dict[str, Any]:
    """Return a page's numbers with those of another base model."""
    own = {name: {"budget": results.budget, "targets": results.by_target(), "plain": results.beside_random()}}
    return {**numbers, "other_models": numbers.get("other_models", {}) | own}


def generations(files: Sequence[Path], decode: Any) -> list[dict[str, Any]]:
    """Return the answers of each selector's first draw to the packaged prompts."""
    prompts = {prompt.prompt_id: prompt.prompt for prompt in load_raw_prompts()}
    lines = []
    for line in (line for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        selector, draw, budget, target = json.loads(record["key"])
        if draw == 0:
            for prompt_id, (ids, ended) in record["answers"].items():
                lines.append(
                    {
                        "selector": selector, "target": target, "budget": budget, "prompt_id": prompt_id,
                        "completion": decode(prompts[prompt_id], ids), "ended": ended,
                    }
                )  # fmt: skip
    return lines


def measure(
    results: Results,
    scores: Mapping[str, Mapping[str, float]],
    card: str,
    programs: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    law: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return every number of the page; what the results lack is of the earlier run that they know, and said to be."""
    sources = list(results.rows.plan["sources"])
    families = {"": results.effects(None), **{source: results.effects(source) for source in sources}}
    well_formed = answered_effects(results, scores, "well-formed answer")
    curve = {
        source or "all": {str(round(tokens)): losses for tokens, losses in results.curve(source or None).items()}
        for source in ("", *sources)
    }
    numbers: dict[str, Any] = {
        "budget": results.budget,
        "card": card,
        "pool": {role: int((results.rows.data["role"] == role).sum()) for role in ("pool", "V", "H")},
        "pool_tokens": int(results.rows.data["lengths"][results.rows.pool].sum()),
        "cells": len(results.cells),
        "failed": len(results.failed),
        "random_draws": len(results.of(RANDOM)),
        "in_distribution": [asdict(effect) for effect in families[""]],
        "targets": {source: [asdict(effect) for effect in families[source]] for source in sources},
        "well_formed": well_formed,
        "executed": {name: answered_effects(results, own, name) for name, own in (programs or {}).items()},
        "law": {
            name: {k: v for k, v in own.items() if k != "shares"}
            for name, own in (law or {}).items()
            if isinstance(own, dict)
        },
        "weights": dict(weights or {}),
        "chosen": results.chosen(),
        "proxies": sum(cell["cell"] == "proxy" for cell in results.proxies),
        "doubling_percent": None if results.doubling() is None else 100 * (results.doubling() or 0.0),
        "best_of_draws": [
            {"selector": name, **line} for name in (RANDOM, BEST) for line in results.best_of(name, (4, 8, 16, 32))
        ],
        "sizes": results.other_sizes(),
        "notebook": notebook(results, scores),
        "random_curve": curve,
        "not_run": results.not_run(),
    }
    taken = {name: results.earlier[name] for name in ("sizes", "notebook") if results.earlier.get(name)}
    numbers |= {name: lines for name, lines in taken.items() if not numbers[name]}
    own_budgets = {cell["budget"] for cell in results.of(RANDOM)}
    numbers["earlier"] = {
        "cells": (results.earlier.get("earlier") or results.earlier).get("cells", 0),
        "random_at": [n for n in curve["all"] if not any(same(float(n), budget) for budget in own_budgets)],
        "parts": [name for name, lines in taken.items() if numbers[name] is lines],
    } if results.earlier else None  # fmt: skip
    numbers["fresh_shares"] = {
        f"{e.selector}, target {source}": results.share(e.selector, source, FRESH.start)
        for source in sources
        for e in families[source]
        if e.selector != ONLY
    }
    numbers["frontier"] = frontier(numbers)
    numbers["goals"] = goals(families, numbers, sources)
    numbers["answers"] = answers(families, numbers, sources)
    return numbers


def notebook(results: Results, scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return the notebook's recipe and what is left of it without its faults: loss on H and well-formed answers."""
    names = dict.fromkeys(c["cell"] for c in results.rows.plan["cells"] if c["cell"].startswith("notebook"))
    lines = []
    for name in names:
        cells = results.of(name, None, None)
        if cells:
            losses = [results.loss(cell) for cell in cells]
            tokens = sum(cell["tokens"] for cell in cells) / len(cells)
            forms = [statistics.fmean(own.values()) for cell in cells if (own := scores.get(key(cell)))]
            lines.append(
                {
                    "cell": name, "draws": len(cells), "loss": statistics.fmean(losses), "tokens": round(tokens),
                    "well_formed": statistics.fmean(forms) if forms else None,
                }
            )  # fmt: skip
    return lines


def answers(families: Mapping[str, Sequence[Effect]], numbers: Mapping[str, Any], sources: Sequence[str]) -> list[str]:
    """Return what a reader should do, as sentences computed from the numbers."""
    said = in_short(families, sources)
    for source in sources:
        mine = [e for e in families[source] if e.selector != ONLY and e.percent is not None]
        shown = sorted((e for e in mine if e.shown and (e.percent or 0) < 0), key=lambda e: e.percent or 0.0)
        if not mine:
            continue
        if not shown:
            said.append(f"Target {source}: no selector was shown to beat random on {source}'s held-out rows.")
            continue
        best = next((e for e in shown if e.selector == ADVISED), shown[0])
        price = ", ".join(f"{other} {percent:+.1f}%" for other, percent in best.others.items())
        worth = f", worth {best.worth:.1f} times its tokens drawn at random" if best.worth else ""
        share = "" if best.share is None else f"; {best.share:.0%} of what only {source}'s own rows give"
        said.append(
            f"Want rows like {source}'s? Name 60 of them: {best.selector} lowers the loss on {source}'s held-out rows "
            f"by {-(best.percent or 0):.1f}% (95% interval {-(best.high or 0):.1f} to {-(best.low or 0):.1f}){worth}"
            f"{share}. The price elsewhere: {price}."
        )
    said += prompts_answer(families, sources)
    plain = [e for e in families[""] if e.percent is not None]
    better = [e for e in plain if e.shown and (e.percent or 0) < 0]
    if plain and better:
        best = min(better, key=lambda e: e.percent or 0.0)
        said.append(
            f"Want no rows in particular? {best.selector} beats random by {-(best.percent or 0):.2f}% of the loss "
            f"({-(best.high or 0):.2f} to {-(best.low or 0):.2f})"
            + (f", {best.worth:.2f} times its tokens." if best.worth else ".")
        )
    elif plain:
        best = min(plain, key=lambda e: e.percent or 0.0)
        near = f" ({best.low:+.2f} to {best.high:+.2f})" if best.low is not None and best.high is not None else ""
        said.append(
            f"Want no rows in particular? Take random: none of {len(plain)} selectors was shown to beat it. The best "
            f"estimate is {best.percent:+.2f}% of the loss{near}, by {best.selector}."
        )
    said += well_formed_answers(numbers, plain)
    return said


def in_short(families: Mapping[str, Sequence[Effect]], sources: Sequence[str]) -> list[str]:
    """Return the one sentence that stands at the head, where the advised selector was shown to win for every source."""
    found = [e for source in sources for e in families[source] if e.selector == ADVISED and e.shown]
    worth, shares = [e.worth for e in found if e.worth], [e.share for e in found if e.share is not None]
    if len(found) < len(sources) or len(worth) < len(found) or len(shares) < len(found):
        return []
    return [
        f"Name sixty rows of what you want: curate select --target FILE. Picked by {ADVISED}, a token was worth "
        f"{min(worth):.1f} to {max(worth):.1f} random ones, and the loss fell by {min(shares):.0%} to {max(shares):.0%}"
        " of what only the wanted source's own rows give."
    ]


def prompts_answer(families: Mapping[str, Sequence[Effect]], sources: Sequence[str]) -> list[str]:
    """Return what instructions without answers are worth as a target, beside whole rows."""
    parts = []
    for source in sources:
        by_name = {e.selector: e for e in families[source] if e.share is not None}
        whole, alone = by_name.get("target-words"), by_name.get("target-words, prompts alone")
        if whole is not None and alone is not None:
            parts.append(f"{source} {alone.share:.0%} (whole rows {whole.share:.0%})")
    if not parts:
        return []
    return [f"Instructions alone will do as a target. Share of what only the source's rows give: {', '.join(parts)}."]


def well_formed_answers(numbers: Mapping[str, Any], plain: Sequence[Effect]) -> list[str]:
    """Return what the study says about well-formed answers, beside what they cost in loss."""
    losses = {effect.selector: effect for effect in plain}
    shown = [
        (name, entry["to_random"])
        for name, entry in numbers["well_formed"].items()
        if entry["to_random"] is not None and entry["to_random"]["winner"] == name and name in losses
    ]
    if not numbers["well_formed"]:
        return []
    if not shown:
        return ["Well-formed answers: no selector was shown to give more of them than random."]

    def gives(item: tuple[str, Mapping[str, Any]]) -> str:
        name, pair = item
        return (
            f"{name} gives {100 * pair['effect']:.0f} points more well-formed answers than random "
            f"({100 * pair['low']:.0f} to {100 * pair['high']:.0f}) at {losses[name].percent or 0.0:+.2f}% loss"
        )

    most = max(shown, key=lambda item: item[1]["effect"])
    cheap = [item for item in shown if (losses[item[0]].percent or 0.0) <= NO_LOSS]
    less = max(cheap, key=lambda item: item[1]["effect"], default=most)
    return [f"Want answers of good form? {gives(most)}" + ("." if less is most else f"; {gives(less)}.")]


def write_page(out: Path, numbers: Mapping[str, Any]) -> None:
    """Write the numbers, the charts and the page."""
    charts = [chart for chart in (worth_chart(numbers), two_measures_chart(numbers)) if chart is not None]
    for chart in charts:
        write_bytes(out / f"{chart.chart_id}.png", chart_png(chart))
    write_json(out / "numbers.json", dict(numbers))
    tables = {source: effect_rows(effects) for source, effects in numbers["targets"].items() if effects}
    context = {
        "numbers": numbers,
        "charts": charts,
        "tables": tables,
        "columns": COLUMNS,
        "plain_columns": [*COLUMNS[:-2], "by source"],  # without a target there is no ceiling
        "plain": [[*row[:-2], row[-1]] for row in effect_rows(numbers["in_distribution"])],
        "forms": form_rows(numbers["well_formed"]),
        "best_of": [
            [g["selector"], str(g["best_of"]), f"{g['percent']:+.2f}%", str(g["bank"])]
            for g in numbers["best_of_draws"]
        ],
        "sizes": [
            [
                s["selector"],
                s["target"] or "all",
                f"{s['budget']:,}",
                str(s["draws"]),
                f"{s['percent']:+.2f}%",
                times(s["worth"]),
            ]
            for s in numbers["sizes"]
        ],
        "notebook": [
            [
                n["cell"],
                str(n["draws"]),
                f"{n['tokens']:,}",
                f"{n['loss']:.4f}",
                "" if n["well_formed"] is None else f"{n['well_formed']:.0%}",
            ]
            for n in numbers["notebook"]
        ],
        "laws": law_sentences(numbers),
        "chosen": [f"{name}: what was chosen there is {chosen}." for name, chosen in numbers["chosen"].items()],
        "goals": [["met" if g["met"] else "missed", g["measure"], g["figure"], g["goal"]] for g in numbers["goals"]],
        "others": other_model_rows(numbers),
        "others_plain": other_model_plain_rows(numbers),
        "executed": {name: form_rows(entries, "passed") for name, entries in numbers["executed"].items() if entries},
    }
    write_text(out / "index.html", render_document("which_rows.html", context, folders=[HERE], charts=charts))


if __name__ == "__main__":
    main()
