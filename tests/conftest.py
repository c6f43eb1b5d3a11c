"""Strict JAX for every test, four virtual devices, and keys derived from the test's name."""

import zlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> jax.Array:
    """A key that depends on the test's name alone, never on the date or the order of tests."""
    return jax.random.key(zlib.crc32(request.node.name.encode()))
