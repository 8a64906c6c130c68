"""A made-up report of any size: real-looking code from the installed standard library, numbers from a seeded draw."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import sysconfig
from pathlib import Path
from typing import Any

from curate.page import CurationView, build_curation
from evaluate_suite.reporting.record import (
    BASE,
    MetricInfo,
    Output,
    PromptOutputs,
    ReportRecord,
    RunResult,
    ShownRow,
    StrategyMetric,
    StrategyResult,
)
from evaluate_suite.statistics.equivalents import RandomEquivalent
from evaluate_suite.statistics.types import Estimate, PairedDifference
from evaluate_suite.training_curve.types import HistoryPoint, Remark, Verdict
from finetune.check.row_tokens import RowToken, RowView

METRICS = [
    MetricInfo(name="well_formed_answer", title="Well-formed answer", better="higher"),
    MetricInfo(name="stopped_by_itself", title="Stopped by itself", better="higher"),
    MetricInfo(name="parse_rate", title="Code parses", better="higher"),
    MetricInfo(name="trailing_share", title="Trailing share", better="lower"),
    MetricInfo(name="passes_tests", title="Passes tests", better="higher"),
    MetricInfo(name="chrf", title="chrF", better="higher", share=False),
]
STRATEGIES = ["kmeans", "random", "medoids", "kcenter", "facility", "shortest", "first", "random", "kmeans", "random"]
ASKS = [
    "write a python function that merges two sorted lists",
    "how do i read a csv file in pandas, skipping the first 3 rows?",
    "js debounce function",
    "Fix this:\n\nfor i in range(10)\n    print(i)",
    "sql query: top 5 customers by revenue in the last 30 days",
    "bash one-liner, count lines in all .py files",
]
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "</style><style>body{display:none}</style>",
    "access_level = 'user\u202e \u2066// check if admin\u2069 \u2066'",
    "x" * 100_000,
    "a\u0000b\u0007c \ud800 d",
    "<img src=x onerror=\"document.title='owned'\">{{ 7*7 }}",
    "```python\n</pre></article><script>document.title='owned'</script>\n```",
    "",
]


def make_decisions(n: int, k: int, seed: int = 0) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Columns of a `decisions.parquet` of n rows with about k picks, and the instructions by row_id."""
    rng = random.Random(seed)
    centres = [(rng.gauss(0, 0.5), rng.gauss(0, 0.5)) for _ in range(40)]
    columns: dict[str, list[Any]] = {
        c: [] for c in ["row_index", "row_id", "fate", "reason", "detail", "token_count", "cluster", "x", "y"]
    }
    texts = {}
    for i in range(n):
        cluster = int(rng.random() ** 2 * 40)
        row_id = hashlib.sha256(str(i).encode()).hexdigest()[:16]
        draw = rng.random()
        fate = "excluded" if draw < 0.15 else "held_out" if draw < 0.19 else "not_picked"
        fate = "selected" if 0.19 <= draw < 0.19 + k / n else fate
        reason = {"held_out": "holdout", "selected": "kmeans"}.get(fate, fate)
        if fate == "excluded":
            reason = rng.choice(["too_long"] * 5 + ["near_duplicate", "exact_duplicate", "near_duplicate_of_holdout"])
        placed = fate != "excluded" or reason == "too_long"
        x, y = centres[cluster][0] + rng.gauss(0, 0.08), centres[cluster][1] + rng.gauss(0, 0.08)
        values = (i, row_id, fate, reason, None, int(rng.lognormvariate(5, 0.6)))
        places = (cluster, x, y) if placed else (None, None, None)
        for name, value in zip(columns, (*values, *places), strict=True):
            columns[name].append(value)
        texts[row_id] = f"{rng.choice(ASKS)} (variant {i})"
    return columns, texts


def make_curation(name: str, seed: int) -> CurationView:
    """A selection's view as a report of many runs shows it."""
    columns, texts = make_decisions(4500, 1000, seed)
    return build_curation(name, columns, texts, {"mean_nearest_cosine": 0.71}, shown_pool=600, shown_picks=300)


