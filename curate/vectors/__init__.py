"""Vectors: encoders, rows embedded and clustered, nearest neighbours, coverage of the pool."""
