"""Defaults that help shows. Loads nothing, so that help is fast."""

DRAWS, SEEDS = 3, 1  # selections a strategy in a study, and trainings a selection
