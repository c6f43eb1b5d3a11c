"""How long an iteration takes when layers are computed one after the other and sent over one link: a time model.

A machine computes the forward pass, layer 0 first, then the backward pass, last layer first. As soon as the gradient
of a layer is made it may be sent, and the link carries one layer at a time. The next forward pass

    plain           starts when all layers have come
    cross-barrier   waits, in each layer, for that layer alone
    elastic         starts when the backward pass is over, so many layers of the round have come, and all of the round
                    before it; it waits for nothing once it has started

Plain and elastic send layers in the order in which they are made. Then the layer that is needed first comes last, so
that the cross-barrier gains only the rest of the forward pass, which is nothing; it is meant for a link that takes,
of the layers that are made, the one needed first.

Source: Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, for the elastic scheduler; Peng et al.,
ByteScheduler, SOSP 2019, for the cross-barrier and its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Layers(NamedTuple):
    """Seconds of each layer, first to last, float[m]."""

    forward: np.ndarray
    """>= 0, to compute the layer."""
    backward: np.ndarray
    """>= 0, to compute its gradient."""
    link: np.ndarray
    """>= 0, to send its gradient to all and get the mean back."""


def plain(layers: Layers) -> float:
    """Seconds of an iteration that waits for everything."""
    made = made_at(layers)
    return float(arrivals(layers, made).max(initial=made[0])) + float(np.sum(layers.forward))


def cross_barrier(layers: Layers, *, needed_first: bool = True) -> float:
    """Seconds of an iteration whose forward pass waits in each layer for that layer alone.

    Args:
        layers: the seconds.
        needed_first: whether the link takes the layer that is needed first of those made; else in the order made.
    """
    made = made_at(layers)
    came = arrivals(layers, made, needed_first=needed_first)
    now = float(made[0])  # the backward pass is over
    for layer, seconds in enumerate(layers.forward):
        now = max(now, came[layer]) + seconds
    return now


def elastic(layers: Layers, num_awaited: Sequence[int]) -> np.ndarray:
    """Seconds of each of T iterations that wait for the first so many layers of their round: float[T].

    Args:
        layers: the seconds.
        num_awaited: int[T], each in [0, m]: how many layers of the round must have come; m is plain.
    """
    began, link_free, all_before = 0.0, 0.0, 0.0
    durations = []
    for awaited in num_awaited:
        made = began + float(np.sum(layers.forward)) + made_at(layers)
        came = arrivals(layers, made, link_free=link_free)[::-1]  # in the order sent
        opened = max(made[0], all_before, *came[:awaited])
        all_before = link_free = came[-1]
        durations.append(opened - began)
        began = opened
    return np.array(durations)


def made_at(layers: Layers) -> np.ndarray:
    """When each gradient is made, seconds from the start of the backward pass: float[m]."""
    return np.cumsum(layers.backward[::-1])[::-1]


def arrivals(layers: Layers, made: np.ndarray, *, link_free: float = 0.0, needed_first: bool = False) -> np.ndarray:
    """When each layer has come, float[m]; the link is never idle while something is made and not sent.

    Args:
        layers: the seconds.
        made: float[m], when each gradient is made; the last layer first.
        link_free: when the link has sent what came before.
        needed_first: as in `cross_barrier`; a layer that is being sent is not interrupted.
    """
    came = np.zeros(len(made))
    waiting = list(range(len(made)))
    while waiting:
        last = waiting[-1]  # of those not sent, it was made first
        start = max(link_free, made[last])
        chosen = min(layer for layer in waiting if made[layer] <= start) if needed_first else last
        waiting.remove(chosen)
        link_free = came[chosen] = start + layers.link[chosen]
    return came
