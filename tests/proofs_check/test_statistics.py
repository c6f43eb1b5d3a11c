"""The comparison of means: what it accepts, what it rejects, and how often it errs."""

import math

import numpy as np
import pytest

from proofs_check import statistics


def test_the_band_is_the_bonferroni_bound():
    """z² / 2 = log(N / 0.01), so that N two-sided Gaussian tests together err with probability below 1 %."""
    assert statistics.band(1000) == pytest.approx(math.sqrt(2 * math.log(1e5)))
    tail = 0.5 * math.erfc(statistics.band(1000) / math.sqrt(2))
    assert 1000 * 2 * tail < 0.01


def test_the_standard_error_is_that_of_a_mean():
    """Of 10 000 standard normal numbers it is 0.01 to a few per cent; of one number it is infinite."""
    values = np.random.default_rng(0).standard_normal((10_000, 3))
    np.testing.assert_allclose(statistics.standard_error(values), 0.01, rtol=0.05)
    assert np.isinf(statistics.standard_error(values[:1])).all()


def test_equal_means_are_rejected_less_often_than_promised():
    """At the boundary, E measured = E claimed, fewer than 1 % of 500 experiments of 20 tests call it violated."""
    generator = np.random.default_rng(1)
    rejected = sum(
        not statistics.at_most(generator.standard_normal((256, 20)) + 5, 5.0, is_exact=False).holds for _ in range(500)
    )
    assert rejected <= 5


def test_a_difference_beyond_the_band_is_rejected():
    """A mean that exceeds the claim by 8 standard errors in one place of 20 is found, and the place is named."""
    values = np.random.default_rng(2).standard_normal((256, 4, 5)) + 5
    values[:, 2, 3] += 8 / math.sqrt(256)
    found = statistics.at_most(values, 5.0, is_exact=False)
    assert not found.holds
    assert found.where == "t = 2, i = 3"
    assert found.slack < -4


def test_means_that_differ_are_told_from_those_that_do_not():
    """Equal means pass but for 1 % of samples; 8 standard errors, up or down, do not; nor does a sure difference."""
    generator = np.random.default_rng(4)
    rejected = sum(not statistics.same_mean(generator.standard_normal((256, 20)) + 5, 5.0).holds for _ in range(500))
    assert rejected <= 5
    for shift in (-0.5, 0.5):
        values = generator.standard_normal((256, 4, 5)) + 5
        values[:, 2, 3] += shift
        found = statistics.same_mean(values, 5.0)
        assert not found.holds
        assert found.where == "t = 2, i = 3"
    sure = np.zeros((256, 2))
    assert statistics.same_mean(sure + 1, 1 + 1e-12).holds
    assert not statistics.same_mean(sure + 1, 1 + 1e-8).holds
    assert statistics.same_mean(sure, 0.0, scale=1.0).is_vacuous
    assert statistics.same_mean(np.ones((1, 2)), 2.0).is_vacuous


def test_pairing_cancels_what_both_sides_share():
    """With a common term of size 1000 a difference of 0.1 is still seen, which unpaired errors would hide."""
    generator = np.random.default_rng(3)
    common = 1000 * generator.standard_normal((256, 1))
    small = 0.01 * generator.standard_normal((256, 1))
    assert not statistics.at_most(common + 0.1 + small, common, is_exact=False).holds
    assert statistics.at_most(common - 0.1 + small, common, is_exact=False).holds


def test_exact_expectations_allow_for_rounding_only():
    """Where the rows are all runs there are, an excess of 1e-8 is a violation, of 1e-12 it is rounding."""
    values = np.array([[0.0], [2.0]])
    assert statistics.at_most(values, 1.0 - 1e-12, is_exact=True).holds
    assert not statistics.at_most(values, 1.0 - 1e-8, is_exact=True).holds
    assert statistics.at_most(values, 1.0 - 1e-8, is_exact=False).holds


def test_the_tightest_ratio_and_its_place_are_told():
    """Of the ratios 1/4, 3/4, 1/2 the second is told with its sides."""
    found = statistics.at_most(np.array([[1.0, 3.0, 2.0]]), 4.0, is_exact=True, axes=("t",))
    assert (found.measured, found.claimed, found.ratio, found.where) == (3.0, 4.0, 0.75, "t = 1")


@pytest.mark.parametrize(
    ("measured", "claimed"), [(np.zeros((2, 3)), 0.0), (np.ones((2, 3)), np.inf), (np.zeros((0, 3)), 1.0)]
)
def test_what_could_not_fail_is_vacuous(measured, claimed):
    """Both sides zero, an infinite bound, nothing measured."""
    assert statistics.at_most(measured, claimed, is_exact=True).is_vacuous


def test_something_against_a_bound_of_zero_is_violated_not_vacuous():
    """A bound of zero is a claim like any other."""
    found = statistics.at_most(np.full((2, 3), 1e-3), 0.0, is_exact=True)
    assert not found.holds
    assert not found.is_vacuous


def test_a_nan_is_never_passed():
    """NaN on either side, of either comparison, is a violation."""
    bad = np.array([[1.0, np.nan]])
    assert not statistics.at_most(bad, 2.0, is_exact=True).holds
    assert not statistics.at_most(np.ones((1, 2)), bad, is_exact=True).holds
    assert not statistics.equal(bad, np.ones((1, 2))).holds


def test_equality_is_to_rounding():
    """A residual of 1e-12 of the scale is rounding, of 1e-8 it is not; two zeros compare nothing."""
    left = np.array([1.0, 1e3])
    assert statistics.equal(left, left + 1e-9).holds
    assert not statistics.equal(left, left + 1e-5).holds
    assert statistics.equal(np.zeros(3), np.zeros(3)).is_vacuous
