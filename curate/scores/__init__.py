"""Scores: how hard a small causal model finds each row."""
