"""The cells of the study "which rows?": what is tried, with how many tokens, in how many draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCES = ("codegen", "codealpaca", "stdlib")
RANDOM_BUDGETS = (37_500, 75_000, 150_000, 300_000, 600_000, 1_100_000)
BANK, BANK_FROM = 22, 100  # further uniform draws, from which best-of-draws takes the best by its loss on V

# Tried without a target; the best on V is then drawn afresh. V and stop: influence there, by rank.
TRIED: dict[str, dict[str, Any]] = {
    "influence 0.5": {"weights": {"V": 0.5}},
    "influence 1": {"weights": {"V": 1.0}},
    "influence 1.5": {"weights": {"V": 1.5}},
    "influence 1 in strata": {"weights": {"V": 1.0, "in_strata": True}},
    "mixture": {"weights": {}, "law": "V"},
    "mixture for the mean over sources": {"weights": {}, "law": "mean over sources"},
    "mixture and influence 1": {"weights": {"V": 1.0, "in_strata": True}, "law": "V"},
    "influence as H 0.5": {"weights": {"as H": 0.5}},
    "influence as H 1": {"weights": {"as H": 1.0}},
    "influence as H 1 in strata": {"weights": {"as H": 1.0, "in_strata": True}},
    "influence against": {"weights": {"V": -0.5}},
    "stopping 1": {"weights": {"stop": 1.0}},
    "influence 1, stopping 0.5": {"weights": {"V": 1.0, "stop": 0.5}},
    "brief 1": {"weights": {"brief": 1.0}},
    "influence 1, brief 1": {"weights": {"V": 1.0, "brief": 1.0}},
    "influence 1, short prompts 1": {"weights": {"V": 1.0, "prompt": 1.0, "form": 4.0}},
    "influence 1.5, short prompts 2": {"weights": {"V": 1.5, "prompt": 2.0, "form": 4.0}},
    "influence 1, short rows": {"weights": {"V": 1.0, "tokens": 0.5}},
    "no repeats": {"weights": {"repeats": 5.0}},
    "influence 1, stopping 1, short prompts 1": {"weights": {"V": 1.0, "stop": 1.0, "prompt": 1.0, "form": 4.0}},
}
GIVEN_UP, FEW_DRAWS = (  # worse than random by more than their draws' luck in four draws of an earlier study
    "influence 1.5", "influence 1, brief 1", "influence 1.5, short prompts 2", "influence 1, short rows",
    "mixture and influence 1", "influence against",
), 4  # fmt: skip
OLD: dict[str, dict[str, Any]] = {
    "well-formed 0.5": {"strategy": "well-formed", "options": {"sharpness": 8.0, "power": 0.5}},
    "well-formed 1": {"strategy": "well-formed", "options": {"sharpness": 8.0, "power": 1.0}},
    "short-rows": {"strategy": "short-rows", "options": {"power": 0.5}},
    "kmeans": {"strategy": "kmeans"},
    "shortest": {"strategy": "shortest"},
    "equal sources": {"strategy": "random", "equal_sources": True},
}
# A second round, after the first had shown that influence on all of V moves tokens from one source to another, and so
# does stopping: each row by its influence on V's rows of its own source, ranked within its stratum.
SECOND: dict[str, dict[str, Any]] = {
    "own influence 0.5": {"weights": {"own": 0.5, "in_strata": True}},
    "own influence 1": {"weights": {"own": 1.0, "in_strata": True}},
    "stopping 1 in strata": {"weights": {"stop": 1.0, "in_strata": True}},
    "own influence 1, stopping 1": {"weights": {"own": 1.0, "stop": 1.0, "in_strata": True}},
    "own influence 0.5, stopping 2": {"weights": {"own": 0.5, "stop": 2.0, "in_strata": True}},
    "own influence 0.5, no repeats": {"weights": {"own": 0.5, "in_strata": True, "repeats": 5.0}},
    "short-part 0.2": {"strategy": "short-part", "options": {"part": 0.2}},
    "short-part 0.4": {"strategy": "short-part", "options": {"part": 0.4}},
}
# Weights fitted on short runs whose weights were drawn at random, by how far from random they may go and what for:
# the least loss, and the most answers that end at no more loss than random's. See which_rows_weights.py.
FITTED: dict[str, dict[str, Any]] = {
    f"fitted for {goal}, {reach}": {"weights": {}, "fitted_for": f"{goal}, {reach}"}
    for goal in ("loss", "form", "both")
    for reach in ("near", "far")
}
BEST, CLEANEST = "best on V", "cleanest"
FRESH = range(10, 20)  # draws that nothing was chosen on
PROXIES, PROXY_BUDGET = 96, 50_000
WEIGHTED_PROXIES, LUCKS, SPREAD = 216, 8, 0.3


def for_target(draw: int, budget: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the cells of selectors with each source in turn as the target."""
    for source in SOURCES:
        towards = {"direction": f"{source} {draw}"}
        how: dict[str, dict[str, Any]] = {
            "only that source": {"strategy": "random", "only": True},
            "target-words": {"strategy": "target-words", "words": "both"},
            "influence-classifier": {"strategy": "influence-classifier", "words": "both", **towards},
            "target-words, prompts alone": {"strategy": "target-words", "words": "prompts"},
            "rds": {"strategy": "rds"},
            "target-classifier": {"strategy": "target-classifier"},
            "target-importance": {"strategy": "target-importance", "options": {"sharpness": 1.0}, "words": "both"},
            "influence on the target": {"strategy": "influence", "options": {"sharpness": 0.0}, **towards},
        }
        for name in names:
            yield {"cell": name, "draw": draw, "budget": budget, "target": source, **how[name]}


