"""What a loss history says about the training: a verdict, the rule and numbers behind it, and one suggestion.

docs/verdicts.md has the rules for readers; `benchmarks/fit_signals.py` measures them on planted and on real histories,
and how far each threshold can be moved before that changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluate_suite.training_curve.curve import NEAR_ZERO, Measured, measure, percent_above, ratio
from evaluate_suite.training_curve.points import collapsed, finite, in_order, without_unlogged
from evaluate_suite.training_curve.remarks import remarks_on
from evaluate_suite.training_curve.types import SUGGESTIONS, Context, HistoryPoint, Verdict

MIN_EVALS = 4  # fewer cannot show a minimum with a rise after it, nor whether a fall slows down
MIN_UPDATES = 10  # optimizer steps: fewer have not left the warm-up, whatever the curve looks like
WHOLE = 0.99  # of the selection's tokens: a last batch that is not full may be left out
GRAVITY = ("diverged", "overfit", "underfit", "still_training", "good", "too_short")  # of several eval sets, the first


@dataclass(frozen=True)
class Thresholds:
    """Every number that a rule compares with; the reasons stand in docs/verdicts.md."""

    rise: float = 0.01  # overfit: the eval loss ends this far above its valley, relative to it...
    rise_of_gain: float = 0.02  # ...and has given back this share of what it had gained...
    nats: float = 0.005  # ...and this much in itself: half a percent of the perplexity...
    rise_evidence: float = 12.0  # ...and a curve that rises fits better than one that never does, in squared noises
    single_factor: float = 3.0  # one evaluation after the valley must rise this many times as far
    few_rise: float = 0.10  # with two or three evaluations, where no noise can be seen: this far, and of the gain
    still_falling: float = 0.015  # underfit: a third more of such steps would lower the eval loss by this share
    fall_errors: float = 1.0  # ...by more than this many standard errors
    barely_moved: float = 0.02  # underfit: neither loss fell by this share of where it began
    diverged: float = 1.5  # diverged: the train loss ends this many times above its best...
    diverged_of_gain: float = 0.25  # ...has given back this share of what it had gained...
    confirmed: float = 1.2  # ...and the eval loss ends this many times above its valley...
    train_noise: float = 3.0  # ...or, without evals, the rise is this many times the scatter of the train loss
    collapse: float = 0.01  # a train loss of exactly 0 that was not below this before is a swallowed NaN


DEFAULT = Thresholds()
NOTHING_MORE = Context()
Finding = tuple[str, str] | None


def judge(
    history: Sequence[HistoryPoint], context: Context = NOTHING_MORE, thresholds: Thresholds = DEFAULT
) -> Verdict:
    """Return the verdict on a training from its loss history and from what else is known of it.

    Points may be missing, repeated (a restart: the later one counts) or out of order. Step 0, the untrained model,
    counts as an eval point but is never the best step.
    """
    points = in_order(without_unlogged(history))
    train, broken_train = finite([(p.step, p.train_loss) for p in points])
    evals, broken_eval = finite([(p.step, p.eval_loss) for p in points])
    if evals and not train:  # train losses that were never a number, beside a model that can be evaluated: not logged
        broken_train = None
    measured = measure(train, evals)
    best = _best(measured)[0] if measured.trained else None
    broken = _broken(broken_train, broken_eval, collapsed(train, evals, thresholds.collapse))
    word, rule = broken[1] if broken else _by_rules(measured, thresholds)
    verdict = Verdict(
        verdict=word,
        best_step=best,
        onset_step=measured.onset if word == "overfit" else None,
        rule=rule,
        evidence=measured.evidence() | ({"broken_step": broken[0]} if broken else {}),
        suggestion=SUGGESTIONS[word],
        remarks=() if word in ("diverged", "too_short") else remarks_on(measured),
    )
    return _in_context(verdict, context)


def gravest(verdicts: Mapping[str, Verdict]) -> str:
    """Return the eval set whose verdict asks most to be acted upon, the first of equals."""
    return min(verdicts, key=lambda name: GRAVITY.index(verdicts[name].verdict))


def _by_rules(m: Measured, t: Thresholds) -> tuple[str, str]:
    """Return the first finding of the rules, in their order."""
    for rule in (_diverged, _few_evals, _overfit, _underfit):
        finding = rule(m, t)
        if finding is not None:
            return finding
    return _good(m, t)


def _broken(
    broken_train: float | None, broken_eval: float | None, zero_from: float | None
) -> tuple[float, tuple[str, str]] | None:
    """Return the step and the divergence where a loss is no number, or is the 0 that stands for one."""
    broken = [(step, name) for step, name in ((broken_eval, "eval"), (broken_train, "train")) if step is not None]
    if broken:
        step, name = min(broken)
        return step, ("diverged", f"The {name} loss at step {step} is not a finite number.")
    if zero_from is None:
        return None
    sentence = f"The train loss is exactly 0 from step {zero_from} on, as trainers log it when a loss is not a number."
    return zero_from, ("diverged", sentence)


def _in_context(verdict: Verdict, context: Context) -> Verdict:
    """Return the verdict as what is known of the run beside its losses allows it."""
    if context.training and verdict.verdict in ("good", "underfit", "too_short"):
        word, sentence = "still_training", f"The run has not finished. So far: {_lowered(verdict.rule)}"
        return replace(verdict, verdict=word, rule=sentence, suggestion=SUGGESTIONS[word])
    updates, share = context.updates, context.trained_share
    if verdict.verdict == "good" and updates is not None and updates < MIN_UPDATES:
        counted = "1 optimizer step was" if updates == 1 else f"{updates} optimizer steps were"
        sentence = f"Only {counted} taken; {MIN_UPDATES} are needed to judge."
        return replace(verdict, verdict="too_short", rule=sentence, suggestion=SUGGESTIONS["too_short"])
    if verdict.verdict == "good" and share is not None and share < WHOLE:
        seen = f"The run saw {100 * share:.0f}% of its selection's tokens: train on all of them before you keep it."
        return replace(verdict, suggestion=seen)
    return verdict


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _diverged(m: Measured, t: Thresholds) -> Finding:
    """Return divergence by the train loss; by the eval loss alone where fewer than four train losses were logged.

    Beside a train loss that goes on falling, an eval loss may rise as far: a tiny set is learnt by heart.
    """
    if m.levels is None or len(m.train) < MIN_EVALS:
        return _evals_diverged(m, t)
    levels, last = m.levels, m.train[-1][1]
    # What both losses show is no accident of a few noisy lines; train losses alone must clear their own noise.
    confirmed = not m.trained or m.trained[-1][1] > t.confirmed * m.valley.level
    least = max(t.diverged, math.exp(t.train_noise * (m.train_scatter or 0.0))) * max(levels.best, NEAR_ZERO)
    given_back = ratio(levels.last - levels.best, max(0.0, levels.first - levels.best))
    if levels.last <= least or given_back < t.diverged_of_gain or last <= levels.best or not confirmed:
        return None
    return "diverged", _ended("train", [loss for _, loss in m.train])


def _evals_diverged(m: Measured, t: Thresholds) -> Finding:
    losses = [loss for _, loss in m.evals]
    if len(losses) < MIN_EVALS - 1:
        return None
    last = sum(losses[-2:]) / 2
    if last > t.diverged * min(losses) and last > (1 + t.barely_moved) * losses[0]:
        return "diverged", _ended("eval", losses)
    return None


def _ended(name: str, losses: Sequence[float]) -> str:
    lowest, last = min(losses), losses[-1]
    times = f"{last / lowest:.1f} times" if lowest else "above"
    return f"The {name} loss ends at {last:.4f}, {times} its lowest, {lowest:.4f}."


def _few_evals(m: Measured, t: Thresholds) -> Finding:
    """Return what two or three evaluations say: too little, unless they rise far while the train loss falls."""
    if len(m.evals) >= MIN_EVALS and len(m.trained) >= MIN_EVALS - 1:
        return None
    losses = [loss for _, loss in m.trained]
    if len(losses) >= 2 and not _train_rises(m):
        after = [loss for step, loss in m.trained if m.onset is not None and step >= m.onset]
        rise = losses[-1] - m.valley.level
        far = rise >= max(t.few_rise * m.valley.level, t.few_rise * m.gained, t.nats)
        if after and far and after == sorted(after):
            return _overfit_finding(m)
    if not m.evals:
        return "too_short", f"No eval loss was measured; {MIN_EVALS} are needed to judge."
    counted = "1 eval loss was" if len(m.evals) == 1 else f"{len(m.evals)} eval losses were"
    return "too_short", f"Only {counted} measured; {MIN_EVALS} are needed to judge."


def _train_rises(m: Measured) -> bool:
    return m.levels is not None and m.levels.last > m.levels.first


def _overfit(m: Measured, t: Thresholds) -> Finding:
    after = [loss for step, loss in m.trained if m.onset is not None and step >= m.onset]
    if not after:
        return None
    end = m.end if len(after) > 1 else after[0]
    needed = max(t.rise * m.valley.level, t.rise_of_gain * m.gained, t.nats)
    needed *= t.single_factor if len(after) == 1 else 1
    if end - m.valley.level < needed or not _shown(m, t):
        return None
    return _overfit_finding(m)


def _shown(m: Measured, t: Thresholds) -> bool:
    """Return whether a rise is more than noise makes: with more evaluations, chance has more places for one."""
    return m.valley.rise_evidence >= t.rise_evidence + 2 * math.log(len(m.trained))


def _overfit_finding(m: Measured) -> tuple[str, str]:
    """Return the verdict in numbers that were measured: the lowest loss, the highest after it and the last."""
    step, best = _best(m)
    after = [(loss, at) for at, loss in m.trained if at >= (m.onset or 0)]
    (peak, peak_step), (last, last_step) = max(after), after[-1]
    rose = f"rose to {last:.4f} at step {last_step}" if peak == last else (
        f"rose to {peak:.4f} at step {peak_step}; it ends at {last:.4f}"
    )  # fmt: skip
    return "overfit", (
        f"The eval loss was lowest at step {step} ({best:.4f}) and {rose}, {percent_above(last, best)} "
        f"it, over {len(after)} evaluation{'s' * (len(after) > 1)}."
    )


def _best(m: Measured) -> tuple[float, float]:
    """Return (step, loss) of the lowest eval loss, the earliest of equals."""
    return min(m.trained, key=lambda pair: (pair[1], pair[0]))


def _underfit(m: Measured, t: Thresholds) -> Finding:
    first, last = m.evals[0][1], m.evals[-1][1]
    # Where no loss is below 0, none falls below it.
    fall = m.predicted_fall if min(loss for _, loss in m.evals) < 0 else min(m.predicted_fall, m.end)
    if fall > max(t.still_falling * m.end, t.nats, t.fall_errors * m.fall_error):
        return "underfit", (
            f"The eval loss was still falling: a third more steps would lower it by "
            f"{100 * ratio(fall, abs(m.end)):.1f}%, from {last:.4f}."
        )
    train_moved = m.levels is not None and (
        m.levels.last < (1 - t.barely_moved - (m.train_scatter or 0.0)) * m.levels.first
    )
    if m.valley.level > (1 - t.barely_moved) * first - 2 * m.valley.noise and not train_moved:
        return "underfit", f"The losses hardly moved: eval loss went from {first:.4f} to {last:.4f}."
    return None


def _good(m: Measured, t: Thresholds) -> tuple[str, str]:
    """Return the sentence on a level end; every number in it is one that was measured."""
    first, last = m.evals[0][1], m.trained[-1][1]
    best_step, best = _best(m)
    fell = f"fell from {first:.4f} to {last:.4f}" if last < first else f"ends at {last:.4f}"
    where = ", its lowest,"
    if best < last:
        why = "within its noise" if not _shown(m, t) else "little beside what it fell"
        where = f", {percent_above(last, best)} its lowest ({best:.4f} at step {best_step}), {why},"
    share = ratio(m.predicted_fall, abs(m.end))
    more = f"would lower it by {100 * share:.1f}%" if share <= t.still_falling else "would change it no more than noise"
    return "good", f"The eval loss {fell}{where} and is level: a third more steps {more}."
