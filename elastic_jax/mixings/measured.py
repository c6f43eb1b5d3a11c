"""How fast a mixing brings rows together, as measured: for mixings of one's own, whose p is not known."""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import arguments
from elastic_jax.mixings.mixing import Mixing, lost_energy


def measured_contraction(mixing: Mixing, *, key: Array, num_draws: int = 4096) -> float:
    """P of E‖Π X - X̄‖² <= (1 - p) ‖X - X̄‖², Π = W_{k+b-1} ... W_k, from draws: least over k = 0, ..., b - 1.

    1 - p is the largest eigenvalue of the mean of ΠᵀΠ - J. Where nothing is drawn it is exact. A largest eigenvalue of
    a sample lies too high in the mean, by O(1/√num_draws): p is not overstated in the mean.

    Args:
        mixing: `contraction` is not read; `block` is b.
        key: of the draws.
        num_draws: >= 1, of a block.

    Example:
        >>> import jax
        >>> from elastic_jax import mixings, topologies
        >>> ring = mixings.constant(topologies.ring(8))
        >>> round(mixings.measured_contraction(ring, key=jax.random.key(0)), 3), round(ring.contraction, 3)
        (0.352, 0.352)
    """
    arguments.instance("mixing", mixing, Mixing, "e.g. mixings.constant(topologies.ring(8))")
    num_draws = arguments.integer("num_draws", num_draws, low=1)
    numbers = jnp.arange(2 * mixing.block - 1, dtype=jnp.int32)
    keys = jax.random.split(key, (num_draws, len(numbers)))
    matrices = np.asarray(jax.vmap(jax.vmap(mixing.matrix), (0, None))(keys, numbers), float)
    lost = []
    for first in range(mixing.block):
        block = np.moveaxis(matrices[:, first : first + mixing.block], 1, 0)
        product = reduce(lambda done, matrix: matrix @ done, block)
        lost.append(lost_energy(np.einsum("sji,sjk->ik", product, product) / num_draws))
    return 1.0 - max(lost)
