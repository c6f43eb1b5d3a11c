"""Local, gossip and elastic averaging under one roof, at one effective step size.

The mean of n workers and v auxiliary rows moves by α n / (n + v) times the mean gradient. Methods are comparable where
that is the same, so that workers with an anchor have a step size greater by (n + 1) / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from elastic_jax import mixings, topologies
from elastic_jax.algorithms import elastic_averaging_sgd, gossip_sgd, local_sgd
from elastic_jax.base import Algorithm, Oracle

FAMILIES = ("local", "gossip", "elastic")
TOPOLOGIES = ("ring", "torus", "exponential", "star")


@dataclass(frozen=True)
class Way:
    """One way of mixing."""

    family: str
    """Of `FAMILIES`."""
    period: int
    """H >= 1, steps."""
    topology: str = ""
    """Of `TOPOLOGIES`, for gossip."""
    pull: float = 1.0
    """For elastic averaging: a over 2 / (n + 2)."""

    @property
    def title(self) -> str:
        """For tables."""
        part = {"local": "", "gossip": f", {self.topology}", "elastic": f", a = {self.pull:g} a*"}[self.family]
        return f"{self.family}{part}, τ = {self.period}"

    @property
    def name(self) -> str:
        """For files."""
        part = {"local": "", "gossip": f"_{self.topology}", "elastic": f"_{self.pull:g}"}[self.family]
        return f"{self.family}{part}_{self.period}"

    def elasticity(self, num_workers: int) -> float:
        """The pull a between workers and anchor."""
        return self.pull * 2 / (num_workers + 2)

    def matrix(self, num_workers: int) -> np.ndarray:
        """W: float64[r, r]."""
        if self.family == "local":
            return np.full((num_workers, num_workers), 1 / num_workers)
        if self.family == "gossip":
            return topology(self.topology, num_workers).mixing_matrix
        found = mixings.elastic(num_workers, self.elasticity(num_workers)).constant_matrix
        assert found is not None
        return found

    def step_size(self, effective: float, num_workers: int) -> float:
        """α of a worker, if the mean of all rows is to move by `effective` times the mean gradient."""
        return effective * (num_workers + 1) / num_workers if self.family == "elastic" else effective

    def build(self, oracle: Oracle, *, num_workers: int, effective: float) -> Algorithm:
        """The algorithm."""
        size = self.step_size(effective, num_workers)
        if self.family == "local":
            return local_sgd.build(oracle, num_workers=num_workers, step_size=size, period=self.period)
        if self.family == "gossip":
            mixing = mixings.constant(topology(self.topology, num_workers))
            return gossip_sgd.build(oracle, num_workers=num_workers, step_size=size, mixing=mixing, period=self.period)
        return elastic_averaging_sgd.build(
            oracle,
            num_workers=num_workers,
            step_size=size,
            elasticity=self.elasticity(num_workers),
            period=self.period,
        )


def topology(name: str, num_workers: int) -> topologies.Topology:
    """One of `TOPOLOGIES`; a torus is as square as `num_workers` allows."""
    if name == "torus":
        rows = next(rows for rows in range(math.isqrt(num_workers), 0, -1) if num_workers % rows == 0)
        return topologies.torus(rows, num_workers // rows)
    makers = {"ring": topologies.ring, "exponential": topologies.exponential, "star": topologies.star}
    return makers[name](num_workers)
