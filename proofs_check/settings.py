"""Settings: every registered variant, on its defaults and with each of the parts that the theory is about.

No variant is asked for its name. Which parts it takes is read from the signature of its `build`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import networkx

from elastic_jax import algorithms, barriers, clocks, compressors, crashes, delays, drops, reads, shares
from elastic_jax.base import Algorithm

_TOP_K = {"compressor": compressors.top_k(0.25)}
_MEMORY = {**_TOP_K, "error_feedback": True}


def _uneven(num_workers: int) -> shares.Shares:
    """Everybody pushes to the next one, and worker 0 to all: rows of P do not sum to 1."""
    ring = networkx.cycle_graph(num_workers, create_using=networkx.DiGraph)
    ring.add_edges_from((0, other) for other in range(1, num_workers))
    return shares.from_networkx(ring)


PARTS: Mapping[str, Mapping[str, Any]] = {
    "top-k with memory": _MEMORY,
    "a constant delay": {"delays": delays.constant(2)},
    "delays out of order": {"delays": delays.alternating(2), "fifo": False},
    "delays by size": {"delays": delays.largest_late(2)},
    "delays, stand-ins": {"delays": delays.uniform(2), "fifo": True, "substitute": True},
    "delays, drops": {"delays": delays.constant(1), "drops": drops.alternating(), "max_lost": 2},
    "delays, top-k": {"delays": delays.constant(1), "fifo": True, **_TOP_K},
    "delays, top-k with memory": {"delays": delays.constant(1), "fifo": True, **_MEMORY},
    "delays out of order, top-k with memory": {"delays": delays.alternating(2), "fifo": False, **_MEMORY},
    "a barrier for none": {"barrier": barriers.number(0.0)},
    "a barrier for none, stand-ins": {"barrier": barriers.number(0.0), "substitute": True},
    "a barrier by size": {"barrier": barriers.number(0.5, order="largest_last")},
    "a barrier by the missing norm": {"barrier": barriers.missing_norm(0.5)},
    "a barrier over layers": {"barrier": barriers.own_norm_squared(0.5)},
    "a barrier over layers by sums": {"barrier": barriers.own_norm_sum(0.5, order="random")},
    "a barrier over layers, stand-ins": {"barrier": barriers.own_norm_squared(0.5), "substitute": True},
    "a barrier for no layer": {"barrier": barriers.number(0.0, over="layers")},
    "a barrier for no layer, stand-ins": {"barrier": barriers.number(0.0, over="layers"), "substitute": True},
    "equal times": {"clock": clocks.constant()},
    "oldest reads": {"reads": reads.oldest(3)},
    "reads, top-k": {"reads": reads.masks(3, 0.5), **_TOP_K},
    "reads by size, top-k with memory": {"reads": reads.largest(2, 0.5), **_MEMORY},
    "crashes": {"crashes": crashes.worst(1)},
    "crashes, stand-ins": {"crashes": crashes.worst(1), "substitute": True},
    "drops": {"drops": drops.alternating(), "piggyback": True},
    "drops, stand-ins": {"drops": drops.alternating(), "piggyback": True, "substitute": True},
    "drops for ever": {"drops": drops.alternating(), "piggyback": False},
    "drops for ever, a budget, stand-ins": {
        "drops": drops.alternating(),
        "piggyback": False,
        "max_missing": 3,
        "substitute": True,
    },
    "late pushes": {"delay": 2},
    "uneven shares": {"shares": _uneven},
    "uneven shares, late": {"shares": _uneven, "delay": 1},
}
"""{label: arguments that are added where `build` takes all of them}."""


class Setting(NamedTuple):
    """A variant with arguments of its `build`."""

    name: str
    build: Callable[..., Algorithm]
    arguments: Mapping[str, Any]


def every(parts: Mapping[str, Mapping[str, Any]] = PARTS) -> list[Setting]:
    """Every variant of the registry on its defaults, then with each of `parts` that it takes."""
    found = []
    for name, module in algorithms.variants().items():
        takes = inspect.signature(module.build).parameters
        found.append(Setting(name, module.build, {}))
        found += [
            Setting(f"{name} ({label})", module.build, part)
            for label, part in parts.items()
            if part.keys() <= takes.keys() and _has_channels(part, takes)
        ]
    return found


def _has_channels(part: Mapping[str, Any], takes: Mapping[str, Any]) -> bool:
    """Delays of senders and receivers are for variants with channels, which keep an order or not."""
    return "fifo" in takes or not any(getattr(value, "is_paired", False) for value in part.values())
