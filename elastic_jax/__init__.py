"""Distributed SGD as pure JAX functions over stacked per-worker parameters, with the theory checked at every step."""

__version__ = "0.1.0"
