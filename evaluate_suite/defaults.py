"""Defaults that help shows. Loads nothing, so that help is fast."""

DRAWS, SEEDS = 3, 1  # selections a strategy in a study, and trainings a selection
PROXY_DRAWS = 32  # trainings of which the best draw is kept
# By what `evalsuite mixture` mixes: the trainings that its law is fitted on (or more), and how far these differ.
MIXTURES = {"features": (96, 0.3), "strata": (64, 0.7)}
CLUSTERS = 2  # a stratum's
APART = 400  # rows of the pool that proxy runs are judged by
MIN_CORRELATION = 0.5  # of ranks, cross-validated: below it nobody is to believe a mixing law
NONE = "none"  # how an option is told that nothing is wanted of it
