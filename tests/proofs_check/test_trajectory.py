"""Trajectories: all paths are laid out, one schedule serves them, and every number is what the run had."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import compressors
from elastic_jax.algorithms import fedbuff_sgd, k_batch_async_sgd, parameter_server_sgd, synchronous_sgd
from elastic_jax.base import Constants, Problem
from elastic_jax.problems import quadratic
from proofs_check import consistency, hypotheses, planted, record, trajectory, two_samples

OBJECTIVES = two_samples.objectives()
STEP_SIZE = 0.125


@pytest.fixture(scope="module")
def paths():
    algorithm = parameter_server_sgd.build(two_samples.oracle, num_workers=2, step_size=STEP_SIZE)
    return trajectory.every_path(algorithm, OBJECTIVES, max_tosses=4)


def test_every_path_is_there_once(paths):
    """The 16 paths of four tosses show each sequence of coins exactly once, in counting order."""
    run = paths["quadratic"]
    offset = OBJECTIVES["quadratic"].coefficients.offset
    coins = run.noises[:, :, 0] @ offset / (offset @ offset)
    expected = [[2 * ((path >> (3 - step)) & 1) - 1 for step in range(4)] for path in range(16)]
    np.testing.assert_allclose(coins, expected, atol=1e-12)


def test_an_exact_expectation_is_what_a_slow_program_finds(paths):
    """E‖x_4‖² over all paths equals that of a loop in NumPy which replays the recorded schedule."""
    run, objective = paths["quadratic"], OBJECTIVES["quadratic"]
    curvature, offset = objective.coefficients.curvature, objective.coefficients.offset
    total = 0.0
    for path in range(16):
        history = [objective.start]
        for step in range(4):
            view = history[step - run.staleness[0, step, 0]]
            coin = 2 * ((path >> (3 - step)) & 1) - 1
            history.append(history[-1] - STEP_SIZE * (curvature * view + coin * offset))
        total += history[-1] @ history[-1] / 16
    np.testing.assert_allclose(trajectory.norms_sq(run.params[:, -1]).mean(), total, rtol=1e-13)


def test_values_and_slopes_are_those_of_the_objective(paths):
    """F and ∇f at x_t and at the views are the objective's, for a non-convex one too."""
    for name in ("rational", "log_cosh"):
        run, coefficients = paths[name], OBJECTIVES[name].coefficients
        value, slope = jax.value_and_grad(two_samples.objective)(jnp.asarray(run.params[5, 3]), coefficients)
        np.testing.assert_allclose(run.values[5, 3], value, rtol=1e-13)
        np.testing.assert_allclose(run.slopes[5, 3], slope, rtol=1e-13)
        value, slope = jax.value_and_grad(two_samples.objective)(jnp.asarray(run.views[7, 2, 0]), coefficients)
        np.testing.assert_allclose(run.view_values[7, 2, 0], value, rtol=1e-13)
        np.testing.assert_allclose(run.view_slopes[7, 2, 0], slope, rtol=1e-13)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_constants_of_an_objective_are_certified(name):
    """Curvature on a grid of [-6, 6] stays within [c, L] and reaches L to 1 %; the slope stays within M."""
    _, (coefficients, _, constants) = name, OBJECTIVES[name]
    grid = jnp.broadcast_to(jnp.linspace(-6.0, 6.0, 2001)[:, None], (2001, two_samples.NUM_COORDINATES))
    slopes = jax.vmap(jax.grad(two_samples.objective), (0, None))(grid, coefficients)
    curvatures = jnp.diff(slopes, axis=0) / (grid[1] - grid[0])[None]
    assert float(jnp.abs(curvatures).max()) <= constants.smoothness + 1e-9
    assert float(jnp.abs(curvatures).max()) >= 0.99 * constants.smoothness
    if constants.strong_convexity is not None:
        assert float(curvatures.min()) >= constants.strong_convexity - 1e-9
    if constants.grad_second_moment is not None:
        moment = jnp.sum(slopes**2, axis=1).max() + constants.grad_variance
        assert float(moment) <= constants.grad_second_moment + 1e-12
    if constants.optimum is not None:
        value, slope = jax.value_and_grad(two_samples.objective)(jnp.asarray(constants.optimum), coefficients)
        assert float(value) == pytest.approx(constants.optimal_value, abs=1e-15)
        assert float(jnp.abs(slope).max()) == 0


def test_seeds_share_the_schedule_and_differ_in_their_samples():
    """Sampled runs agree in workers and staleness and differ in gradients, for parameters that are a tree."""
    problem = Problem(
        oracle=_noisy_tree_oracle,
        init=_tree_start,
        data=(),
        objective=_tree_objective,
        evaluate=dict,
        constants=Constants(),
        num_workers=3,
    )
    algorithm = parameter_server_sgd.build(problem.oracle, num_workers=3, step_size=0.1)
    run = trajectory.sampled(algorithm, problem, num_steps=6, num_seeds=8)
    assert run.params.shape == (8, 7, 3)
    assert run.views.dtype == np.float64
    assert hypotheses.is_oblivious(run).holds
    assert len(np.unique(run.grads[:, 0, 0, 0])) == 8
    np.testing.assert_allclose(run.view_slopes, run.views, rtol=1e-13)
    np.testing.assert_allclose(run.values, 0.5 * trajectory.norms_sq(run.params), rtol=1e-13)
    assert len(np.unique(run.workers)) == 3


