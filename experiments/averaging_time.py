"""How long workers take that average now and then: a time model, and what two curves of loss in time have in common.

The unit of time is what a worker computes for one step. Each worker has one link, over which it sends one message after
the other: it takes a latency for every message, and for all parameters a transfer time. An averaging of all by a ring
all-reduce is 2 (n - 1) messages of 1/n of the parameters each; an exchange with both neighbours on a ring of workers is
two messages of all of them, whose latencies overlap:

    all-reduce      2 (n - 1) latency + 2 (n - 1) / n transfer
    exchange        latency + 2 transfer

Nothing is computed meanwhile: x_t exists after t steps and ⌊t / τ⌋ communications. An exchange saves latency and no
transfer: where latency is nothing it takes n / (n - 1) times as long as an all-reduce.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Link(NamedTuple):
    """Of each worker; the unit is the time in which it computes a step."""

    latency: float
    """>= 0, of a message."""
    transfer: float
    """>= 0, of all parameters."""


def link(ratio: float, latency_share: float, *, num_workers: int) -> Link:
    """The link on which an all-reduce takes `ratio`, of which `latency_share` in [0, 1] is latency; n >= 2."""
    num_messages = 2 * (num_workers - 1)
    return Link(ratio * latency_share / num_messages, ratio * (1 - latency_share) * num_workers / num_messages)


def all_reduce(link: Link, *, num_workers: int) -> float:
    """Of all workers."""
    num_messages = 2 * (num_workers - 1)
    return num_messages * (link.latency + link.transfer / num_workers)


def exchange(link: Link) -> float:
    """With two neighbours."""
    return link.latency + 2 * link.transfer


def seconds(num_steps: np.ndarray, period: int, communication: float) -> np.ndarray:
    """When x_t exists, for numbers of steps t."""
    return np.asarray(num_steps + np.asarray(num_steps) // period * communication)


def over_blocks(values: np.ndarray, length: int) -> np.ndarray:
    """Means over stretches of the last axis: [..., T] -> [..., m]; what is left over at the end is left out."""
    values = np.asarray(values, np.float64)
    whole = values.shape[-1] // length
    return values[..., : whole * length].reshape(*values.shape[:-1], whole, length).mean(axis=-1)


def crossing(first: np.ndarray, second: np.ndarray) -> float:
    """When the second curve has overtaken the first for good.

    Args:
        first: [2, m], times, which increase, and losses > 0; log loss is linear between two of them.
        second: [2, k], likewise.

    Returns:
        The last time, of those that both have, up to which the first has no greater loss; ∞ if that is the end, 0 if
        it never has.
    """
    times = np.union1d(first[0], second[0])
    times = times[(times >= max(first[0, 0], second[0, 0])) & (times <= min(first[0, -1], second[0, -1]))]
    # > 0 where the second has the lower loss
    lead = np.log(losses_at(first, times)) - np.log(losses_at(second, times))
    behind = np.flatnonzero(lead <= 0)
    if not len(behind):
        return 0.0
    last = int(behind[-1])
    if last == len(times) - 1:
        return np.inf
    share = -lead[last] / (lead[last + 1] - lead[last])
    return float(times[last] + share * (times[last + 1] - times[last]))


def losses_at(curve: np.ndarray, times: np.ndarray) -> np.ndarray:
    """What a curve [2, m] has at some times, which must be among its own."""
    return np.exp(np.interp(times, curve[0], np.log(curve[1])))


def time_to(curve: np.ndarray, goal: float) -> float:
    """When a curve [2, m] first has a loss <= `goal`; ∞ if it never has."""
    reached = np.flatnonzero(curve[1] <= goal)
    if not len(reached):
        return np.inf
    index = int(reached[0])
    if index == 0:
        return float(curve[0, 0])
    before, after = np.log(curve[1, index - 1 : index + 1])
    share = (before - np.log(goal)) / (before - after)
    return float(curve[0, index - 1] + share * (curve[0, index] - curve[0, index - 1]))
