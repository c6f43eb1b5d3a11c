"""Random keys whose numbers a CPU draws several times as fast; the numbers are the same, bit for bit.

JAX's generator is Threefry-2x32 (Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011).
On a CPU JAX runs its twenty rounds as a loop, which the compiler neither fuses nor vectorises: small draws, and
above all the folding of many keys, cost tens of microseconds. Here the rounds are written out, as JAX itself does
on accelerators, so that one draw is one fused kernel.
"""

from __future__ import annotations

import math

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

KEY_PARITY = np.uint32(0x1BD11BDA)
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
DTYPES = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32, 64: jnp.uint64}


def unrolled(key: Array) -> Array:
    """The same key or keys, made for the CPU.

    Every function of `jax.random` takes them, what is split or folded from them is of their kind, and all numbers are
    those of the given key. Returned as it is: a key on an accelerator, a key of another generator, and every key where
    `jax_threefry_partitionable` is off.

    Args:
        key: key[...].
    """
    is_counted = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]  # configuration has it at run time
    if is_counted and jax.random.key_impl(key) == "threefry2x32" and jax.default_backend() == "cpu":
        return jax.random.wrap_key_data(jax.random.key_data(key), impl=UNROLLED)
    return key


def _threefry(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Threefry-2x32, 20 rounds: key uint32[2] and counters uint32[...] to two times uint32[...]."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ KEY_PARITY)
    first, second = high + schedule[0], low + schedule[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            first = first + second
            second = (second << np.uint32(rotation)) | (second >> np.uint32(32 - rotation))
            second = first ^ second
        first = first + schedule[(group + 1) % 3]
        second = second + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return first, second


def _counted(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Threefry of 0, 1, 2, ... in the order of the entries of `shape`."""
    low = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _threefry(key, jnp.zeros_like(low), low)


def _seed(seed: Array) -> Array:
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.stack(_counted(key, shape), axis=-1)


def _fold_in(key: Array, data: int) -> Array:
    low = jnp.asarray(data, jnp.uint32)
    return jnp.stack(_threefry(key, jnp.zeros_like(low), low))


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    if math.prod(shape) >= 2**32:
        raise ValueError(f"shape = {shape} has {math.prod(shape)} entries; one draw has at most 2^32 - 1")
    high, low = _counted(key, shape)
    if bit_width == 64:
        return (high.astype(jnp.uint64) << np.uint64(32)) | low.astype(jnp.uint64)
    return (high ^ low).astype(DTYPES[bit_width])


UNROLLED = jax.extend.random.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="unrolled_threefry2x32",
    tag="ufry",
)
"""Threefry-2x32 with its rounds written out."""
