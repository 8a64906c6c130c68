"""How often verdicts on planted training histories are right, beside two simple rules, as one JSON object.

    python benchmarks/fit_signals.py            # the seeds no threshold was chosen on, a few seconds
    python benchmarks/fit_signals.py --tuning   # the others

Baselines: "lowest is last" (overfit when the lowest eval loss is not the last, else underfit when the last step still
lowered it, else good) and "last against best" (overfit when the eval loss ends 2% above its lowest). Both say diverged
for a loss that is not finite and too_short below 4 evals, as people do by eye.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluate_suite.training_curve.rules import HistoryPoint, judge
from tests.evaluate_suite.planted_histories import (
    FLAT,
    HELD_OUT_SEEDS,
    LABELS,
    TUNING_SEEDS,
    PlantedHistory,
    best_excess,
    macro_f1,
    onset_error,
    plant,
)


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


def confusion(planted: Sequence[PlantedHistory], verdicts: Sequence[str]) -> dict[str, object]:
    """Macro-F1 and, by planted label, how often each verdict was given."""
    counts = Counter((history.label, said) for history, said in zip(planted, verdicts, strict=True))
    rows = {label: {said: n for (of, said), n in sorted(counts.items()) if of == label} for label in LABELS}
    return {"macro_f1": round(macro_f1(counts), 4), "confusion": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuning", action="store_true")
    seeds = TUNING_SEEDS if parser.parse_args().tuning else HELD_OUT_SEEDS
    planted = [plant(label, seed) for label in LABELS for seed in seeds]
    verdicts = [judge(history.points) for history in planted]
    overfit = [(h, v) for h, v in zip(planted, verdicts, strict=True) if (h.label, v.verdict) == ("overfit",) * 2]
    strict = [onset_error(history, verdict, flat=0.0) for history, verdict in overfit]
    flat = [onset_error(history, verdict, flat=FLAT) for history, verdict in overfit]
    excess = [best_excess(history, verdict) for history, verdict in overfit]
    print(
        json.dumps(
            {
                "histories": len(planted),
                "seeds": [seeds.start, seeds.stop],
                "ours": confusion(planted, [verdict.verdict for verdict in verdicts]),
                "lowest_is_last": confusion(planted, [lowest_is_last(history.points) for history in planted]),
                "last_against_best": confusion(planted, [last_against_best(history.points) for history in planted]),
                "onset": {
                    "overfit_found": len(overfit),
                    "exact_share": round(strict.count(0) / len(strict), 4),
                    "within_one_eval_share": round(sum(e <= 1 for e in strict) / len(strict), 4),
                    "within_one_eval_of_the_flat_bottom_share": round(sum(e <= 1 for e in flat) / len(flat), 4),
                },
                "best_step_excess_loss_share": {
                    "mean": round(sum(excess) / len(excess), 6),
                    "worst": round(max(excess), 5),
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
