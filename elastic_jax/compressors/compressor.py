"""What a compressor is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from elastic_jax.descriptions import as_text

PyTree = Any


class Nearness(NamedTuple):
    """What a compressor declares whose receiver decodes with parameters of its own: how near these must be."""

    norm: Callable[[PyTree], Array]
    """`norm(difference [...]) -> float[]`: at least the largest number of message - reference that is rounded (where it
    is rotated before, up to a probability that its constructor names); what `within` takes is compared with this."""
    within: Callable[[Array], Compressor]
    """`within(distance float[])`: the compressor for messages whose `norm` to the reference is at most `distance`; it
    is not running."""
    num_failures: Callable[[Array, PyTree, PyTree], Array]
    """`num_failures(key, message [...], decoded [...]) -> int32[]`: numbers that were decoded into another cell than
    they were rounded to; for those that are not running."""
    margin: float
    """c >= 1: a running maximum of distances is multiplied by it before it is used."""
    is_running: bool
    """True if no distance was given: those who exchange messages keep a running maximum of the distances they see."""


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
    nearness: Nearness | None = None
    """None: of the reference only the shape is read."""


def check_decodes_alone(name: str, compressor: Compressor) -> Compressor:
    """`compressor`, which must be one whose receiver needs no parameters of its own; else a `ValueError`.

    Args:
        name: of the argument.
        compressor: what it was given.
    """
    if compressor.nearness is not None:
        raise ValueError(
            f"{name} = {as_text(compressor)} decodes with the receiver's own parameters; it must be one that needs "
            "none, e.g. compressors.top_k(0.01), or the quantizer= of a variant whose workers exchange parameters"
        )
    return compressor
