"""Benchmarks of the kernels: ``python -m equicalc.kernels.benchmarks``."""
