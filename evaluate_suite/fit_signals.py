"""What a loss history says about the training: a verdict, the rule and numbers behind it, and one suggestion."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.errors import UserError

VERDICTS = ("underfit", "good", "overfit", "unstable", "diverged", "leaking", "too_short")
MIN_EVALS = 4  # fewer cannot show a minimum with a rise after it
RISE_SHARE = 0.02  # overfit: eval loss ends this far above its best, relative to it...
RISE_OF_GAIN = 0.10  # ...or by this share of all it had gained, whichever is more...
NOISE_MULTIPLE = 3.0  # ...and by more than this many times the noise of the eval curve
STILL_FALLING = 0.03  # underfit: over the last third eval loss still fell by this share of its level
DIVERGED_FACTOR = 1.5  # diverged: a loss ends this many times above its best
SPIKE_SHARE = 0.12  # unstable: step-to-step noise of the train loss relative to its level
LEAK_RATIO = 0.6  # leaking: eval loss ends below this share of train loss
SUGGESTIONS = {
    "underfit": "Train longer, or raise the learning rate: the eval loss was still falling.",
    "good": "Keep this recipe.",
    "overfit": "Stop at the best step, or lower the learning rate.",
    "unstable": "Use a larger batch (more gradient accumulation), or lower the learning rate.",
    "diverged": "Lower the learning rate, and check that gradients are clipped and in a wide enough dtype.",
    "leaking": "Look for training rows in the holdout: select again with a lower --near-duplicate.",
    "too_short": "Train for more steps, or evaluate more often: too little was measured to judge.",
}


@dataclass(frozen=True)
class HistoryPoint:
    """One logged step; None where a loss was not measured."""

    step: int
    train_loss: float | None
    eval_loss: float | None


@dataclass(frozen=True)
class Verdict:
    """`verdict` is one of VERDICTS, `rule` the numbers that led to it, `onset_step` where overfitting began."""

    verdict: str
    best_step: int | None
    onset_step: int | None
    rule: str
    evidence: dict[str, float | int | None]
    suggestion: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def judge(history: Sequence[HistoryPoint]) -> Verdict:
    """The verdict on a training from its loss history alone.

    Points may be missing, repeated (a restart: the later one counts) or out of order. Step 0, the untrained model,
    counts as an eval point but is never the best step.
    """
    points = _in_order(history)
    train = [(p.step, p.train_loss) for p in points if p.train_loss is not None]
    evals = [(p.step, p.eval_loss) for p in points if p.eval_loss is not None]
    broken = _not_finite(train) or _not_finite(evals)
    if broken is not None:
        return _verdict("diverged", None, None, f"The loss at step {broken} is not a finite number.", {"step": broken})
    trained = [(step, loss) for step, loss in evals if step > 0]
    evidence = _measure(train, evals, trained)
    best_step = min(trained, key=lambda pair: (pair[1], pair[0]))[0] if trained else None
    for rule in (_diverged, _too_short, _leaking, _overfit, _unstable, _underfit):
        found = rule(train, evals, trained, evidence)
        if found is not None:
            name, sentence, onset = found
            return _verdict(name, best_step, onset, sentence, evidence)
    sentence = (
        f"The eval loss fell to {evidence['best_eval']:.4f} and ends at {evidence['last_eval']:.4f}, level with it."
    )
    return _verdict("good", best_step, None, sentence, evidence)


def _verdict(
    name: str, best: int | None, onset: int | None, rule: str, evidence: Mapping[str, float | int | None]
) -> Verdict:
    return Verdict(name, best, onset, rule, dict(evidence), SUGGESTIONS[name])


def _in_order(history: Iterable[HistoryPoint]) -> list[HistoryPoint]:
    merged: dict[int, HistoryPoint] = {}
    for point in history:
        before = merged.get(point.step)
        if before is not None:
            point = HistoryPoint(
                point.step,
                before.train_loss if point.train_loss is None else point.train_loss,
                before.eval_loss if point.eval_loss is None else point.eval_loss,
            )
        merged[point.step] = point
    return [merged[step] for step in sorted(merged)]


def _not_finite(points: Sequence[tuple[int, float]]) -> int | None:
    return next((step for step, loss in points if not math.isfinite(loss)), None)


def _noise(values: Sequence[float]) -> float:
    """Standard deviation of a curve around its own trend, from second differences (Gasser, Sroka and Jennen, 1986)."""
    import statistics

    if len(values) < 4:
        return 0.0
    bends = [(values[i - 1] - 2 * values[i] + values[i + 1]) / math.sqrt(6) for i in range(1, len(values) - 1)]
    return 1.4826 * statistics.median(abs(bend) for bend in bends)


def _tail_mean(values: Sequence[float], n: int) -> float:
    tail = values[-n:]
    return sum(tail) / len(tail)


def _measure(
    train: Sequence[tuple[int, float]], evals: Sequence[tuple[int, float]], trained: Sequence[tuple[int, float]]
) -> dict[str, float | int | None]:
    """The numbers every rule speaks of."""
    losses, train_losses = [loss for _, loss in evals], [loss for _, loss in train]
    late = train_losses[len(train_losses) // 3 :]
    level = _tail_mean(late, len(late)) if late else None
    return {
        "n_evals": len(trained),
        "first_eval": losses[0] if losses else None,
        "best_eval": min(loss for _, loss in trained) if trained else None,
        "last_eval": losses[-1] if losses else None,
        "eval_noise": _noise(losses),
        "last_train": _tail_mean(train_losses, max(1, len(train_losses) // 5)) if train_losses else None,
        "train_noise_share": _noise(late) / level if level and len(late) >= 6 else None,
    }


Found = tuple[str, str, int | None] | None
Points = Sequence[tuple[int, float]]
Evidence = Mapping[str, Any]


def _diverged(train: Points, evals: Points, trained: Points, evidence: Evidence) -> Found:
    for name, points in (("eval", evals), ("train", train)):
        losses = [loss for _, loss in points]
        if len(losses) < 3:
            continue
        best, last = min(losses), _tail_mean(losses, 2)
        # Overfitting on a tiny set can raise eval loss as far; then the train loss keeps falling.
        memorising = name == "eval" and train and train[-1][1] < 0.8 * train[0][1]
        if last > DIVERGED_FACTOR * best and last > losses[0] * (1.0 if name == "train" else 1.05) and not memorising:
            return "diverged", f"The {name} loss ends at {last:.4f}, {last / best:.1f} times its best {best:.4f}.", None
    return None


def _too_short(train: Points, evals: Points, trained: Points, evidence: Evidence) -> Found:
    if len(trained) >= MIN_EVALS:
        return None
    if (
        len(trained) == MIN_EVALS - 1
        and len(evals) > len(trained)
        and _overfit(train, evals, trained, evidence) is None
    ):
        return None
    return "too_short", f"Only {len(trained)} eval losses were measured; {MIN_EVALS} are needed to judge.", None


def _leaking(train: Points, evals: Points, trained: Points, evidence: Evidence) -> Found:
    last_train, last_eval = evidence["last_train"], evidence["last_eval"]
    if last_train is None or last_eval >= LEAK_RATIO * last_train:
        return None
    return "leaking", f"The eval loss ends at {last_eval:.4f}, far below the train loss {last_train:.4f}.", None


def _overfit(train: Points, evals: Points, trained: Points, evidence: Evidence) -> Found:
    step, best = min(trained, key=lambda pair: (pair[1], pair[0]))
    after = [loss for s, loss in trained if s > step]
    if not after:
        return None
    end = _tail_mean(after, 2)
    gained = max(0.0, evidence["first_eval"] - best)
    needed = max(min(RISE_SHARE * best, RISE_OF_GAIN * gained) if gained else RISE_SHARE * best, 1e-12)
    needed = max(needed, NOISE_MULTIPLE * evidence["eval_noise"])
    if end - best < needed or len(after) < 2:
        return None
    sentence = (
        f"The eval loss was lowest at step {step} ({best:.4f}) and rose to {end:.4f}, "
        f"{100 * (end / best - 1):.1f}% above it, over {len(after)} evaluations."
    )
    return "overfit", sentence, next(s for s, _ in trained if s > step)


def _unstable(train: Points, evals: Points, trained: Points, evidence: Evidence) -> Found:
    share = evidence["train_noise_share"]
    if share is None or share < SPIKE_SHARE:
        return None
    return (
        "unstable",
        f"The train loss jumps by {100 * share:.0f}% of its level from one logged step to the next.",
        None,
    )


def _underfit(train: Points, evals: Points, trained: Points, evidence: Evidence) -> Found:
    losses = [loss for _, loss in trained]
    third = max(2, len(losses) // 3)
    fell = losses[-third] - losses[-1]
    if fell <= STILL_FALLING * losses[-1] or fell < 2 * evidence["eval_noise"]:
        return None
    share = 100 * fell / losses[-third]
    return "underfit", f"Over the last {third} evaluations the eval loss still fell by {share:.1f}%.", None


def read_history(path: Path) -> list[HistoryPoint]:
    """The history in a run folder, a `history.jsonl`, or a CSV or JSON file with step, train_loss and eval_loss."""
    source = path / "history.jsonl" if path.is_dir() else path
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{source} does not exist.", "Name a run, a history.jsonl, or a CSV or JSON file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} cannot be read ({error}).", "Check the file.") from None
    rows = _rows(source, text)
    if not rows:
        raise UserError(f"{source} holds no history.", "It needs at least one line with step and a loss.")
    return [_point(row, f"{source}:{number}") for number, row in enumerate(rows, start=1)]


def _rows(source: Path, text: str) -> list[Mapping[str, Any]]:
    if source.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    try:
        if source.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        loaded = json.loads(text)
    except ValueError as error:
        raise UserError(f"{source} is not JSON ({error}).", "Mend that line.") from None
    if isinstance(loaded, Mapping) and all(isinstance(column, list) for column in loaded.values()):
        return [dict(zip(loaded, values, strict=False)) for values in zip(*loaded.values(), strict=False)]
    return list(loaded) if isinstance(loaded, list) else []


def _point(row: Any, where: str) -> HistoryPoint:
    if not isinstance(row, Mapping) or row.get("step") in (None, ""):
        found = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
        raise UserError(f"{where}: no step (it has: {found}).", "Each line needs step, train_loss and eval_loss.")
    try:
        return HistoryPoint(int(float(row["step"])), _loss(row.get("train_loss")), _loss(row.get("eval_loss")))
    except (TypeError, ValueError):
        raise UserError(f"{where}: step or a loss is not a number.", "Mend that line.") from None


def _loss(value: Any) -> float | None:
    return None if value in (None, "") else float(value)
