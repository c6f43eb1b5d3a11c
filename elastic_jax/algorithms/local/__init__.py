"""Local methods: workers move on their own and average now and then."""

from elastic_jax.algorithms.local import local_sgd as local_sgd
from elastic_jax.algorithms.local import cooperative_sgd as cooperative_sgd
