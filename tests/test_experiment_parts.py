"""What experiments share: bands over seeds, folders that lose nothing, predicted floors, problems side by side."""

import itertools
import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot as plt

from elastic_jax import compressors
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.problems import nonconvex_logistic, quadratic
from experiments import bands, figures, full_gradients, identical_workers, noise_floors, record, tables


@pytest.fixture(scope="module")
def samples():
    """Mean squares of five gaussians, [400 repetitions, 12 seeds, 3]: mean 1."""
    return np.mean(np.random.default_rng(0).normal(size=(400, 12, 3, 5)) ** 2, axis=3)


def coverage(found, truth):
    """How often the truth is in a band."""
    return np.mean([(band.low <= truth) & (truth <= band.high) for band in found])


def test_bands_hold_the_truth_as_often_as_they_say(samples):
    """95 %, less what skewed samples cost; a simultaneous band holds for all of many at once."""
    assert 0.91 <= coverage([bands.of_mean(values) for values in samples], 1.0) <= 0.98
    assert 0.91 <= coverage([bands.of_root_mean(values) for values in samples], 1.0) <= 0.98
    slopes = [bands.of_slope(np.array([1.0, 2.0, 4.0]), values) for values in samples]
    assert 0.91 <= coverage(slopes, 0.0) <= 0.98
    # not so often if a band is cut to half
    halves = [bands.Band(b.middle, (b.middle + b.low) / 2, (b.middle + b.high) / 2) for b in slopes]
    assert coverage(halves, 0.0) < 0.85
    level = bands.simultaneous(3)
    whole = [bands.of_root_mean(values, level) for values in samples]
    assert np.mean([np.all((band.low <= 1.0) & (band.high >= 1.0)) for band in whole]) > 0.9


def test_simultaneous_bands_are_as_wide_as_bonferroni_has_them():
    assert bands.simultaneous(1) == pytest.approx(bands.LEVEL)
    assert bands.simultaneous(100) == pytest.approx(1 - 0.05 / 100)


def test_a_band_on_a_logarithmic_axis_stays_above_zero():
    """Where one seed has nearly all, a band of the mean goes below 0; where it has all, nothing is known below."""
    squares = np.array([[1.0, 1.0], [1e-3, 0.0], [1e-3, 0.0]])
    assert bands.of_mean(squares).low[0] < 0
    band = bands.of_root_mean(squares)
    assert 0 < band.low[0] < band.middle[0] < band.high[0]
    assert band.low[1] == 0
    assert bands.of_root_mean(np.zeros((3, 1))).high == 0


def test_one_seed_has_no_band():
    for band in (bands.of_mean(np.ones((1, 2))), bands.of_root_mean(np.ones((1, 2)))):
        assert np.all(band.middle == 1)
        assert np.all(np.isnan([band.low, band.high]))
    assert np.isnan(bands.of_slope(np.array([1.0, 2.0]), np.array([[1.0, 2.0]])).low)
    assert np.isnan(bands.of_positive(np.sum, np.ones((1, 2))).low)


def test_a_slope_between_two_points_is_the_logarithm_of_their_ratio(samples):
    values = samples[0][:, :2]
    slope = bands.of_slope(np.array([1.0, np.e]), values)
    ratio = bands.of_positive(lambda means: float(means[1] / means[0]), values)
    np.testing.assert_allclose(np.exp(slope), ratio, rtol=1e-12)


@dataclass(frozen=True)
class Config:
    """Of a run folder."""

    size: int = 1


def test_an_interrupted_folder_keeps_what_is_done_and_nothing_half_done(tmp_path):
    """Ctrl-C in the third piece: the first two are not computed again, the third is."""
    calls = []

    def compute(name, fails=False):
        calls.append(name)
        if fails:
            raise KeyboardInterrupt
        return {"values": np.arange(3.0)}

    record.open_folder(tmp_path, Config(), size="smoke")
    for name in "ab":
        record.kept(tmp_path, name, lambda name=name: compute(name))
    with pytest.raises(KeyboardInterrupt):
        record.kept(tmp_path, "c", lambda: compute("c", fails=True))
    (tmp_path / record.PIECES / "d.unfinished").write_bytes(b"half")
    record.open_folder(tmp_path, Config(), size="smoke")
    for name in "abcd":
        found = record.kept(tmp_path, name, lambda name=name: compute(name))
        assert list(found) == ["values"]
        np.testing.assert_array_equal(found["values"], np.arange(3.0))
    assert calls == ["a", "b", "c", "c", "d"]
    assert record.seconds(tmp_path) > 0


