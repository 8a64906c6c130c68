"""Proxy runs: trainings on draws of a pool, which `evalsuite mixture` and `evalsuite best-of-draws` learn from."""