TARGET_SELECTORS = (
    "only that source", "target-words", "influence-classifier", "target-words, prompts alone",
    "rds", "target-classifier", "target-importance", "influence on the target",
)  # fmt: skip
CONFIRMED = TARGET_SELECTORS[:4]
AT_OTHER_SIZES = {50_000: ("kmeans", "shortest", "short-rows", "well-formed 1", "no repeats"), 450_000: ("kmeans",)}
LARGE, LARGE_DRAWS = 400_000, 4  # budgets above it are expensive
ANSWERING, TASK_DRAWS = ("kmeans", "shortest"), 5


def proxies(n_strata: int, shares: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    """Yield the proxy runs of the mixing law: short, with shares of the strata that vary widely around the pool's."""
    rng = np.random.default_rng(18)
    for draw in range(PROXIES):
        spread = np.exp(rng.uniform(np.log(3), np.log(60)))
        own = 0.1 * shares + 0.9 * rng.dirichlet(spread * shares)
        weights = {"shares": [round(float(s), 5) for s in own]}
        yield {"cell": "proxy", "draw": 1000 + draw, "budget": PROXY_BUDGET, "weights": weights, "proxy": True}


def weighted_proxies(features: Sequence[str], budget: int) -> Iterator[dict[str, Any]]:
    """Yield runs whose rows are drawn by random weights of features: the weights of FITTED are fitted on these.

    Few draws of luck are shared by all of them, so that what two runs differ in is mostly their weights.
    """
    rng = np.random.default_rng(27)
    for number in range(WEIGHTED_PROXIES):
        drawn = (SPREAD * rng.standard_normal(len(features))).round(4).tolist()
        by = dict(zip(features, drawn, strict=True))
        yield {
            "cell": "weighted proxy", "draw": 2000 + number, "luck": 2000 + number % LUCKS, "budget": budget,
            "weights": {"features": by}, "proxy": True, "generate": ["prompts"],
        }  # fmt: skip


def all_cells(
    draws: int, budget: int, shares: NDArray[np.float64], features: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield every cell in the order in which they are to be made: wherever it is cut, what is there is balanced."""

    def plain(name: str, draw: int, how: dict[str, Any], size: int = budget, generate: Any = None) -> dict[str, Any]:
        kinds = generate or (["prompts"] if size == budget and draw < BANK_FROM else [])
        return {"cell": name, "draw": draw, "budget": size, "generate": kinds, **how}

    random = {"strategy": "random"}
    everything = [name for name in (*TRIED, *SECOND, *FITTED, *OLD) if name not in GIVEN_UP]
    chosen = {"by": "steered", "among": everything, "draws": list(range(draws))}
    best, cleanest = {"choose": chosen}, {"choose": chosen | {"by": "ended"}}
    tasks = ["prompts", "humaneval", "mbpp"]
    for draw in range(draws):
        yield plain("random", draw, random)
    yield from proxies(len(shares), shares)
    yield from weighted_proxies(features, budget)
    for draw in range(draws):
        for name, how in (TRIED | SECOND | OLD | FITTED).items():
            if draw < FEW_DRAWS or name not in GIVEN_UP:
                yield plain(name, draw, how)
    for draw in FRESH:
        yield plain("random", draw, random, generate=tasks)
        yield plain(BEST, draw, best, generate=tasks)
        yield plain(CLEANEST, draw, cleanest, generate=tasks)
        if draw < FRESH.start + TASK_DRAWS:
            yield from (plain(name, draw, OLD[name], generate=tasks) for name in ANSWERING)
    for draw in FRESH:
        yield from for_target(draw, budget, CONFIRMED)
    for draw in range(draws):
        yield from for_target(draw, budget, TARGET_SELECTORS)
    for draw in range(BANK_FROM, BANK_FROM + BANK):
        yield plain("random", draw, random)
    for draw in range(draws):
        notebook = {"draw": draw, "budget": None, "strategy": "shortest", "generate": ["prompts"]}
        yield {"cell": "notebook", "loss_on_prompt": True, "cut": 100, **notebook}
        yield {"cell": "notebook, its rows whole", "loss_on_prompt": True, **notebook}
        yield {"cell": "notebook, its rows whole, loss on the outputs", **notebook}
    for draw in range(draws):
        for size in RANDOM_BUDGETS:
            if size != budget and (size < LARGE or draw < LARGE_DRAWS):
                yield plain("random", draw, random, size)
    for draw in range(draws):
        for size, names in AT_OTHER_SIZES.items():
            if size > LARGE and draw >= LARGE_DRAWS:
                continue
            yield plain("random", draw, random, size)
            yield plain(BEST, draw, best, size)
            yield from (plain(name, draw, (TRIED | OLD)[name], size) for name in names)
            yield from for_target(draw, size, ("only that source", "target-words", "influence-classifier"))


def other_model_cells(draws: int, budget: int) -> Iterator[dict[str, Any]]:
    """Yield the cells of another base model: by draw, random, selectors of embeddings and lengths, and what a target
    gives, beside the most it could give."""
    for draw in range(draws):
        yield {"cell": "random", "draw": draw, "budget": budget, "strategy": "random"}
        for name in ("shortest", "kmeans", "well-formed 1"):
            yield {"cell": name, "draw": draw, "budget": budget, **OLD[name]}
        yield from for_target(draw, budget, ("target-words", "only that source"))