def test_a_folder_of_another_configuration_is_refused(tmp_path):
    record.open_folder(tmp_path, Config(), size="smoke")
    with pytest.raises(ValueError, match=r"size = 1 there, 2 now; give another --run-dir"):
        record.open_folder(tmp_path, Config(size=2), size="smoke")
    assert json.loads((tmp_path / record.CONFIG).read_text())["size"] == 1


def simulated(curvature, num_workers, step_size, delay, seed=0, num_steps=200_000):
    """Mean of (a x)² where a worker lacks what the others sent in the last `delay` steps."""
    noise = np.random.default_rng(seed).normal(size=(num_steps, num_workers))
    x, total = 0.0, 0.0
    sent = np.zeros((delay, num_workers)) if delay else np.zeros((1, num_workers))
    for step in range(num_steps):
        lacked = sent.sum() - sent.sum(axis=0) if delay else np.zeros(num_workers)
        grads = curvature * (x + step_size / num_workers * lacked) + noise[step]
        sent[step % len(sent)] = grads
        x -= step_size * grads.mean()
        total += (curvature * x) ** 2
    return total / num_steps


@pytest.mark.parametrize(("num_workers", "delay"), [(1, 3), (3, 0), (3, 4)])
def test_late_messages_have_the_predicted_floor(num_workers, delay):
    """Against a simulation worker by worker; 200,000 steps leave 2 %. The floor of another delay is 10 % away."""
    coordinates = (np.array([0.5]), np.array([1.0]))
    predicted = noise_floors.late(coordinates, num_workers=num_workers, step_size=0.3, delay=delay)
    measured = simulated(0.5, num_workers, 0.3, delay)
    assert measured == pytest.approx(predicted, rel=0.03)
    if num_workers > 1:
        other = noise_floors.late(coordinates, num_workers=num_workers, step_size=0.3, delay=delay + 1)
        assert measured != pytest.approx(other, rel=0.03)


def test_floors_that_are_known_in_closed_form():
    """Synchronous SGD: α a s / (2 - α a) / n; one worker is never late; an unstable recursion has no floor."""
    curvatures, variances = np.array([0.1, 0.7, 1.0]), np.array([1.0, 2.0, 3.0])
    exact = np.sum(0.2 * curvatures * variances / (2 - 0.2 * curvatures))
    for num_workers in (1, 5):
        found = noise_floors.late((curvatures, variances), num_workers=num_workers, step_size=0.2, delay=0)
        assert found * num_workers == pytest.approx(exact)
    assert noise_floors.late((curvatures, variances), num_workers=1, step_size=0.2, delay=7) == pytest.approx(exact)
    assert noise_floors.server((curvatures, variances), num_workers=1, step_size=0.2) == pytest.approx(exact)
    with pytest.raises(ValueError, match="unstable"):
        noise_floors.late((curvatures, variances), num_workers=4, step_size=0.5, delay=8)


def test_a_server_has_the_predicted_floor():
    """Against a simulation of n workers of which any is the next; synchronous SGD's floor is 9 % lower."""
    rng, num_workers, step = np.random.default_rng(1), 4, 0.25
    views, x, total, num_steps = np.zeros(num_workers), 0.0, 0.0, 400_000
    workers, noise = rng.integers(num_workers, size=num_steps), rng.normal(size=num_steps)
    for worker, draw in zip(workers, noise, strict=True):
        x -= step * (0.5 * views[worker] + draw)
        views[worker] = x
        total += (0.5 * x) ** 2
    coordinates = (np.array([0.5]), np.array([1.0]))
    predicted = noise_floors.server(coordinates, num_workers=num_workers, step_size=num_workers * step)
    assert total / num_steps == pytest.approx(predicted, rel=0.03)
    synchronous = noise_floors.late(coordinates, num_workers=num_workers, step_size=num_workers * step, delay=0)
    assert predicted > 1.05 * synchronous


def test_curvatures_and_noise_at_a_minimum():
    """The trace of the noise is the variance that the problem enumerates; a quadratic's are its own."""
    problem = nonconvex_logistic.build(num_workers=1, dim=4, num_examples=32)
    curvatures, variances = noise_floors.near_minimum(problem)
    assert np.all(curvatures > 0)
    assert variances.sum() <= problem.constants.grad_variance
    built = quadratic.build(num_workers=3, dim=5, noise=2.0, centre_spread=0.0)
    own = noise_floors.of_quadratic(built)
    np.testing.assert_allclose(own[0], built.data["curvatures"][0])
    assert own[1].sum() == pytest.approx(4.0)


