"""Links: how many simulated seconds a message takes.

    seconds = latency + bits/bandwidth

Every worker has a link of its own, and all are alike. Algorithms with a schedule take it as an argument; of the
messages of any other, `Info.bits_sent`, it says how long they would have taken.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from elastic_jax import arguments, stacked

Numbers = float | Array | np.ndarray


class Link(NamedTuple):
    """A link; `links.link(1e-4, 1e9)` makes one."""

    latency: float
    """Seconds until the first bit comes."""
    bandwidth: float
    """Bits in a second; inf: their number does not matter."""

    @property
    def takes_time(self) -> bool:
        """Whether any message does."""
        return self.latency > 0 or math.isfinite(self.bandwidth)

    def seconds(self, bits: Numbers, num_messages: Numbers = 1) -> Any:
        """Seconds of `num_messages` messages one after the other, `bits` together.

        Args:
            bits: >= 0, of all; a number or an array of them.
            num_messages: >= 0, likewise.
        """
        return self.latency * num_messages + bits / self.bandwidth


def link(latency: float = 0.0, bandwidth: float | None = None) -> Link:
    """A link with these properties; by default messages take no time.

    Args:
        latency: seconds, >= 0.
        bandwidth: bits in a second, > 0; None: as many as there are.
    """
    latency = arguments.real("latency", latency, low=0.0)
    return Link(latency, math.inf if bandwidth is None else arguments.real("bandwidth", bandwidth, above=0.0))


def check(given: Link | None) -> Link:
    """`given`, or messages that take no time for None; raises `TypeError` for anything else."""
    return link() if given is None else arguments.instance("link", given, Link, "e.g. links.link(1e-4, 1e9)")


def there_and_back(given: Link, params: Any) -> float:
    """Seconds in which a worker gets all parameters [...] and sends a gradient as large.

    Args:
        given: of `link`.
        params: [...]; only their shapes matter.
    """
    return float(given.seconds(2 * 8 * stacked.num_bytes(params), 2))