def make_run(index: int, rng: random.Random) -> RunResult:
    """One run; the third overfits."""
    name = f"{STRATEGIES[index % 10]}-k1000-s{index}"
    best = 120 - 5 * (index % 4)
    history = []
    for step in range(10, 201, 10):
        train = 1.1 + 1.9 * math.exp(-step / 45) + rng.gauss(0, 0.03)
        rise = 0.0016 * max(0, step - best) if index == 2 else 0.0
        evaluated = 1.25 + 0.02 * index + 1.6 * math.exp(-step / 40) + rise + rng.gauss(0, 0.01)
        history.append(HistoryPoint(step, round(train, 4), round(evaluated, 4)))
    gain = 0.9 - 0.03 * index
    evidence: dict[str, int | float | None] = {"n_evals": 20, "best_eval": 1.26}
    verdict = Verdict("good", 200, None, "eval loss still at its lowest", evidence, "Keep it.")
    if index == 2:
        remarks = (Remark("noisy_batches", "Single train losses scatter by 20% of their level."),)
        verdict = Verdict("overfit", 110, 120, "eval rises while train falls", evidence, "Stop at step 110.", remarks)
    return RunResult(
        name=name,
        selection=f"{STRATEGIES[index % 10]}-k1000-ab{index:02d}ef12",
        strategy=STRATEGIES[index % 10],
        seed=index,
        rows=1000,
        tokens=158_000 + 1300 * index,
        base_loss=Estimate(2.214, 2.1, 2.33, 180, 2),
        tuned_loss=Estimate(2.214 - gain, 1.9 - gain, 2.4 - gain, 180, 2),
        gain=Estimate(gain, gain - 0.05, gain + 0.05, 180, 2),
        base_perplexity=9.15,
        tuned_perplexity=round(math.exp(2.214 - gain), 3),
        verdict=verdict,
        history=history,
        metrics=_metrics(rng, 0.75 - 0.02 * index),
        elapsed_seconds=412.0 + 60 * index,
        peak_memory_gib=3.4 + 0.1 * index if index != 1 else None,
        commands=[
            f"curate select --strategy {STRATEGIES[index % 10]} --k 1000 --seed {index}",
            f"finetune run seed={index}",
        ],
        config={"learning_rate": 2e-4, "num_train_epochs": 2, "r": 16, "seed": index},
        digests={"selection": hashlib.sha256(name.encode()).hexdigest(), "adapter": "0" * 64},
    )


def _metrics(rng: random.Random, level: float) -> dict[str, Estimate]:
    found = {}
    for metric in METRICS:
        value = round(min(1, max(0, level + rng.gauss(0, 0.05))), 4)
        found[metric.name] = Estimate(value, round(value - 0.06, 4), round(value + 0.06, 4), 196, 4)
    return found


