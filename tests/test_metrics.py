"""Metrics: each measure is its formula, written out in numpy; and states hold the bytes they promise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from elastic_jax import algorithms, base, metrics, oracles, run, stacked
from elastic_jax.algorithms import delayed_sgd, local_sgd, outer_optimizer_sgd, parameter_server_sgd

NUM_WORKERS = 3
CENTERS = jnp.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])
PARAMS = jnp.array([4.0, -3.0])


def loss(params: Any, center: Any) -> Any:
    return 0.5 * jnp.vdot(params - center, params - center)


def objective(params: Any, data: Any) -> Any:
    return jnp.mean(jax.vmap(loss, (None, 0))(params, data))


ORACLE = oracles.from_loss(loss)
PROBLEM = base.Problem(
    oracle=ORACLE,
    init=lambda _: PARAMS,
    data=CENTERS,
    objective=objective,
    evaluate=lambda params: {"first": params[0], "second": params[1]},
    constants=base.Constants(),
    num_workers=NUM_WORKERS,
)


@pytest.fixture(scope="module")
def measured() -> tuple[run.Result, list[metrics.Moment]]:
    """A run of local SGD with every metric at every step, and its moments recorded step by step."""
    algorithm = local_sgd.build(ORACLE, num_workers=NUM_WORKERS, step_size=0.3, period=3)
    wanted = {
        "loss": metrics.loss(1),
        "consistency": metrics.consistency_distance_sq(1),
        "consensus": metrics.consensus_distance_sq(1),
        "staleness": metrics.staleness(1),
        "second_moment": metrics.grad_second_moment(1),
        "bits": metrics.bits_sent(1),
        "total_bits": metrics.total_bits(1),
        "objective": metrics.objective(PROBLEM, 1),
        "grad_norm_sq": metrics.grad_norm_sq(PROBLEM, 1),
        "evaluate": metrics.evaluate(PROBLEM, 1),
    }
    key = jax.random.key(0)
    result = run.run(algorithm, PARAMS, CENTERS, num_steps=7, key=key, metrics=wanted, progress=False)
    state, moments = algorithm.init(base.step_key(key, run.INIT), PARAMS), []
    for t in range(7):
        new_state, info = algorithm.step(base.step_key(key, t), state, CENTERS)
        x, new_x = algorithm.global_params(state), algorithm.global_params(new_state)
        moments.append(metrics.Moment(jnp.int32(t), x, new_x, info, state, new_state, CENTERS))
        state = new_state
    return result, moments


def _views(moment: metrics.Moment) -> np.ndarray:
    return np.asarray(moment.info.views)


def _distances_sq(moment: metrics.Moment) -> np.ndarray:
    return ((_views(moment) - np.asarray(moment.params)) ** 2).sum(1)


def _spread(moment: metrics.Moment) -> float:
    return float(((_views(moment) - _views(moment).mean(0)) ** 2).sum(1).mean())


def _slope(moment: metrics.Moment) -> np.ndarray:
    return np.asarray(moment.params) - np.asarray(CENTERS).mean(0)


FORMULAS = {
    "loss": lambda m: np.asarray(m.info.losses).mean(),
    "consistency": _distances_sq,
    "consensus": _spread,
    "staleness": lambda m: np.asarray(m.info.staleness),
    "second_moment": lambda m: ((_views(m) - np.asarray(CENTERS)) ** 2).sum(1),
    "bits": lambda m: np.asarray(m.info.bits_sent),
    "objective": lambda m: 0.5 * ((np.asarray(m.params) - np.asarray(CENTERS)) ** 2).sum(1).mean(),
    "grad_norm_sq": lambda m: (_slope(m) ** 2).sum(),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_measure_is_its_formula(name: str, measured: Any) -> None:
    """At every step, to rounding."""
    result, moments = measured
    steps, values = result.history[name]
    expected = np.stack([FORMULAS[name](moment) for moment in moments])
    np.testing.assert_array_equal(steps, np.arange(7))
    assert np.abs(expected).max() > 0 or name == "staleness"
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-15)


def test_a_total_is_the_sum_over_all_steps_and_workers(measured: Any) -> None:
    """In local SGD with H = 3 something is sent in steps 2 and 5 only: exact integers."""
    result, moments = measured
    sent = np.cumsum([float(moment.info.bits_sent.sum()) for moment in moments])
    assert len(set(sent)) == 3
    np.testing.assert_array_equal(result.history["total_bits"][1], sent)


def test_an_evaluation_keeps_its_names(measured: Any) -> None:
    """A measure may be a tree: each leaf has its own values."""
    result, moments = measured
    values = result.history["evaluate"][1]
    np.testing.assert_allclose(values["first"], [moment.params[0] for moment in moments], rtol=1e-12)
    np.testing.assert_allclose(values["second"], [moment.params[1] for moment in moments], rtol=1e-12)


def test_staleness_and_simulated_seconds_are_those_of_the_algorithm() -> None:
    """A constant delay of 2 is 0, 1, 2, 2, ... steps; a server whose three workers take a second needs t/3."""
    from elastic_jax import clocks, delays

    late = delayed_sgd.build(ORACLE, num_workers=NUM_WORKERS, delays=delays.constant(2))
    settings: dict[str, Any] = {"num_steps": 6, "key": jax.random.key(0), "progress": False}
    history = run.run(late, PARAMS, CENTERS, metrics={"s": metrics.staleness(1)}, **settings).history
    np.testing.assert_array_equal(history["s"][1], np.minimum(np.arange(6), 2)[:, None].repeat(NUM_WORKERS, 1))
    server = parameter_server_sgd.build(ORACLE, num_workers=NUM_WORKERS, clock=clocks.constant(1.0))
    history = run.run(server, PARAMS, CENTERS, metrics={"s": metrics.total_seconds(2)}, **settings).history
    np.testing.assert_array_equal(history["s"][0], [0, 2, 4, 5])
    np.testing.assert_array_equal(history["s"][1], [1.0, 1.0, 2.0, 2.0])


def test_the_objective_is_of_all_data_though_batches_are_fed() -> None:
    """Where a step is given one batch only, the problem's own data are used."""
    algorithm = local_sgd.build(oracles.from_loss(lambda x, batch: loss(x, batch["row"])), num_workers=NUM_WORKERS)
    batches = [{"row": CENTERS + 100.0 * t} for t in range(3)]
    history = run.run(
        algorithm, PARAMS, iter(batches), num_steps=3, key=jax.random.key(0), progress=False,
        metrics={"f": metrics.objective(PROBLEM, 1)},
    ).history  # fmt: skip
    np.testing.assert_allclose(history["f"][1][0], objective(PARAMS, CENTERS), rtol=1e-12)


