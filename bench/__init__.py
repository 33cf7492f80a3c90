"""Benchmarks: each prints a figure, the limit it is held against and, where it can, a ratio taken in the same run."""
