"""The points of a history in order, with restarts taken back, and what of them is no finite number."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from evaluate_suite.training_curve.types import HistoryPoint

LARGEST = 1e100  # no training goes on from there, and its square is still a number
Losses = list[tuple[float, float]]


def in_order(history: Iterable[HistoryPoint]) -> list[HistoryPoint]:
    """Return one point a step, in order.

    A step that is logged again marks a restart, which takes back what came after it, of the same column.
    """
    train, evals = _Column(), _Column()
    for point in history:
        train.log(point.step, point.train_loss)
        evals.log(point.step, point.eval_loss)
    evals.drop_best_again()
    steps = sorted({*train.losses, *evals.losses})
    return [HistoryPoint(step, train.losses.get(step), evals.losses.get(step)) for step in steps]


def without_unlogged(history: Sequence[HistoryPoint]) -> list[HistoryPoint]:
    """Return the history with None for NaN that stands for "not logged".

    That is NaN beside a number of the other column, in a table whose rows log either the one or the other: both columns
    have numbers, and never in one row.
    """
    rows = [(_is_number(p.train_loss), _is_number(p.eval_loss)) for p in history]
    if (True, True) in rows or not ((True, False) in rows and (False, True) in rows):
        return list(history)
    return [
        HistoryPoint(p.step, _unless_nan(p.train_loss, evaluated), _unless_nan(p.eval_loss, logged))
        for p, (logged, evaluated) in zip(history, rows, strict=True)
    ]


def _unless_nan(loss: float | None, beside_a_number: bool) -> float | None:
    return None if loss is not None and math.isnan(loss) and beside_a_number else loss


def _is_number(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


class _Column:
    """One loss by step; a heap finds what a restart takes back, so that many restarts stay cheap."""

    def __init__(self) -> None:
        self.losses: dict[float, float] = {}
        self._latest: list[float] = []
        self._replaced: tuple[float, float] | None = None

    def log(self, step: float, loss: float | None) -> None:
        if loss is None:
            return
        if step in self.losses:
            while -self._latest[0] > step:
                del self.losses[-heapq.heappop(self._latest)]
            self._replaced = step, self.losses[step]
        else:
            heapq.heappush(self._latest, -step)
        self.losses[step] = loss

    def drop_best_again(self) -> None:
        """Undo a last evaluation that was logged again with the very loss of an earlier, better one.

        A trainer that loads its best checkpoint at the end evaluates once more, under the number of the last step.
        """
        if self._replaced is None or self._replaced[0] != -self._latest[0]:
            return
        step, loss = self._replaced
        earlier = [value for at, value in self.losses.items() if at != step]
        if earlier and self.losses[step] == min(earlier) < loss:
            self.losses[step] = loss


def finite(points: Sequence[tuple[float, float | None]]) -> tuple[Losses, float | None]:
    """Return the finite losses, and the first step with a broken one.

    Some tools write NaN for "not logged": a column with NaN in two or more separate stretches, of which the last is no
    longer than another, is taken to be one of theirs.
    """
    known = [(step, loss if abs(loss) < LARGEST else loss * math.inf) for step, loss in points if loss is not None]
    kept = [(step, loss) for step, loss in known if math.isfinite(loss)]
    if kept:  # NaN before the first number: the column was not logged yet
        known = [pair for pair in known if pair[0] >= kept[0][0] or math.isinf(pair[1])]
    if len(kept) == len(known):
        return kept, None
    stretches = [len(list(same)) for broken, same in groupby(known, lambda pair: not math.isfinite(pair[1])) if broken]
    infinite = any(math.isinf(loss) for _, loss in known)
    if len(stretches) >= 2 and not infinite and stretches[-1] <= max(stretches[:-1]):
        return kept, None
    return kept, next(step for step, loss in known if not math.isfinite(loss))


def collapsed(train: Losses, evals: Losses, smallest: float) -> float | None:
    """Return the step from which the train loss is exactly 0 to its end, where that is a failure; None elsewhere.

    Trainers log 0 where a NaN was swallowed. Memorised rows come to 0 too, but through losses below `smallest`, and
    they can still be evaluated afterwards.
    """
    if not train or train[-1][1] != 0:
        return None
    last = next((i for i in range(len(train) - 1, -1, -1) if train[i][1] != 0), -1)
    step = train[last + 1][0]
    if last >= 0 and abs(train[last][1]) < smallest:
        return None
    return None if evals and evals[-1][0] >= step else step
