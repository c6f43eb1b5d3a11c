"""AdaSync waits for as many as its rule says; between two changes it is the algorithm that waits in that way."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from elastic_jax import algorithms, clocks, oracles, schedules

N = 5
SPEEDS = clocks.per_worker(clocks.constant(), (1.0, 1.37, 0.71, 2.1, 0.53))
TARGETS = jnp.asarray(np.random.default_rng(3).normal(size=(N, 2)))
KEY = jax.random.key(0)


def loss(params, target):
    return 0.5 * jnp.sum((params - target) ** 2)


def updates_of(algorithm, num_steps, data=TARGETS):
    """(x, seconds, K) after each update, of arrivals that complete one."""
    step = jax.jit(algorithm.step)
    state, now, found = algorithm.init(KEY, jnp.ones(2)), 0.0, []
    for t in range(num_steps):
        state, info = step(jax.random.fold_in(KEY, t), state, data)
        now += float(info.elapsed)
        if info.weights[0] > 0:
            found.append((np.asarray(algorithm.global_params(state)), now, int(getattr(state, "num_awaited", 0))))
    return found


@pytest.mark.parametrize("num_awaited", [1, 2, 5])
@pytest.mark.parametrize("waiting", schedules.growing.RULES)
def test_between_changes_of_k_it_is_the_algorithm_that_waits_so(waiting, num_awaited):
    """The same x at the same seconds, arrival by arrival there, update by update here; times without coins."""
    shared = {"num_workers": N, "step_size": 0.1, "num_awaited": num_awaited, "clock": SPEEDS}
    oracle = oracles.from_loss(loss)
    fixed = algorithms.variant(f"{waiting}_sgd").build(oracle, **shared)
    growing = algorithms.variant("adasync_sgd").build(oracle, waiting=waiting, window=1e9, **shared)
    expected, found = updates_of(fixed, 12), updates_of(growing, 12 * num_awaited)
    assert len(found) == 12
    np.testing.assert_allclose([x for x, *_ in found], [x for x, *_ in expected], atol=1e-6)
    np.testing.assert_allclose([now for _, now, _ in found], [now for _, now, _ in expected], rtol=1e-5)
    assert len({tuple(x) for x, *_ in found}) > 2


@pytest.mark.parametrize("waiting", schedules.growing.RULES)
def test_k_grows_as_the_loss_falls_without_compiling_anew(waiting):
    """K never falls, is what the rule says of the loss after each window, and one program is enough."""
    traces = []

    def counted(params, target):
        traces.append(0)
        return loss(params, target)

    algorithm = algorithms.variant("adasync_sgd").build(
        oracles.from_loss(counted), num_workers=N, step_size=0.05, waiting=waiting, window=2.0
    )
    rule = schedules.growth(clocks.exponential(), N, rule=waiting)
    step, state = jax.jit(algorithm.step), algorithm.init(KEY, jnp.full(2, 5.0))
    data = jnp.zeros((N, 2))
    step(KEY, state, data)
    num_traces, last, seconds, looks = len(traces), 1, 0.0, 0
    for t in range(150):
        state, info = step(jax.random.fold_in(KEY, t), state, data)
        seconds += float(info.elapsed)
        if info.weights[0] > 0 and seconds >= 2.0 and t > 0:
            value = jnp.float32(loss(state.params, data[0]))
            last, seconds, looks = int(rule.awaited(jnp.float32(25.0), value, jnp.int32(last))), 0.0, looks + 1
        assert int(state.num_awaited) == last
    assert len(traces) == num_traces
    assert looks > 3
    assert last > 2


def test_only_gradients_that_are_used_are_computed():
    """One gradient in an arrival; all losses are in a branch that is taken once in a window."""
    rows = []

    def oracle(keys, views, data, workers):
        rows.append(workers.shape[0])
        return jnp.cosh(views[:, 0]), views

    algorithm = algorithms.variant("adasync_sgd").build(oracle, num_workers=N)
    jaxpr = jax.make_jaxpr(algorithm.step)(KEY, algorithm.init(KEY, jnp.ones(2)), ())
    assert rows == [1, N]
    assert sum(each.primitive.name == "cosh" for each in jaxpr.eqns) == 1
    assert sum(each.primitive.name == "cond" and " = cosh " in str(each) for each in jaxpr.eqns) == 1


def root(rule, k0, p, ratio, shape=1.0):
    """The printed rules, for a real K."""
    if "batch" in rule:
        return k0 * math.sqrt(ratio)
    if shape == 1.0:
        c = k0**2 / (p - k0) * ratio
        return (-c + math.sqrt(c * c + 4 * c * p)) / 2
    cost = lambda k: 2 * math.log(k) - (1 + 1 / shape) * math.log(p - k)  # noqa: E731
    return optimize.brentq(lambda k: cost(k) - cost(k0) - math.log(ratio), 1e-9, p - 1e-12)


@pytest.mark.parametrize(
    ("clock", "rule", "shape"),
    [
        (clocks.exponential(), "k_batch_sync", 1.0),
        (clocks.gamma(3.0), "k_batch_async", 1.0),
        (clocks.exponential(3.0), "k_sync", 1.0),
        (clocks.shifted_exponential(), "k_async", 1.0),
        (clocks.pareto(2.0), "k_sync", 2.0),
    ],
)
def test_the_rules_are_the_closed_forms_rounded_and_clipped(clock, rule, shape):
    """At 200 ratios of losses, for several K_0 and P."""
    for p, k0 in ((8, 1), (8, 3), (20, 2), (40, 39)):
        grown = schedules.growth(clock, p, k0, rule=rule)
        for ratio in np.random.default_rng(p).uniform(1.0, 30.0, size=50):
            wanted = max(k0, min(p, math.floor(root(rule, k0, p, ratio, shape) + 0.5)))
            assert int(grown.awaited(jnp.float32(ratio), jnp.float32(1.0), jnp.int32(k0))) == wanted


def test_other_clocks_have_the_minimum_of_the_bound_over_integers_to_one():
    """Where the mean of the order statistic has no slope in closed form: against the bound itself, K by K."""
    for clock in (
        clocks.gamma(3.0),
        clocks.uniform(),
        clocks.weibull(1.7),
        clocks.hyperexponential((1.0, 9.0), (0.9, 0.1)),
    ):
        p, k0 = 12, 3
        grown = schedules.growth(clock, p, k0, rule="k_sync")
        times = np.array([clocks.mean_of_kth(clock, k, p) for k in range(1, p + 1)])
        noise = k0**2 * (times[k0] - times[k0 - 2]) / 2  # with which K_0 is best where F = F_0 = 1
        ks = np.arange(1, p + 1)
        for ratio in (1.0, 1.5, 3.0, 6.0, 12.0, 40.0):
            best = int(ks[np.argmin(times / ratio + noise / ks)])
            found = int(grown.awaited(jnp.float32(ratio), jnp.float32(1.0), jnp.int32(k0)))
            assert abs(found - best) <= 1, (clock, ratio)
        assert found > k0


@pytest.mark.parametrize(
    ("first", "now", "wanted"),
    [
        (1.0, math.nan, 2),
        (1.0, 0.0, 8),
        (1.0, -1.0, 8),
        (0.0, 0.0, 2),
        (1.0, math.inf, 2),
        (1.0, 2.0, 2),
        (1.0, 1e-30, 8),
    ],
)
def test_losses_that_are_none(first, now, wanted):
    """NaN and growing losses leave K; a loss of 0 asks for all."""
    grown = schedules.growth(clocks.exponential(), 8, 2)
    assert int(grown.awaited(jnp.float32(first), jnp.float32(now), jnp.int32(2))) == wanted


def test_waiting_for_all_costs_nothing_where_all_are_done_together():
    """Equal times: K is n at the first look."""
    grown = schedules.growth(clocks.constant(), 6, 2, rule="k_sync")
    assert int(grown.awaited(jnp.float32(1.0), jnp.float32(1.0), jnp.int32(2))) == 6


def test_what_is_infinite_is_named():
    heavy = clocks.per_worker(clocks.pareto(0.15), (1.0, 2.0, 3.0, 4.0))
    with pytest.raises(ValueError, match=r"^clock = one of which E X_\{K:P\} is infinite for K = 2, P = 4"):
        schedules.growth(heavy, 4, 1, rule="k_sync")
    with pytest.raises(ValueError, match=r"^clock = recorded times"):
        schedules.growth(clocks.recorded([[1.0]] * 4), 4, 1, rule="k_async")
    with pytest.raises(ValueError, match=r"^num_awaited = 5"):
        schedules.growth(clocks.exponential(), 4, 5)
    with pytest.raises(ValueError, match=r"^waiting = 'k_fresh'"):
        algorithms.variant("adasync_sgd").build(oracles.from_loss(loss), num_workers=4, waiting="k_fresh")
