"""Decentralised methods: workers average with their neighbours on a graph."""

from elastic_jax.algorithms.decentralized import gossip_sgd as gossip_sgd  # isort: skip, represents the family
from elastic_jax.algorithms.decentralized import asynchronous_gossip_sgd as asynchronous_gossip_sgd
from elastic_jax.algorithms.decentralized import choco_sgd as choco_sgd
from elastic_jax.algorithms.decentralized import push_sum_sgd as push_sum_sgd
from elastic_jax.algorithms.decentralized import swarm_sgd as swarm_sgd
