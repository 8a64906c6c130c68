"""`curate compare`: several strategies on one pool, side by side."""
