"""Choose rows: a pool in, a bounded and explained selection out."""
