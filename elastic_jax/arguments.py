"""Checks of arguments: every error names the argument, the value it had and the range it may have.

They run when something is built, before anything is compiled, so that a wrong number never
becomes a traceback from inside JAX.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp


def integer(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """`value` as an int in [low, high]; raises `TypeError` or `ValueError`."""
    valid = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} = {value!r} is a {type(value).__name__}; it must be {valid}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} = {value!r} is out of range; it must be {valid}")
    return number


def real(
    name: str, value: Any, *, above: float | None = None, low: float | None = None, high: float | None = None
) -> float:
    """`value` as a finite float > above, >= low, <= high; raises `TypeError` or `ValueError`."""
    limits = [
        f"> {above}" if above is not None else "",
        f">= {low}" if low is not None else "",
        f"<= {high}" if high is not None else "",
    ]
    valid = " and ".join(["a finite number", *filter(None, limits)])
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} = {value!r} is a {type(value).__name__}; it must be {valid}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        number = math.inf
    inside = (
        math.isfinite(number)
        and (above is None or number > above)
        and (low is None or number >= low)
        and (high is None or number <= high)
    )
    if not inside:
        raise ValueError(f"{name} = {value!r} is out of range; it must be {valid}")
    return number


def fraction(name: str, value: Any) -> float:
    """`value` as a float in (0, 1]."""
    return real(name, value, above=0.0, high=1.0)


def step_size(name: str, value: Any) -> float | Callable[[Any], Any]:
    """A step size: a float > 0, or an optax schedule (a function of the step), returned as it is."""
    return value if callable(value) else real(name, value, above=0.0)


def flag(name: str, value: Any) -> bool:
    """`value`, which must be True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} = {value!r} is a {type(value).__name__}; it must be True or False")
    return value


def instance(name: str, value: Any, kind: type, hint: str) -> Any:
    """`value`, which must be a `kind`; `hint` says how one is made."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} = {value!r} is a {type(value).__name__}; it must be a {kind.__name__}: {hint}")
    return value


def function(name: str, value: Any, hint: str) -> Any:
    """`value`, which must be callable; `hint` gives its signature."""
    if not callable(value):
        raise TypeError(f"{name} = {value!r} is a {type(value).__name__}; it must be a function {hint}")
    return value


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """`value`, which must be one of the names `known`; the error proposes the closest one."""
    names = list(known)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} = {value!r} is a {type(value).__name__}; it must be a name, one of {', '.join(map(repr, names))}"
        )
    if value not in names:
        close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
        closest = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"{name} = {value!r} is unknown{closest} Known: {', '.join(map(repr, names))}")
    return value


def float_params(name: str, params: Any) -> Any:
    """`params` as a tree of JAX arrays of its own memory; every leaf must be a floating-point array.

    The copy lets a state be donated without deleting what the caller still holds.
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    if not leaves:
        raise ValueError(f"{name} has no leaves; it must be a floating-point array or a tree of them")
    for path, leaf in leaves:
        where = name + jax.tree_util.keystr(path)
        if not hasattr(leaf, "dtype") and not isinstance(leaf, float):
            raise TypeError(f"{where} is a {type(leaf).__name__}; it must be a floating-point array")
        if hasattr(leaf, "dtype") and not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"{where} has dtype {leaf.dtype}; it must be a floating-point array")
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)


def keys(name: str, value: Any) -> None:
    """Raise unless `value` is a typed key, or two of them stacked: for the schedule, and for the samples."""
    is_key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not is_key or value.shape not in ((), (2,)):
        raise TypeError(f"{name} = {value!r} must be a typed key, jax.random.key(0), or two of them stacked, key[2]")
