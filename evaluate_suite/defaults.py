"""Defaults that help shows. Loads nothing, so that help is fast."""

DRAWS, SEEDS = 3, 1  # selections a strategy in a study, and trainings a selection
PROXIES, PROXY_DRAWS = 64, 32  # trainings that a mixing law is fitted on, and those of which the best draw is kept
APART = 400  # rows of the pool that proxy runs are judged by
MIN_CORRELATION = 0.5  # of ranks, cross-validated: below it nobody is to believe a mixing law
NONE = "none"  # how an option is told that nothing is wanted of it
