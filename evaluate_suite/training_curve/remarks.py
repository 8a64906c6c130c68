"""What a loss history shows beside its verdict: batches that scatter, an eval curve that swings, a possible leak."""

from __future__ import annotations

import math

import numpy as np

from evaluate_suite.training_curve.curve import Measured, ratio
from evaluate_suite.training_curve.types import Remark
from evaluate_suite.training_curve.valley import scatter

NOISY_BATCHES = 0.12  # scatter of the train loss from one logged line to the next, relative to its level
SWINGS = 0.15  # unstable: scatter of the eval loss about its own trend, relative to its level...
SWINGS_OF_GAIN = 0.1  # ...and to what it gained: the last percent of a loss near zero may scatter...
MIN_SWINGS = 8  # ...over so many evaluations: fewer are as easily a bend
LEAK_START = 0.8  # leaking: eval over train loss begins above this...
LEAK_END = 0.7  # ...and ends below this: a ratio that was low from the start is how the losses are taken...
LEAK_NOISES = 3.0  # ...by more than so many times what the scatter of both losses can do


def remarks_on(m: Measured) -> tuple[Remark, ...]:
    """Return the remarks on a history that did not diverge and was long enough to judge."""
    return tuple(remark for remark in (_unstable(m), _noisy_batches(m), _leaking(m)) if remark is not None)


def _unstable(m: Measured) -> Remark | None:
    losses = np.array([loss for _, loss in m.trained])
    if len(losses) < MIN_SWINGS or losses.min() <= 0:
        return None
    swings = scatter(np.log(losses))
    if swings < SWINGS or swings * m.end < SWINGS_OF_GAIN * m.gained:
        return None
    return Remark(
        "unstable",
        f"The eval loss swings by {100 * swings:.0f}% of its level from one evaluation to the next: "
        "lower the learning rate, or evaluate on more rows.",
    )


def _noisy_batches(m: Measured) -> Remark | None:
    share = m.train_scatter
    if share is None or share < NOISY_BATCHES or not math.isfinite(share):
        return None
    return Remark(
        "noisy_batches",
        f"Single train losses scatter by {100 * share:.0f}% of their level: small batches. The verdict rests on the "
        "eval loss.",
    )


def _leaking(m: Measured) -> Remark | None:
    if m.first_ratio is None or m.last_ratio is None or m.last_ratio.value <= 0:
        return None
    first, last = m.first_ratio.value, m.last_ratio.value
    noise = (m.train_scatter or 0.0) * math.sqrt(1 / m.first_ratio.train_losses + 1 / m.last_ratio.train_losses)
    noise += 2 * ratio(m.valley.noise, m.end)
    if first < LEAK_START or last > LEAK_END or math.log(first / last) < LEAK_NOISES * noise:
        return None
    return Remark(
        "leaking",
        f"The eval loss went from {first:.2f} to {last:.2f} of the train loss while training, as it does where "
        "held-out rows are trained on: select again with a lower --near-duplicate.",
    )