def _tree_start(key):
    return {"a": jnp.ones(2), "b": jnp.ones(())}


def _tree_objective(params, data):
    return 0.5 * (jnp.sum(params["a"] ** 2) + params["b"] ** 2)


def _noisy_tree_oracle(keys, views, data, workers):
    noise = jax.vmap(lambda key: jax.random.normal(key, ()))(keys)
    grads = {"a": views["a"] + noise[:, None], "b": views["b"] + noise}
    return noise, grads


def test_a_schedule_that_looks_at_samples_is_not_oblivious():
    """Dropping gradients by their sign makes the weights depend on the samples."""
    runs = {
        is_adaptive: trajectory.every_path(
            planted.dropping_sgd(two_samples.oracle, num_workers=2, step_size=0.1, is_adaptive=is_adaptive),
            {"at_optimum": OBJECTIVES["at_optimum"]},
            max_tosses=4,
        )["at_optimum"]
        for is_adaptive in (False, True)
    }
    assert hypotheses.is_oblivious(runs[False]).holds
    assert not hypotheses.is_oblivious(runs[True]).holds
    assert hypotheses.is_parallel(runs[False], 2, least=0.5).holds
    assert not hypotheses.is_parallel(runs[False], 2, least=1.0).holds


@pytest.mark.parametrize(
    ("build", "arguments"),
    [(k_batch_async_sgd.build, {"num_awaited": 4}), (fedbuff_sgd.build, {"num_awaited": 2, "local_steps": 2})],
)
def test_as_many_gradients_as_workers_are_no_parallel_step(build, arguments):
    """Four gradients, some of them of the same worker, are not one of each of four."""
    problem = quadratic.build(num_workers=4, dim=2, noise=1.0)
    runs = {}
    for name, make, given in (("whoever comes", build, arguments), ("all", synchronous_sgd.build, {})):
        algorithm = make(problem.oracle, num_workers=4, step_size=0.1, **given)
        runs[name] = trajectory.sampled(algorithm, problem, num_steps=4, num_seeds=2)
        assert runs[name].num_active == 4
    assert hypotheses.is_parallel(runs["all"], 4, least=1.0).holds
    found = hypotheses.is_parallel(runs["whoever comes"], 4, least=0.5)
    assert not found.holds
    assert "several of one worker" in found.detail


def test_biased_gradients_are_found(paths):
    """Noise with a conditional mean of 1e-6 after a single past is not unbiased."""
    run = paths["quadratic"]
    assert hypotheses.is_unbiased(run).holds
    biased = run.grads.copy()
    biased[:8, 1] += 1e-6
    assert not hypotheses.is_unbiased(run._replace(grads=biased)).holds


def test_momentum_and_lost_mass_are_not_plain_sgd():
    """A compressor without memory loses updates: the hypotheses of the theorems say so."""
    algorithm = synchronous_sgd.build(
        two_samples.oracle, num_workers=2, step_size=STEP_SIZE, compressor=compressors.top_k(0.25)
    )
    run = trajectory.every_path(algorithm, {"quadratic": OBJECTIVES["quadratic"]}, max_tosses=4)["quadratic"]
    assert not hypotheses.is_plain(run, STEP_SIZE).holds
    assert not hypotheses.is_model(run, STEP_SIZE).holds


def test_a_second_moment_is_never_estimated_from_what_is_tested(paths):
    """The moment of a sample of paths is refused; that of all paths is max_t E‖G_t‖²."""
    run = paths["linear"]
    with pytest.raises(ValueError, match="estimate"):
        trajectory.exact_second_moment(run._replace(is_exact=False))
    assert trajectory.exact_second_moment(run) == pytest.approx(4.0)


def test_a_failed_hypothesis_is_skipped_before_anything_is_compared():
    """The comparison of a skipped statement is not even called."""

    def never():
        raise AssertionError

    assumed = [record.Hypothesis("α small", False, "α = 9")]
    check = record.judge("X", "form", "upper", "here", assumed, never, seeds=1, is_exact=True, steps=1)
    assert check.verdict == "skipped"
    assert check.reason == "not α small (α = 9)"


def test_the_two_constants_of_error_feedback_touch_at_one_point():
    """b(γ) equals the paper's constant at γ = ((√5 - 1) / 2)² and is smaller elsewhere."""
    tight, paper = consistency.error_feedback.minkowski_constant, consistency.error_feedback.paper_constant
    touching = ((5**0.5 - 1) / 2) ** 2
    assert tight(touching) == pytest.approx(paper(touching), rel=1e-12)
    others = [lost for lost in np.linspace(0.01, 0.99, 99) if abs(lost - touching) > 1e-3]
    assert all(tight(lost) < paper(lost) for lost in others)
