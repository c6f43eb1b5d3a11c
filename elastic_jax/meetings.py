"""Meetings: which two workers exchange their parameters next, and how many steps each takes before that.

Workers of a graph meet in pairs. `edges` draws one edge at a time, `matchings` many that have no worker in common. What
is drawn depends on the key of the schedule alone.

Source: Nadiradze, Sabour, Davies, Li, Alistarh, Asynchronous Decentralized SGD with Quantized and Local Updates,
NeurIPS 2021, arXiv 1910.12308, the model of computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import mixings, topologies

DISTRIBUTIONS = ("fixed", "geometric")


class Meetings(NamedTuple):
    """Who meets whom; `meetings.edges` and `meetings.matchings` make one of a topology."""

    draw: Callable[[Array], tuple[Array, Array]]
    """`draw(key) -> (workers int32[k], partners int32[k])`: who is next, and the position among them of the one whom
    each meets, its own for a worker who rests."""
    num_workers: int
    """n."""
    num_active: int
    """k."""
    num_draws: int
    """How many different draws there are, all equally likely."""
    contraction: float
    """p: without gradients E Γ' <= (1 - p) Γ for one draw, Γ = Σ_i ‖x^i - x‖²."""
    apart: Callable[[int], float]
    """`apart(local_steps) -> c`: E Γ <= (α c M)² after each meeting, M and H as for the spread."""
    spread: Callable[[int], float]
    """`spread(local_steps) -> c`: E‖x_t - x_t^i‖² <= (α c M)² for each active worker i, gradients of E‖g‖² <= M², and H
    steps of each before it meets."""

    @property
    def is_everybody(self) -> bool:
        """All workers are active in every step: they are 0, 1, ..., n - 1, in this order."""
        return self.num_active == self.num_workers

    def covers(self, num_workers: int, staleness: int) -> bool:
        """Whether `spread` holds for each single schedule, and not only on average over all draws."""
        del num_workers, staleness
        return self.num_draws == 1


def edges(topology: topologies.Topology) -> Meetings:
    """One edge, uniform over all m, its ends in either order: k = 2.

    p = λ₂ / (2 m), λ₂ of the Laplacian D - A; on a graph of degree r that is λ₂ / (r n).

    Spread: let D_i = x^i - x and U_i be what worker i adds in its H steps, E‖U_i‖² <= (α H M)². A meeting of i, j has

        Γ' = Γ - ½ ‖D_i - D_j‖² + ⟨D_i + D_j, U_i + U_j⟩ + (½ - 1/n) ‖U_i + U_j‖²       exactly.

    On average over the edges the second term is at most -p Γ and E‖D_i + D_j‖² <= (2 r/m) Γ, r the largest degree; so G
    = (E Γ)^½ has G'² <= (1 - p) G² + b G + c with b = 2 α H M (2 r/m)^½ and c = (2 - 4/n) (α H M)². What grows with G
    stays below the larger fixed point, (b + (b² + 4 p c)^½) / (2 p). Who meets is i with a probability of at most r/(2
    m), and has gone away from there in at most H - 1 steps. Two workers alone are equal after each meeting: c = H - 1.
    """
    topologies.check(topology)
    n, found = topologies.num_workers(topology), topologies.edges(topology)
    _check_someone(topology)
    # two workers alone are everybody, whose order is fixed
    table = found if n == 2 else np.concatenate([found, found[:, ::-1]])
    most, m = int(topologies.degrees(topology).max()), len(found)
    contraction = topologies.laplacian_lambda_2(topology) / (2 * m)
    apart = partial(_apart_by_edges, num_workers=n, contraction=contraction, share=most / (2 * m))
    return Meetings(
        draw=partial(_draw_edge, table=table.astype(np.int32)),
        num_workers=n,
        num_active=2,
        num_draws=m,
        contraction=contraction,
        apart=apart,
        spread=partial(_spread_of_edges, apart=apart, share=most / (2 * m)),
    )


def matchings(topology: topologies.Topology) -> Meetings:
    """One matching, uniform over those that the edges are split into; who is in none of its pairs rests: k = n.

    The matchings, p and the spread are those of `mixings.matchings`: with an odd number of workers at least one rests.
    Apart: G' <= ρ (G + √n α H M) with ρ = √(1 - p), so that G <= √n α H M ρ/(1 - ρ).
    """
    mixing = mixings.matchings(topology)
    _check_someone(topology)
    table = mixings.partners(topology)
    n = mixing.num_rows
    return Meetings(
        draw=partial(_draw_matching, table=table),
        num_workers=n,
        num_active=n,
        num_draws=len(table),
        contraction=mixing.contraction,
        apart=partial(_apart_by_matchings, mixing=mixing),
        spread=partial(_spread_of_matchings, mixing=mixing),
    )


def draw_steps(key: Array, num_active: int, *, local_steps: int, distribution: str) -> Array:
    """int32[k]: how many steps each takes before it meets.

    Args:
        key: of the schedule.
        num_active: k.
        local_steps: H >= 1, their mean.
        distribution: "fixed": H; "geometric": P(h) = (1/H)(1 - 1/H)^(h - 1), as between the ticks of independent
            Poisson clocks.
    """
    if distribution == "fixed" or local_steps == 1:
        return jnp.full(num_active, local_steps, jnp.int32)
    return jax.random.geometric(key, 1.0 / local_steps, (num_active,), jnp.int32)


def one_of_each(key: Array, partners: Array) -> Array:
    """bool[k]: one of each pair, by a coin; who rests is none."""
    coins = jax.random.bits(key, partners.shape, jnp.uint32)
    here = jnp.arange(partners.shape[0], dtype=jnp.int32)
    is_tie = coins == coins[partners]
    return (coins > coins[partners]) | (is_tie & (here < partners))


def _check_someone(topology: topologies.Topology) -> None:
    n = topologies.num_workers(topology)
    if n < 2:
        raise ValueError(
            f"num_workers = {n}, of the topology {topology.name}; there must be 2 or more for anyone to meet"
        )


def _draw_edge(key: Array, *, table: np.ndarray) -> tuple[Array, Array]:
    chosen = jnp.asarray(table)[jax.random.randint(key, (), 0, len(table), jnp.int32)]
    return chosen, jnp.array([1, 0], jnp.int32)


def _draw_matching(key: Array, *, table: np.ndarray) -> tuple[Array, Array]:
    chosen = jnp.asarray(table)[jax.random.randint(key, (), 0, len(table), jnp.int32)]
    return jnp.arange(table.shape[1], dtype=jnp.int32), chosen


def _apart_by_edges(local_steps: int, *, num_workers: int, contraction: float, share: float) -> float:
    """`share` is r / (2 m)."""
    if num_workers == 2:
        return 0.0
    b = 2 * local_steps * math.sqrt(4 * share)
    c = (2 - 4 / num_workers) * local_steps**2
    return (b + math.sqrt(b**2 + 4 * contraction * c)) / (2 * contraction)


def _spread_of_edges(local_steps: int, *, apart: Callable[[int], float], share: float) -> float:
    return math.sqrt(share) * apart(local_steps) + local_steps - 1


def _apart_by_matchings(local_steps: int, *, mixing: mixings.Mixing) -> float:
    lost = math.sqrt(1 - mixing.contraction)
    return math.sqrt(mixing.num_rows) * local_steps * lost / (1 - lost)


def _spread_of_matchings(local_steps: int, *, mixing: mixings.Mixing) -> float:
    found = mixings.spread(mixing, period=local_steps, num_workers=mixing.num_rows)
    assert found is not None  # a connected graph brings all together
    return found
