"""Every constant that an analytic problem states is true of it, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import data, problems
from elastic_jax.base import Constants, Problem
from elastic_jax.problems import finite_sum, log_cosh, logistic, nonconvex_logistic, quadratic

NUM_WORKERS = 3
FINITE_SUMS = {
    "binary": partial(logistic.build, reg=0.05, radius=3.0, num_examples=30, dim=4),
    "multinomial": partial(logistic.build, reg=0.05, radius=3.0, num_examples=30, dim=4, num_classes=3),
    "unregularised": partial(logistic.build, reg=0.0, num_examples=30, dim=4),
    "by label": partial(logistic.build, reg=0.1, num_examples=31, dim=4, split="by_label", batch_size=2),
    "non-convex": partial(nonconvex_logistic.build, num_examples=30, dim=4),
    "log-cosh": partial(log_cosh.build, num_examples=31, dim=4, batch_size=3),
}
QUADRATICS = {
    "identical": partial(quadratic.build, dim=5, centre_spread=0.0),
    "centres": partial(quadratic.build, dim=5, noise=0.0),
    "curvatures": partial(quadratic.build, dim=5, curvature_spread=0.5),
}


@pytest.fixture(scope="module", params=[*FINITE_SUMS, *QUADRATICS])
def problem(request):
    return {**FINITE_SUMS, **QUADRATICS}[request.param](num_workers=NUM_WORKERS)


@pytest.fixture(scope="module", params=FINITE_SUMS)
def finite(request):
    return FINITE_SUMS[request.param](num_workers=NUM_WORKERS)


def points(problem: Problem, count: int = 6) -> jax.Array:
    """Points [count, ...] of norm below 3, where every stated constant must hold."""
    start = problem.init(jax.random.key(0))
    directions = jax.random.normal(jax.random.key(1), (count, start.size))
    lengths = jnp.linspace(0.0, 2.9, count) / jnp.linalg.norm(directions, axis=1)
    return (lengths[:, None] * directions).reshape(count, *start.shape)


def of_workers(problem: Problem, function):
    """`function(f_i, x)` of every point x and worker i: leaves [points, workers, ...]."""

    def of_worker(x, rows):
        alone = jax.tree.map(lambda leaf: leaf[None], rows)  # the objective of one worker's data is its f_i
        return function(lambda params: problem.objective(params, alone), x)

    return jax.jit(jax.vmap(jax.vmap(of_worker, (None, 0)), (0, None)))(points(problem), problem.data)


def curvatures(objective, x):
    """The eigenvalues of the Hessian at x, ascending."""
    hessian = jax.hessian(lambda flat: objective(flat.reshape(x.shape)))(x.reshape(-1))
    return jnp.linalg.eigvalsh(hessian)


def certify_smoothness(problem: Problem, constants: Constants) -> None:
    """No f_i has a Hessian with an eigenvalue above L, and f none below c."""
    assert of_workers(problem, curvatures).max() <= constants.smoothness * (1 + 1e-12)
    if constants.strong_convexity is not None:
        whole = jax.jit(jax.vmap(lambda x: curvatures(lambda y: problem.objective(y, problem.data), x)))(
            points(problem)
        )
        assert whole.min() >= constants.strong_convexity - 1e-12


def test_smoothness_and_strong_convexity_are_never_exceeded(problem):
    certify_smoothness(problem, problem.constants)


def test_a_smoothness_understated_by_two_is_caught():
    problem = QUADRATICS["identical"](num_workers=NUM_WORKERS)
    with pytest.raises(AssertionError):
        certify_smoothness(problem, problem.constants._replace(smoothness=problem.constants.smoothness / 2))


def test_the_gradient_vanishes_at_the_optimum_and_no_point_is_lower(problem):
    constants = problem.constants
    if constants.optimum is not None:
        optimum = jnp.asarray(constants.optimum)
        slope = jax.grad(problem.objective)(optimum, problem.data)
        assert float(jnp.linalg.norm(slope)) <= 1e-10
        np.testing.assert_allclose(problem.objective(optimum, problem.data), constants.optimal_value, rtol=1e-12)
    values = jax.jit(jax.vmap(problem.objective, (0, None)))(points(problem), problem.data)
    assert values.min() >= constants.optimal_value


def test_the_heterogeneity_is_never_exceeded(problem):
    if problem.constants.heterogeneity is None:
        assert isinstance(problem.data, dict), "finite sums with bounded data gradients have a finite one"
        return
    slopes = np.asarray(of_workers(problem, lambda objective, x: jax.grad(objective)(x).reshape(-1)))
    offsets = slopes - slopes.mean(axis=1, keepdims=True)
    measured = np.sum(offsets**2, axis=2).mean(axis=1)
    assert measured.max() <= problem.constants.heterogeneity * (1 + 1e-12) + 1e-24


def test_stochastic_gradients_are_unbiased_and_their_moments_below_the_constants(finite):
    exact = of_workers(finite, lambda objective, x: jax.grad(objective)(x))
    moments = jax.jit(jax.vmap(lambda x: finite_sum.moments(finite, x)))(points(finite))
    np.testing.assert_allclose(moments.mean, exact, atol=1e-13)
    assert moments.variance.max() <= finite.constants.grad_variance
    if finite.constants.grad_second_moment is not None:
        assert moments.second_moment.max() <= finite.constants.grad_second_moment


def test_enumerated_moments_are_those_of_the_oracle(key):
    """Mean and variance of many drawn gradients agree with the enumeration, within five standard errors."""
    problem = FINITE_SUMS["log-cosh"](num_workers=NUM_WORKERS)
    x = points(problem)[3]
    draws = 4000
    keys = jax.random.split(key, (draws, NUM_WORKERS))
    views = jnp.broadcast_to(x, (NUM_WORKERS, *x.shape))
    workers = jnp.arange(NUM_WORKERS, dtype=jnp.int32)
    grads = jax.jit(jax.vmap(lambda each: problem.oracle(each, views, problem.data, workers)[1]))(keys)
    moments = finite_sum.moments(problem, x)
    offsets_sq = np.sum((np.asarray(grads) - np.asarray(moments.mean)) ** 2, axis=-1)
    error = offsets_sq.std(axis=0) / np.sqrt(draws)
    assert np.all(np.abs(offsets_sq.mean(axis=0) - moments.variance) <= 5 * error)
    spread = np.sqrt(moments.variance / draws)
    assert np.all(np.linalg.norm(np.asarray(grads).mean(axis=0) - moments.mean, axis=-1) <= 5 * spread)


def test_the_quadratic_oracle_is_the_gradient_of_the_objective_plus_noise_of_the_stated_variance(key):
    problem = quadratic.build(num_workers=NUM_WORKERS, dim=5, noise=0.7)
    x = points(problem)[3]
    views = jnp.broadcast_to(x, (NUM_WORKERS, 5))
    workers = jnp.arange(NUM_WORKERS, dtype=jnp.int32)
    draws = 4000
    keys = jax.random.split(key, (draws, NUM_WORKERS))
    losses, grads = jax.jit(jax.vmap(lambda each: problem.oracle(each, views, problem.data, workers)))(keys)
    values, slopes = of_workers(problem, lambda objective, y: jax.value_and_grad(objective)(y))
    for worker in range(NUM_WORKERS):
        np.testing.assert_allclose(losses[:, worker], values[3, worker], rtol=1e-12)
        noise = np.asarray(grads[:, worker]) - np.asarray(slopes[3, worker])
        squares = np.sum(noise**2, axis=1)
        assert abs(squares.mean() - 0.49) <= 5 * squares.std() / np.sqrt(draws)
        assert np.linalg.norm(noise.mean(axis=0)) <= 5 * 0.7 / np.sqrt(draws)


def test_the_quadratic_oracle_gives_any_subset_of_workers_their_own_gradients():
    problem = quadratic.build(num_workers=NUM_WORKERS, dim=5, noise=0.0)
    views = jax.random.normal(jax.random.key(0), (NUM_WORKERS, 5))
    keys = jax.random.split(jax.random.key(1), NUM_WORKERS)
    whole = problem.oracle(keys, views, problem.data, jnp.arange(NUM_WORKERS, dtype=jnp.int32))
    chosen = jnp.asarray([2, 0], jnp.int32)
    some = problem.oracle(keys[chosen], views[chosen], problem.data, chosen)
    for all_rows, rows in zip(whole, some, strict=True):
        np.testing.assert_array_equal(rows, all_rows[chosen])


def test_a_noiseless_quadratic_draws_no_random_numbers():
    problem = quadratic.build(num_workers=2, dim=3, noise=0.0)
    keys = jax.random.split(jax.random.key(0), 2)
    traced = jax.make_jaxpr(problem.oracle)(keys, jnp.ones((2, 3)), problem.data, jnp.arange(2, dtype=jnp.int32))
    assert "random" not in str(traced)


def test_a_real_data_set_is_learnt_and_scored():
    digits = data.load("digits")
    train, test = (digits.train_targets < 2), (digits.test_targets < 2)
    two = digits._replace(
        train_inputs=digits.train_inputs[train],
        train_targets=digits.train_targets[train],
        num_classes=2,
        test_inputs=digits.test_inputs[test],
        test_targets=digits.test_targets[test],
    )
    problem = logistic.build(num_workers=4, dataset=two, reg=1e-2)
    scores = problem.evaluate(jnp.asarray(problem.constants.optimum))
    assert float(scores["test_accuracy"]) > 0.95
    assert float(problem.evaluate(problem.init(jax.random.key(0)))["test_accuracy"]) < 0.6


@pytest.mark.parametrize("module", [quadratic, logistic, nonconvex_logistic, log_cosh])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_workers", 0),
        ("dim", 0),
        ("num_examples", -1),
        ("reg", -1.0),
        ("noise", float("nan")),
        ("batch_size", 0),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(module, name, value):
    import inspect

    if name not in inspect.signature(module.build).parameters:
        return
    with pytest.raises(ValueError, match=f"{name} = "):
        module.build(**{"num_workers": 2, **{name: value}})


def test_an_unknown_problem_gets_the_closest_name():
    with pytest.raises(ValueError, match="did you mean 'log_cosh'"):
        problems.problem("logcosh")
