"""Asynchronous methods: gradients arrive late."""

from elastic_jax.algorithms.asynchronous import delayed_sgd as delayed_sgd
from elastic_jax.algorithms.asynchronous import parameter_server_sgd as parameter_server_sgd
