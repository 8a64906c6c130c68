"""Statistics: pairs of models, strategies on several levels, worth in random tokens."""