@pytest.mark.parametrize("name", algorithms.variants())
@pytest.mark.parametrize("num_workers", [2, 4])
def test_states_hold_the_bytes_they_promise(name: str, num_workers: int, key: jax.Array) -> None:
    """The formula in the docstring of `State` gives the bytes of the state, with every setting below."""
    import optax

    params = {"a": jnp.zeros((3, 2), jnp.float32), "b": jnp.zeros(5, jnp.float64)}
    module = algorithms.variant(name)
    for bound in ({}, {"optimizer": optax.adam(0.1)}, {"error_feedback": True}):
        try:
            algorithm = module.build(ORACLE, num_workers=num_workers, **bound)
        except TypeError as error:
            if "unexpected keyword argument" in str(error):
                continue
            raise
        state = jax.eval_shape(algorithm.init, key, params)
        assert metrics.promised_state_bytes(algorithm, params) == stacked.num_bytes(state)


@pytest.mark.parametrize("formula", ["n.__class__", "open('x')", "n ** 9", "[n]", "unknown", "'n'", "n if n else P"])
def test_formulas_are_arithmetic_and_nothing_else(formula: str) -> None:
    """Anything but sums, products and names that are bound is refused, and what it is is named."""
    algorithm = local_sgd.build(ORACLE, num_workers=2)
    docstring = local_sgd.State.__doc__
    try:
        local_sgd.State.__doc__ = f"State. Bytes: {formula}."
        with pytest.raises(ValueError, match="formula of bytes"):
            metrics.promised_state_bytes(algorithm, PARAMS)
        local_sgd.State.__doc__ = "State."
        with pytest.raises(ValueError, match="has no sentence"):
            metrics.promised_state_bytes(algorithm, PARAMS)
    finally:
        local_sgd.State.__doc__ = docstring


def test_a_wrong_cadence_is_refused() -> None:
    """With its value and its range."""
    with pytest.raises(ValueError, match="every = 0"):
        metrics.loss(0)
    with pytest.raises(TypeError, match=r"measure = 5 .*Moment"):
        metrics.metric(5, 1)  # type: ignore[arg-type]


def test_slots_that_nobody_used_are_left_out() -> None:
    """Means are over the workers that were active; a crashed one has no gradient."""
    rows = jnp.array([[1.0, 0.0], [3.0, 0.0], [100.0, 100.0]])
    info = base.info(
        workers=jnp.array([0, 1, -1], jnp.int32),
        views=rows,
        losses=jnp.array([2.0, 4.0, jnp.nan]),
        grads=rows,
        updates=rows,
        weights=jnp.array([0.5, 0.5, 0.0]),
    )
    moment = metrics.Moment(jnp.int32(0), rows[0], rows[0], info, (), (), ())
    values = {
        make.__name__: np.asarray(make(1).measure(moment)).tolist()
        for make in (metrics.loss, metrics.consensus_distance_sq, metrics.grad_second_moment)
    }
    assert values == {"loss": 3.0, "consensus_distance_sq": 1.0, "grad_second_moment": [1.0, 9.0, 0.0]}


@pytest.mark.parametrize("num_fragments", [1, 2, 3])
@pytest.mark.parametrize("outer_optimizer", [optax.sgd(1.0), optax.adam(0.1), None], ids=["sgd", "adam", "default"])
def test_promised_bytes_of_fragments_are_exact(outer_optimizer: Any, num_fragments: int) -> None:
    """Every fragment has counters of its own, and together they have one state of all parameters."""
    params = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(5), "c": jnp.zeros(7)}
    algorithm = outer_optimizer_sgd.build(
        print, num_workers=4, num_fragments=num_fragments, outer_optimizer=outer_optimizer
    )
    state = jax.eval_shape(algorithm.init, jax.random.key(0), params)
    assert metrics.promised_state_bytes(algorithm, params) == stacked.num_bytes(state)
