"""Rows that leak a benchmark: copies of its tasks, solutions or tests, renamed, reformatted or reworded."""

from curate.decontamination.leaks import find_leaks, find_leaks_in_pool
from curate.decontamination.tasks import BenchmarkTask, load_benchmarks

__all__ = ["BenchmarkTask", "find_leaks", "find_leaks_in_pool", "load_benchmarks"]
