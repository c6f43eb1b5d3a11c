"""Synchronous methods: all workers take their gradients in rounds."""

from elastic_jax.algorithms.synchronous import synchronous_sgd as synchronous_sgd
