"""Unrolled keys draw what JAX's own keys draw, bit for bit, and stay out of the way where they are not wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import keys, run
from elastic_jax.algorithms import local_sgd
from elastic_jax.problems import quadratic

DRAWS = {
    "normal": lambda key: jax.random.normal(key, (8, 33)),
    "normal in float32": lambda key: jax.random.normal(key, (17,), jnp.float32),
    "uniform of no dimension": jax.random.uniform,
    "integers": lambda key: jax.random.randint(key, (9,), 0, 1000),
    "no numbers": lambda key: jax.random.uniform(key, (0, 3)),
    "exponential": lambda key: jax.random.exponential(key, (5,)),
    "a permutation": lambda key: jax.random.permutation(key, 40),
    "coins": lambda key: jax.random.bernoulli(key, 0.3, (6, 2)),
    "a loop of draws": lambda key: jax.random.gamma(key, 1.5, (4,)),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (3, 2))),
    "folded": lambda key: jax.random.key_data(jax.random.fold_in(key, 2**32 - 1)),
    "folded for workers": lambda key: jax.random.key_data(jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(5))),
    "drawn by workers": lambda key: jax.vmap(lambda each: jax.random.normal(each, (3,)))(jax.random.split(key, 4)),
    **{
        f"{width} bits": lambda key, width=width: jax.random.bits(key, (13,), f"uint{width}")
        for width in (8, 16, 32, 64)
    },
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_the_numbers_are_those_of_the_given_key(draw):
    for key in (jax.random.key(0), jax.random.key(2**40 + 7)):
        unrolled = keys.unrolled(key)
        assert jax.random.key_impl(unrolled) != jax.random.key_impl(key)
        np.testing.assert_array_equal(jax.jit(draw)(unrolled), draw(key))


def test_a_wrong_rotation_is_seen(monkeypatch):
    """The negative control of the test above."""
    monkeypatch.setattr(keys, "ROTATIONS", (keys.ROTATIONS[0], (17, 29, 16, 25)))
    key = jax.random.key(0)
    assert not np.array_equal(jax.random.bits(keys.unrolled(key), (4,)), jax.random.bits(key, (4,)))


def test_a_new_key_of_the_kind_has_the_numbers_of_the_seed():
    for seed in (0, 5, 2**40 + 7):
        made = jax.random.key(seed, impl=keys.UNROLLED)
        np.testing.assert_array_equal(jax.random.key_data(made), jax.random.key_data(jax.random.key(seed)))


def test_other_keys_stay_as_they_are(monkeypatch):
    """Those of another generator, those that are unrolled already, and all of them on an accelerator."""
    key = jax.random.key(0)
    for other in (jax.random.key(0, impl="rbg"), keys.unrolled(key)):
        assert keys.unrolled(other) is other
    with jax.threefry_partitionable(False):
        assert keys.unrolled(key) is key
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert keys.unrolled(key) is key


def test_a_run_is_the_same_whatever_the_kind_of_its_key(monkeypatch):
    """What a run draws does not depend on how it is drawn."""
    problem = quadratic.build(num_workers=3, dim=5)
    algorithm = local_sgd.build(problem.oracle, num_workers=3)
    start = problem.init(jax.random.key(0))

    def final(key):
        return np.asarray(run.run(algorithm, start, problem.data, num_steps=20, key=key, progress=False).params)

    for key in (jax.random.key(1), jax.random.split(jax.random.key(2))):
        fast = final(key)
        with monkeypatch.context() as slow:
            slow.setattr(keys, "unrolled", lambda key: key)
            np.testing.assert_array_equal(final(key), fast)
