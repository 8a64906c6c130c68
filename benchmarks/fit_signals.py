"""How often verdicts are right on planted and on real training histories, and how long one takes, as one JSON object.

    python benchmarks/fit_signals.py            # planted: the seeds no threshold was chosen on
    python benchmarks/fit_signals.py --tuning   # planted: the others

Baselines: "lowest is last" (overfit when the lowest eval loss is not the last, else underfit when the last step still
lowered it, else good) and "last against best" (overfit when the eval loss ends 2% above its lowest). Both say diverged
for a loss that is not finite and too_short below 4 evals, as people do by eye.

Real histories with a careful reader's labels are read from ../shared/histories/real.jsonl (or $ROWPICK_SHARED) where
that is there. `thresholds` is what becomes of the agreement on sure labels where one threshold is multiplied by 0.5 to
2; `held_out` what is left where, over random halves, the best of all these settings on one half judges the other.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluate_suite.training_curve.readers import points_of
from evaluate_suite.training_curve.rules import DEFAULT, Thresholds, judge
from evaluate_suite.training_curve.types import HistoryPoint
from tests.evaluate_suite.training_curve.planted_histories import (
    FLAT,
    HELD_OUT_SEEDS,
    LABELS,
    TUNING_SEEDS,
    PlantedHistory,
    best_excess,
    f1_scores,
    macro_f1,
    onset_error,
    plant,
    said,
)
from tests.shared_folder import SHARED

FACTORS = (0.5, 0.67, 1.5, 2.0)
ABOVE_ONE = ("diverged", "confirmed")  # thresholds that are factors: what they exceed 1 by is multiplied
LONG = 300_000


def lowest_is_last(points: Sequence[HistoryPoint]) -> str:
    evals, early = _evals(points)
    if early is not None:
        return early
    if min(evals) != evals[-1]:
        return "overfit"
    return "underfit" if evals[-1] < 0.985 * evals[-2] else "good"


def last_against_best(points: Sequence[HistoryPoint]) -> str:
    evals, early = _evals(points)
    if early is not None:
        return early
    if evals[-1] > 1.02 * min(evals):
        return "overfit"
    return "underfit" if evals[-1] < 0.985 * evals[-2] else "good"


def _evals(points: Sequence[HistoryPoint]) -> tuple[list[float], str | None]:
    every = [loss for p in points for loss in (p.train_loss, p.eval_loss) if loss is not None]
    evals = [p.eval_loss for p in points if p.eval_loss is not None]
    if not all(math.isfinite(loss) for loss in every):
        return evals, "diverged"
    return evals, "too_short" if len(evals) < 4 else None


def confusion(planted: Sequence[PlantedHistory], words: Sequence[set[str]]) -> dict[str, object]:
    """Return macro-F1, F1 by word and, by planted label, how often each set of words was said."""
    counts = Counter((history.label, "+".join(sorted(each))) for history, each in zip(planted, words, strict=True))
    rows = {label: {said: n for (of, said), n in sorted(counts.items()) if of == label} for label in LABELS}
    judged = [(history.label, each) for history, each in zip(planted, words, strict=True)]
    f1 = {word: round(score, 4) for word, score in f1_scores(judged).items()}
    return {"macro_f1": round(macro_f1(judged), 4), "f1": f1, "confusion": rows}


def on_planted(seeds: range) -> dict[str, object]:
    """Return how verdicts, onsets and best steps compare with what was planted."""
    planted = [plant(label, seed) for label in LABELS for seed in seeds]
    verdicts = [judge(history.points) for history in planted]
    overfit = [(h, v) for h, v in zip(planted, verdicts, strict=True) if (h.label, v.verdict) == ("overfit",) * 2]
    strict = [onset_error(history, verdict, flat=0.0) for history, verdict in overfit]
    flat = [onset_error(history, verdict, flat=FLAT) for history, verdict in overfit]
    excess = [best_excess(history, verdict) for history, verdict in overfit]
    return {
        "histories": len(planted),
        "seeds": [seeds.start, seeds.stop],
        "ours": confusion(planted, [said(verdict) for verdict in verdicts]),
        "lowest_is_last": confusion(planted, [{lowest_is_last(history.points)} for history in planted]),
        "last_against_best": confusion(planted, [{last_against_best(history.points)} for history in planted]),
        "onset": {
            "overfit_found": len(overfit),
            "exact_share": round(strict.count(0) / len(strict), 4),
            "within_one_eval_share": round(sum(e <= 1 for e in strict) / len(strict), 4),
            "within_one_eval_of_the_flat_bottom_share": round(sum(e <= 1 for e in flat) / len(flat), 4),
        },
        "best_step_excess_loss_share": {"mean": round(sum(excess) / len(excess), 6), "worst": round(max(excess), 5)},
    }


def on_real(path: Path) -> dict[str, object] | None:
    """Return the agreement with a reader's labels; None where the histories are not there."""
    if not path.is_file():
        return None
    histories = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    points = {history["id"]: points_of(history["history"]) for history in histories}
    verdicts = {history["id"]: judge(points[history["id"]]) for history in histories}
    sure = [history for history in histories if history["confidence"] == "high"]
    agreed = {
        name: [sum(verdicts[h["id"]].verdict == h["label"] for h in group), len(group)]
        for name, group in (("sure", sure), ("unsure", [h for h in histories if h["confidence"] != "high"]))
    }
    judged = [(h, verdicts[h["id"]].verdict) for h in histories]
    overfit = [(h, verdicts[h["id"]].onset_step) for h in sure if h["label"] == verdicts[h["id"]].verdict == "overfit"]
    remarks = Counter(remark.name for verdict in verdicts.values() for remark in verdict.remarks)
    right = {
        name: [judge(points[h["id"]], thresholds=each).verdict == h["label"] for h in sure]
        for name, each in settings().items()
    }
    return {
        "histories": len(histories),
        "agreed_of": agreed,
        "by_eye": {
            rule.__name__: sum(rule(points[h["id"]]) == h["label"] for h in sure)
            for rule in (lowest_is_last, last_against_best)
        },
        "onset_within_one_eval_of": [sum(onset_evals(h, onset) <= 1 for h, onset in overfit), len(overfit)],
        "disagreements": {h["id"]: [h["label"], said] for h, said in judged if h["label"] != said},
        "remarks": dict(sorted(remarks.items())),
        "thresholds": {name: sum(each) for name, each in right.items() if sum(each) != sum(right["as they are"])},
        "held_out_share": held_out(list(right.values())),
    }


