"""Local methods: workers move on their own and average now and then."""

from elastic_jax.algorithms.local import local_sgd as local_sgd  # isort: skip, represents the family
from elastic_jax.algorithms.local import asynchronous_elastic_averaging_sgd as asynchronous_elastic_averaging_sgd
from elastic_jax.algorithms.local import cocod_sgd as cocod_sgd
from elastic_jax.algorithms.local import cooperative_sgd as cooperative_sgd
from elastic_jax.algorithms.local import elastic_averaging_sgd as elastic_averaging_sgd
from elastic_jax.algorithms.local import federated_averaging_sgd as federated_averaging_sgd
from elastic_jax.algorithms.local import outer_optimizer_sgd as outer_optimizer_sgd
from elastic_jax.algorithms.local import overlap_local_sgd as overlap_local_sgd
