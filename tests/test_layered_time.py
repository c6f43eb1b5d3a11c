"""The time model of layers against schedules worked out by hand."""

import numpy as np
import pytest

from experiments import layered_time
from experiments.layered_time import Layers


def layers(forward, backward, link) -> Layers:
    """Three layers with the same seconds each."""
    return Layers(*(np.full(3, float(seconds)) for seconds in (forward, backward, link)))


THREE = layers(1, 1, 2)
"""Gradients are made 3, 2 and 1 s after the backward pass begins, the first layer's last."""


def test_the_link_sends_one_layer_at_a_time_in_the_order_made():
    """The last layer from 1 to 3, the middle one to 5, the first to 7."""
    assert layered_time.made_at(THREE).tolist() == [3, 2, 1]
    assert layered_time.arrivals(THREE, layered_time.made_at(THREE)).tolist() == [7, 5, 3]


def test_a_link_that_sends_what_is_needed_first_takes_the_first_layer_as_soon_as_it_is_made():
    """At 3 the link is free and the first layer made: it goes before the middle one, which was made earlier."""
    came = layered_time.arrivals(THREE, layered_time.made_at(THREE), needed_first=True)
    assert came.tolist() == [5, 7, 3]


def test_a_busy_link_delays_and_an_idle_one_waits():
    quick = layers(1, 1, 0.5)
    assert layered_time.arrivals(quick, layered_time.made_at(quick)).tolist() == [3.5, 2.5, 1.5]
    assert layered_time.arrivals(quick, layered_time.made_at(quick), link_free=4.0).tolist() == [5.5, 5, 4.5]


def test_plain_waits_for_the_last_message_and_then_computes():
    """All have come at 7, and the forward pass takes 3."""
    assert layered_time.plain(THREE) == 10
    assert layered_time.plain(layers(1, 1, 0)) == 6


def test_in_the_order_made_the_cross_barrier_gains_nothing():
    """What it needs first comes last."""
    assert layered_time.cross_barrier(THREE, needed_first=False) == layered_time.plain(THREE) == 10


def test_the_cross_barrier_computes_a_layer_while_the_next_is_sent():
    """Forward: the first layer from 5 to 6, the second from 7, when it has come, to 8, the third to 9."""
    assert layered_time.cross_barrier(THREE) == 9


def test_layers_of_unequal_cost():
    """Made at 5, 4 and 3; sent from 3 to 4, 4 to 8, and 8 to 9; needed first: the middle one is not interrupted."""
    unequal = Layers(np.array([1.0, 2.0, 1.0]), np.array([1.0, 1.0, 3.0]), np.array([1.0, 4.0, 1.0]))
    assert layered_time.arrivals(unequal, layered_time.made_at(unequal)).tolist() == [9, 8, 4]
    assert layered_time.plain(unequal) == 9 + 4
    assert layered_time.cross_barrier(unequal) == 9 + 4


def test_elastic_that_waits_for_all_is_plain():
    np.testing.assert_allclose(layered_time.elastic(THREE, [3] * 5), layered_time.plain(THREE))


def test_elastic_that_waits_for_one_layer_goes_on_when_its_backward_pass_is_over():
    """Backward ends at 6, when the first message is in.

    The next round finds the link busy until 10; its first message comes at 12, when its backward pass ends, too.
    """
    assert layered_time.elastic(THREE, [1, 1]).tolist() == [6, 6]


def test_elastic_that_waits_for_two_layers_waits_for_the_link():
    """The second message comes at 8; that of the next round, made at 13, follows two others on the link: at 16."""
    assert layered_time.elastic(THREE, [2, 2]).tolist() == [8, 8]


def test_no_message_is_later_than_one_round():
    """Waiting for none: the link, with 9 s of messages for 6 s of computing, sets the pace once it is behind."""
    slow = layers(1, 1, 3)
    assert layered_time.elastic(slow, [0, 0, 0, 0]).tolist() == [6, 7, 9, 9]


def test_waiting_for_more_never_takes_less():
    times = [layered_time.elastic(THREE, [awaited] * 10).mean() for awaited in range(4)]
    assert times == sorted(times)


@pytest.mark.parametrize("link", [0.0, 0.3, 1.0, 3.0])
def test_nothing_is_faster_than_computing_or_than_the_link(link):
    random = np.random.default_rng(0)
    some = Layers(*random.uniform(0.1, 1.0, (2, 6)), link * random.uniform(0.1, 1.0, 6))
    least = max(some.forward.sum() + some.backward.sum(), some.link.sum())
    for awaited in range(7):
        durations = layered_time.elastic(some, [awaited] * 40)
        assert durations[20:].mean() >= least * (1 - 1e-12)
        assert durations.max() <= layered_time.plain(some) * (1 + 1e-12)
    for needed_first in (False, True):
        assert layered_time.cross_barrier(some, needed_first=needed_first) <= layered_time.plain(some) * (1 + 1e-12)