def onset_evals(history: dict[str, Any], onset: float | None) -> int:
    """Return how many evaluations an onset lies from the reader's."""
    steps = [point["step"] for point in history["history"] if point.get("eval_loss") is not None]
    nearest = min(range(len(steps)), key=lambda i: abs(steps[i] - history["onset"]))
    return abs(steps.index(onset) - nearest)


def settings() -> dict[str, Thresholds]:
    """Return the thresholds as they are, and with each one multiplied."""
    moved = {"as they are": DEFAULT}
    for field in fields(Thresholds):
        value, base = getattr(DEFAULT, field.name), float(field.name in ABOVE_ONE)
        for factor in FACTORS:
            moved[f"{field.name} x {factor}"] = replace(DEFAULT, **{field.name: base + (value - base) * factor})
    return moved


def held_out(right: Sequence[Sequence[bool]], halves: int = 500) -> float:
    """Return the mean agreement on one half of the setting that was best on the other, the worst of equals."""
    rng, n = random.Random(0), len(right[0])
    shares = []
    for _ in range(halves):
        order = rng.sample(range(n), n)
        chosen, judged = order[: n // 2], order[n // 2 :]
        most = max(sum(each[i] for i in chosen) for each in right)
        best = [each for each in right if sum(each[i] for i in chosen) == most]
        shares.append(min(sum(each[i] for i in judged) for each in best) / len(judged))
    return round(sum(shares) / halves, 4)


def seconds_for(evaluations: int) -> float:
    """Return how long the verdict on so many evaluations takes, each beside a train loss."""
    rng = random.Random(0)
    losses = [2 + math.exp(-8 * i / evaluations) + rng.gauss(0, 0.01) for i in range(evaluations)]
    points = [HistoryPoint(i, loss, loss) for i, loss in enumerate(losses)]
    started = time.perf_counter()
    judge(points)
    return round(time.perf_counter() - started, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuning", action="store_true")
    seeds = TUNING_SEEDS if parser.parse_args().tuning else HELD_OUT_SEEDS
    figures = {
        "planted": on_planted(seeds),
        "real": on_real(SHARED / "histories" / "real.jsonl"),
        "seconds": {str(n): seconds_for(n) for n in (LONG // 10, LONG)},
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
