"""Ten steps of any registered variant on a small network: the same wherever they are computed."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import random as extended_random
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from elastic_jax import algorithms, base, devices, oracles

NUM_WORKERS = 8
NUM_STEPS = 10
VARIANTS = tuple(algorithms.variants())
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}
QUICK_COMPILER = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Run(NamedTuple):
    """What is compared, after every step, and what it took."""

    global_params: Any
    """[steps, ...]."""
    losses: Any
    """[steps, k]."""
    workers: Any
    """int32[steps, k]."""
    num_compilations: int


def loss(params: dict[str, Any], batch: tuple[Any, Any]) -> Any:
    """The squared error of a network with one hidden layer, three inputs and two outputs."""
    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"][None])
    return jnp.mean((hidden @ params["last"] - targets) ** 2)


def make_params(dtype: str) -> dict[str, Any]:
    """The starting point, the same in every process."""
    draw = np.random.default_rng(0).standard_normal
    return {
        "first": {"kernel": jnp.asarray(draw((3, 5)), dtype), "bias": jnp.asarray(draw(5), dtype)},
        "last": jnp.asarray(draw((5, 2)), dtype),
    }


def make_data(dtype: str) -> base.Shards:
    """Shards of 6 to 9 examples; what pads the shorter ones is NaN, so that drawing it would show."""
    draw = np.random.default_rng(1).standard_normal
    sizes = 6 + np.arange(NUM_WORKERS, dtype=np.int32) % 4
    is_padding = np.arange(9) >= sizes[:, None]
    inputs, targets = draw((NUM_WORKERS, 9, 3)), draw((NUM_WORKERS, 9, 2))
    inputs[is_padding], targets[is_padding] = np.nan, np.nan
    return base.Shards((jnp.asarray(inputs, dtype), jnp.asarray(targets, dtype)), jnp.asarray(sizes))


def run(
    variant: str,
    dtype: str,
    *,
    mesh: Mesh | None = None,
    oracle_mesh: Mesh | None = None,
    implementation: Any = None,
    parts: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Ten steps by one jitted function whose state is donated.

    Args:
        variant: its name in the registry.
        dtype: of params and data.
        mesh: where everything is placed before the first step; None: the default device.
        oracle_mesh: over which the oracle spreads the workers; None: it does not.
        implementation: of the random keys; default `quick_keys()`.
        parts: arguments of `build` of the variant's own; its defaults if None.
        **options: of `oracles.from_loss`.
    """
    oracle = oracles.from_loss(loss, batch_size=2, mesh=oracle_mesh, **options)
    algorithm = algorithms.variant(variant).build(oracle, num_workers=NUM_WORKERS, **(parts or {}))
    key = jax.random.key(7, impl=quick_keys() if implementation is None else implementation)
    keys = [base.step_key(key, number) for number in range(NUM_STEPS)]
    state, data = algorithm.init(key, make_params(dtype)), make_data(dtype)
    shardings = None
    if mesh is not None:
        state, data, keys = (
            devices.place(state, mesh),
            devices.place_data(data, mesh),
            devices.replicate(keys, mesh),
        )
        shardings = (devices.shardings(state, mesh), NamedSharding(mesh, PartitionSpec()))

    def step(key: Any, state: Any, data: Any) -> Any:
        new, info = algorithm.step(key, state, data)
        return new, (algorithm.global_params(new), info.losses, info.workers)

    step = jax.jit(step, donate_argnums=1, out_shardings=shardings, compiler_options=QUICK_COMPILER)
    results, num_before = [], num_compilations()
    for number in range(NUM_STEPS):
        state, result = step(keys[number], state, data)
        results.append(result)
    num_after = num_compilations()
    return Run(*jax.tree.map(lambda *leaves: np.stack(leaves), *devices.gather(results)), num_after - num_before)


def num_compilations() -> int:
    """How often XLA has compiled anything so far in this process."""
    return _COMPILATIONS["number"]


@functools.cache
def reference(variant: str, dtype: str) -> Run:
    """The same on one device, all workers vmapped."""
    return run(variant, dtype, strategy="vmap")


def assert_same(found: Run, expected: Run, dtype: str) -> None:
    """The same trajectory: equal to 1e-6 in float32 and to 1e-12 in float64."""
    np.testing.assert_array_equal(found.workers, expected.workers)
    compared, expected_ones = ((each.global_params, each.losses) for each in (found, expected))
    assert jax.tree.structure(compared) == jax.tree.structure(expected_ones)
    for one, other in zip(jax.tree.leaves(compared), jax.tree.leaves(expected_ones), strict=True):
        assert one.dtype == other.dtype == dtype
        assert np.all(np.isfinite(one))
        np.testing.assert_allclose(one, other, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


@functools.cache
def quick_keys() -> Any:
    """A hash in the place of JAX's random bits: as good as random here, and compiled in half the time."""
    return extended_random.define_prng_impl(
        key_shape=(1,),
        seed=_seed,
        split=_split,
        random_bits=_bits,
        fold_in=_fold_in,
        name="quick",
        tag="quick",
    )


def _seed(seed: Any) -> Any:
    return _mix(jnp.asarray(seed).astype(jnp.uint32) + jnp.uint32(12345))[None]


def _split(key: Any, shape: tuple[int, ...]) -> Any:
    counts = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    return _mix(_mix(key + jnp.uint32(0x9E3779B9)) + counts).reshape(*shape, 1)


def _bits(key: Any, width: int, shape: tuple[int, ...]) -> Any:
    counts = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    bits = _mix(_mix(key ^ jnp.uint32(0x85EBCA6B)) + counts).reshape(shape)
    if width == 64:
        return (bits.astype(jnp.uint64) << jnp.uint64(32)) | _mix(bits + jnp.uint32(77)).astype(jnp.uint64)
    return bits.astype(f"uint{width}")


def _fold_in(key: Any, number: Any) -> Any:
    return _mix(_mix(key) + number.astype(jnp.uint32))


def _mix(bits: Any) -> Any:
    """A bijection of 32 bits in which every output bit depends on all input bits."""
    bits = (bits ^ (bits >> jnp.uint32(16))) * jnp.uint32(0x21F0AAAD)
    bits = (bits ^ (bits >> jnp.uint32(15))) * jnp.uint32(0x735A2D97)
    return bits ^ (bits >> jnp.uint32(15))


_COMPILATIONS = {"number": 0}


def _count_compilations(event: str, duration: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILATIONS["number"] += 1


jax.monitoring.register_event_duration_secs_listener(_count_compilations)
