"""Defaults that help shows. Loads nothing, so that help is fast."""

DRAWS, SEEDS = 3, 1
