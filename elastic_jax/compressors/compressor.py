"""What a compressor is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

PyTree = Any


class Compressor(NamedTuple):
    """A compressor; `compressors.top_k(0.01)` and its siblings make one."""

    encode: Callable[[Array, PyTree], PyTree]
    """`encode(key, message [...]) -> code`."""
    decode: Callable[[Array, PyTree, PyTree], PyTree]
    """`decode(key, code, reference [...]) -> message [...]`."""
    bits: Callable[[PyTree], int]
    """`bits(message) -> int`: size of the code, bits."""
    contraction_factor: Callable[[PyTree], float | None]
    """`contraction_factor(message) -> δ` in (0, 1]; None if it is not a contraction."""
    variance_factor: Callable[[PyTree], float | None]
    """`variance_factor(message) -> ω >= 0`; None if it is biased."""
    is_pathwise: bool
    """True if the contraction holds for every draw of the key; False if only in expectation."""
    is_shrinking: bool
    """True if E‖C(w)‖² <= ‖w‖² for every message: what is sent is no longer than what was to be sent."""