def test_a_linear_problem_has_the_second_moment_it_declares(key):
    """‖a‖² + s² = 1 for any share of noise; without noise in every sample."""
    for noise in (0.0, 0.6, 1.0):
        problem = identical_workers.linear(num_workers=500, dim=20, noise=noise)
        views = jnp.ones((500, 20))
        keys = jax.random.split(key, 500)
        losses, grads = problem.oracle(keys, views, problem.data, jnp.arange(500, dtype=jnp.int32))
        squares = np.sum(np.asarray(grads) ** 2, axis=1)
        assert squares.mean() == pytest.approx(1.0, abs=0.1 if noise else 1e-6)
        assert problem.constants.grad_variance == pytest.approx(noise**2)
        np.testing.assert_allclose(losses[0], problem.objective(views[0], problem.data), rtol=1e-6)


def test_problems_side_by_side_do_what_each_does_alone(key):
    alone = {
        name: identical_workers.linear(num_workers=3, dim=4, noise=noise) for name, noise in (("a", 0.0), ("b", 0.5))
    }
    together = identical_workers.side_by_side(alone)
    params = together.init(key)
    views = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), params)
    keys, workers = jax.random.split(key, 3), jnp.arange(3, dtype=jnp.int32)
    losses, grads = together.oracle(keys, views, together.data, workers)
    for name, problem in alone.items():
        own, found = problem.oracle(keys, views[name], problem.data, workers)
        np.testing.assert_array_equal(grads[name], found)
        losses = losses - own
    np.testing.assert_allclose(losses, 0.0, atol=1e-12)


def test_what_compression_without_memory_loses_shows_against_full_gradients(key):
    """Global parameters follow full gradients exactly, and views stray from them; without compression not."""
    problem = identical_workers.linear(num_workers=2, dim=8, noise=0.0)
    for compressor, strays in ((None, False), (compressors.top_k(0.25), True)):
        inner = synchronous_sgd.build(problem.oracle, num_workers=2, step_size=0.1, compressor=compressor)
        algorithm = full_gradients.tracked(inner, step_size=0.1)
        state = algorithm.init(key, problem.init(key))
        for _ in range(3):
            before = algorithm.global_params(state)
            state, info = algorithm.step(key, state, problem.data)
            moved = algorithm.global_params(state) - before
            np.testing.assert_allclose(moved, -0.1 * np.mean(info.grads, axis=0), rtol=1e-6)
            np.testing.assert_allclose(moved, np.sum(info.weights[:, None] * info.updates, axis=0), rtol=1e-6)
        assert (np.abs(info.views - before[None]).max() > 0.01) == strays


def test_ticks_have_room_and_are_plain_numbers():
    """No two labels of a small panel collide; an axis within one decade is labelled, too."""
    with figures.paper():
        figure, axes = figures.panels(1, 4, height=1.7)
        axis = axes[0, 0]
        axis.plot([0.0125, 0.025, 0.05, 0.1], [2.1, 3.0, 4.0, 8.0])
        axis.set(xscale="log", yscale="log")
        figures.plain_ticks(axis, [0.0125, 0.025, 0.05, 0.1])
        figures.plain_decades(axis)
        figure.canvas.draw()
        labels = [label for label in axis.get_xticklabels() if label.get_text()]
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
        assert len(boxes) >= 3
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
        texts = [label.get_text() for label in axis.get_yticklabels()]
        assert len(texts) >= 2
        assert set(texts) <= {"2", "3", "4", "5", "6", "8"}
        plt.close(figure)


def test_tables_have_one_content_in_all_forms(tmp_path):
    tables.save_csv(tmp_path / "points.csv", ("name", "value"), [("a", 1 / 3), ("b", None), ("c", float("nan"))])
    assert (tmp_path / "points.csv").read_text().splitlines() == ["name,value", "a,0.333333", "b,", "c,"]
    assert tables.as_markdown(("", "x"), [("a", "1")]) == "|  | x |\n| --- | ---: |\n| a | 1 |\n"
    assert tables.with_band(bands.Band(*map(np.asarray, (1.0, 0.5, 2.0)))) == "1 [0.5, 2]"
    assert tables.with_band(bands.Band(*map(np.asarray, (1.0, np.nan, np.nan)))) == "1"