def _chunks() -> list[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join(path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.py"))[:120])
    parts = [part for part in text.split("\ndef ") if 300 < len(part) < 1500]
    return ["def " + part for part in parts]


def make_prompts(runs: list[RunResult], n_prompts: int, rng: random.Random, hostile: bool) -> list[PromptOutputs]:
    """Prompts with a text per model; with `hostile`, the first ones and two late ones try to break the page."""
    chunks = _chunks()
    prompts = []
    for p in range(n_prompts):
        outputs = []
        for index, model in enumerate([BASE, *(run.name for run in runs)]):
            text = chunks[(p * 11 + index * 131) % len(chunks)]
            if index == 0:
                text += "\n\nOutput:\n\n" + text[:200]
            elif index % 3 == 1:
                text = f"Here is one way:\n\n```python\n{text}```\nIt is linear in the input."
            if hostile and (p < len(HOSTILE) or p in (n_prompts - 1, n_prompts - 2)):
                text = HOSTILE[p % len(HOSTILE)]
            end = text.find("\n\nOutput:") if "\n\nOutput:" in text else None
            scores: dict[str, float | None] = {
                m.name: float(rng.random() < 0.7) if m.better == "higher" else 0.25 for m in METRICS
            }
            scores["chrf"] = None if p % 7 == 0 else round(rng.random(), 3)
            stop = "max_new_tokens" if index == 0 else "end_token"
            outputs.append(
                Output(
                    model=model,
                    text=text,
                    answer_end=end,
                    stop_reason=stop,
                    new_tokens=len(text) // 4,
                    scores=dict(scores),
                )
            )
        language = "python" if p % 2 else None
        prompts.append(
            PromptOutputs(prompt_id=f"ask-{p:03d}", prompt=ASKS[p % len(ASKS)], language=language, outputs=outputs)
        )
    return prompts


def make_strategies(runs: list[RunResult]) -> list[StrategyResult]:
    """The strategies that several of the runs share."""
    names = list(dict.fromkeys(run.strategy for run in runs))
    found = []
    for name in names:
        mine = [run for run in runs if run.strategy == name]
        spread = 0.012 if len(mine) > 1 else None
        worth = None if name == "random" else RandomEquivalent(171_000.4, ratio=1.08)
        loss = mine[0].tuned_loss
        found.append(
            StrategyResult(
                name=name,
                runs=[r.name for r in mine],
                n_draws=len(mine),
                n_seeds=1,
                loss=loss,
                draw_spread=spread,
                seed_spread=None,
                scope="strategies",
                random_equivalent=worth,
                metrics={
                    metric: StrategyMetric(estimate=e, draw_spread=spread, seed_spread=None)
                    for metric, e in mine[0].metrics.items()
                },
            )
        )
    return found if len(names) < len(runs) else []


def strategy_pairs(names: list[str]) -> list[PairedDifference]:
    """Every pair of strategies by measure: the first beats the second on clean answers, nothing else is shown."""
    found = []
    for measure in ("eval loss", *(metric.name for metric in METRICS)):
        for i, (a, b) in enumerate(itertools.combinations(names, 2)):
            won = a if measure == "well_formed_answer" and i == 0 else None
            p = 0.012 if won else 0.6
            found.append(
                PairedDifference(
                    a,
                    b,
                    measure,
                    "strategies",
                    180,
                    -0.11,
                    -0.17 if won else -0.4,
                    -0.05 if won else 0.18,
                    p,
                    p,
                    p,
                    0.083,
                    won,
                    unit="draws",
                    n_units=3,
                )
            )
    return found


def make_row_view(hostile: bool) -> RowView:
    """Tokens of every shade, and text that would be markup or steer a terminal."""
    texts = [
        "<|begin|>",
        "reverse",
        " a list",
        "\n",
        "return",
        " x[::-1]",
        "</span><script>" if hostile else "\n",
        "\x1b[2J",
    ]
    losses = [None, None, None, None, 0.1, 0.7, 1.5, 3.0, 9.0]
    tokens = [
        RowToken(id=place, text=text, kind="text", carries_loss=loss is not None, loss=loss)
        for place, (text, loss) in enumerate(zip([*texts, "<|end|>"], losses, strict=True))
    ]
    ends = {0: "start token", len(tokens) - 1: "end token"}
    return RowView(number=3, row_id="a", tokens=[t.model_copy(update={"kind": ends.get(t.id, t.kind)}) for t in tokens])


def make_report(n_runs: int = 10, n_prompts: int = 200, *, hostile: bool = False, seed: int = 0) -> ReportRecord:
    """A whole report; equal arguments, equal report."""
    rng = random.Random(seed)
    runs = [make_run(i, rng) for i in range(n_runs)]
    pairs = [
        PairedDifference(
            a.name, b.name, "eval loss", "models", 180, 0.03, 0.01, 0.05, 0.002, 0.02 * (j - i), None, 0.02, a.name
        )
        if j - i < 2
        else PairedDifference(
            a.name, b.name, "eval loss", "models", 180, 0.004, -0.01, 0.018, 0.3, 0.9, None, 0.02, None
        )
        for i, a in enumerate(runs)
        for j, b in enumerate(runs)
        if i < j
    ]
    strategies = make_strategies(runs)
    pairs = [*strategy_pairs([result.name for result in strategies]), *pairs]
    return ReportRecord(
        name="demo-report",
        headline=f"kmeans beats random by 0.030 nats per token on {180} held-out rows (95% interval 0.010 to 0.050).",
        second="Clean answers: no difference shown; a difference of 9 points could have been seen.",
        base_model="smollm2-135m",
        winner=runs[0].name if runs else None,
        facts=[
            ("Runs", str(n_runs)),
            ("Base model", "smollm2-135m"),
            ("Held-out rows", "180"),
            ("Raw prompts", str(n_prompts)),
            ("Best perplexity", "9.15 to 3.72"),
        ],
        notes=["2 held-out rows are longer than the model's context and were not scored."],
        metrics=METRICS,
        base_metrics=_metrics(rng, 0.4),
        runs=runs,
        pairs=pairs,
        curations=[make_curation(run.selection, i) for i, run in enumerate(runs)],
        prompts=make_prompts(runs, n_prompts, rng, hostile),
        settings={"max_new_tokens": 64, "do_sample": False, "report_eval_rows": 180},
        versions={"rowpick": "0.1.0", "torch": "2.13.0"},
        command="evalsuite report " + " ".join(run.name for run in runs),
        strategies=strategies,
        rows=[ShownRow(selection=run.selection, view=make_row_view(hostile)) for run in runs[:1]],
    )
