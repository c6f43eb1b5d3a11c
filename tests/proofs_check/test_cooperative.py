"""How the rows of a run are mixed is told from arguments, and every mixing of the library is tried."""

import importlib.util
import inspect

import numpy as np
import pytest

from elastic_jax import algorithms, mixings, topologies
from proofs_check import mixed, settings, two_samples
from proofs_check.cooperative import late_averages, mixing_rate, noise, planted, rows, runs
from proofs_check.cooperative_rates import network


def build(variant, **given):
    return algorithms.variant(variant).build(two_samples.oracle, num_workers=4, step_size=0.1, **given)


def test_every_constructor_of_mixings_is_tried():
    """A new mixing without a place in CO:P1 is noticed."""
    made = {
        name
        for name, function in vars(mixings).items()
        if inspect.isfunction(function) and inspect.signature(function).return_annotation == "Mixing"
    }
    assert {name.partition(",")[0] for name in mixing_rate.MIXINGS} == made - {"check"}


@pytest.mark.parametrize(
    ("variant", "given", "expected"),
    [
        ("local_sgd", {"period": 3}, mixings.average(4)),
        ("local_sgd", {"period": 3, "num_sampled": 4}, mixings.average(4)),
        ("local_sgd", {"period": 3, "num_sampled": 2}, mixings.sampled(4, 2)),
        ("federated_averaging_sgd", {"period": 3}, mixings.average(4)),
        ("elastic_averaging_sgd", {"period": 3, "elasticity": 0.3}, mixings.elastic(4, 0.3)),
        ("gossip_sgd", {"period": 3, "mixing": mixings.pairs(topologies.ring(4))}, mixings.pairs(topologies.ring(4))),
    ],
)
def test_the_matrix_is_told_from_arguments(variant, given, expected):
    """Its number of rows, p and the period are what the special case has."""
    found = mixed.of(build(variant, **given))
    assert found.period == 3
    assert (found.mixing.num_rows, found.mixing.contraction) == (expected.num_rows, expected.contraction)


@pytest.mark.parametrize(
    ("variant", "given"),
    [
        ("synchronous_sgd", {}),
        ("federated_averaging_sgd", {"num_sampled": 2}),
        ("asynchronous_elastic_averaging_sgd", {}),
        ("local_sgd", {"worker_weights": [1, 2, 3, 4]}),
        ("local_sgd", {"period": [1, 2, 3, 4]}),
        ("overlap_local_sgd", {}),
        ("outer_optimizer_sgd", {}),
    ],
)
def test_rows_that_no_doubly_stochastic_matrix_mixes_are_told(variant, given):
    """A server that overwrites, an anchor met by one at a time, unequal weights or periods: None."""
    assert mixed.of(build(variant, **given)) is None


def test_a_step_without_gradients_applies_the_declared_matrix():
    """Unit vectors become the rows of W; a mixing that is due one step late does not give it."""
    algorithm = build("gossip_sgd", mixing=mixings.around_ring, period=2)
    keys, expected = rows.keys(num_runs=1, num_steps=2), mixings.around_ring(4).constant_matrix
    seen = mixed.without_grads(algorithm, np.eye(4), keys)[0]
    np.testing.assert_allclose(seen, [np.eye(4), np.eye(4), expected], atol=1e-15)
    late = mixed.without_grads(planted.late_mixing(algorithm), np.eye(4), keys, first=1)[0]
    assert not np.allclose(late[1], expected)


def test_any_two_coins_of_the_orthogonal_array_take_all_values_equally_often():
    """And each is fair, so that second moments are those over all paths."""
    table = noise._hadamard(noise.NUM_PATHS)[:, 1:]
    np.testing.assert_array_equal(table.T @ table, noise.NUM_PATHS * np.eye(noise.NUM_PATHS - 1))
    assert not table.sum(axis=0).any()


def test_all_settings_say_how_their_rows_are_mixed():
    """With and without auxiliary rows, in every step and not, at once and combined first; no part is for nobody."""
    found = [mixed.known(algorithm) for _, algorithm in runs.every()]
    for each in (lambda f: f.num_auxiliary > 0, lambda f: f.period > 1, lambda f: f.combines_first):
        assert {each(one) for one in found} == {True, False}
    labels = {setting.name.partition(" (")[2].rstrip(")") for setting, _ in runs.every()}
    assert labels - {""} == set(runs.PARTS)
    assert len(settings.every(runs.PARTS)) > len(found)


def test_the_late_averages_of_both_kinds_are_found():
    """Of those with an anchor one has momentum; a sibling keeps where rounds began."""
    kinds = (late_averages.is_drawn, late_averages.starts_over)
    found = [a for _, a in runs._meant(late_averages.is_late, late_averages.PARTS)]
    assert {tuple(kind(algorithm) for kind in kinds) for algorithm in found} == {(True, False), (False, True)}
    assert any(late_averages.has_momentum(algorithm) for algorithm in found if late_averages.is_drawn(algorithm))


@pytest.mark.parametrize("period", [1, 3])
def test_what_is_drawn_is_bounded_as_one_matrix_of_the_same_p_is(period):
    """N and k of W drawn with p over one mixing are those of one W with ζ² = 1 - p."""
    ring = mixings.around_ring(8)
    one = mixed.Mixed(ring, period, 0, False)
    drawn = one._replace(mixing=mixings.pairs(topologies.ring(8))._replace(contraction=ring.contraction))
    assert network.zeta(drawn) is None
    assert network.noise(drawn) == pytest.approx(network.noise(one))
    assert network.length(drawn) == pytest.approx(network.length(one))


def test_a_mixing_without_its_solver_is_skipped_and_says_so(monkeypatch):
    """Without cvxpy the best rates of MATCHA are not tried."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for check in mixing_rate._of_named("matcha, optimal", 4):
        assert check.verdict == "skipped"
        assert "cvxpy" in check.reason
