"""Every variant that says at which arguments it is cooperative SGD is that, row by row and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import algorithms, base
from laws import laws, settings

NUM_STEPS = 8
SPECIAL = [
    (name, module, number)
    for name, module in algorithms.variants().items()
    for number in range(len(getattr(module, "COOPERATIVE", ())))
]


def rows_of(algorithm, key, data):
    """float64[T, rows, d]: local parameters and what rows there are beside them, of every step."""

    def flat(state):
        rows = [settings.flatten_rows(state.local_params)]
        if hasattr(state, "anchor_params"):
            rows.append(settings.flatten(state.anchor_params)[None])
        if jax.tree.leaves(getattr(state, "auxiliary_params", ())):
            rows.append(settings.flatten_rows(state.auxiliary_params))
        return jnp.concatenate(rows)

    state, found = algorithm.init(key, settings.params()), []
    step = jax.jit(algorithm.step, compiler_options=laws.QUICKLY)
    for t in range(NUM_STEPS):
        state, info = step(base.step_key(key, t), state, data)
        found.append((flat(state), settings.flatten(algorithm.global_params(state)), info.weights, info.bits_sent))
    return [np.stack(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize(("name", "module", "number"), SPECIAL, ids=[f"{name} {number}" for name, _, number in SPECIAL])
def test_special_cases_are_cooperative_sgd(name, module, number, key):
    """All rows, the global parameters and the weights are equal to rounding, on unlike workers."""
    own, make_general = module.COOPERATIVE[number]
    n = settings.NUM_WORKERS
    plain = {"num_workers": n, "step_size": settings.STEP_SIZE}
    special = module.build(settings.oracle, **plain, **own)
    general = algorithms.variant("cooperative_sgd").build(settings.oracle, **plain, **make_general(n))
    data = settings.quadratics(n)
    (rows, params, weights, _), (general_rows, general_params, general_weights, _) = (
        rows_of(algorithm, key, data) for algorithm in (special, general)
    )
    assert rows.shape == general_rows.shape
    assert np.abs(np.diff(rows, axis=0)).max() > 0
    laws.agree(rows, general_rows, f"rows of {name}")
    laws.agree(params, general_params, f"global parameters of {name}")
    laws.agree(weights, general_weights, f"weights of {name}")


def test_there_are_special_cases():
    """Else the law above would hold for want of any."""
    assert len({name for name, _, _ in SPECIAL}) >= 3
