"""Floors of rows that mix, seconds of workers that average now and then, and claims that follow the numbers."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import metrics, run
from elastic_jax.problems import quadratic
from experiments import (
    averaging_time,
    bands,
    error_floors,
    error_runtime_trade_off,
    mixing_floors,
    noise_floors,
    record,
    workers_and_mean,
)
from experiments.averaging_time import Link
from experiments.mixing_floors import Mixed
from experiments.ways_of_mixing import Way

N = 4
AVERAGE = np.full((N, N), 1 / N)
CURVATURES = np.array([0.3, 1.0])
VARIANCES = np.array([0.5, 2.0])
SEEDS = 6


def alike(matrix, period, *, step_size=0.1, num_workers=N):
    """A quadratic whose workers have one curvature."""
    return Mixed(np.tile(CURVATURES, (num_workers, 1)), VARIANCES, matrix, period, step_size)


def noisy(means, spread=0.02):
    """Values of seeds around means, whose mean over seeds is exact: [S, ...]."""
    means = np.asarray(means, float)
    draws = np.random.default_rng(0).normal(size=(SEEDS, *[1] * means.ndim))
    return means * (1 + spread * (draws - draws.mean()))


def failing(claims):
    """What is claimed and does not hold, without of what."""
    return [claim.claim.split(": ")[1].split(",")[0] for claim in claims if not claim.holds]


def points(run_dir):
    """The lines of points.csv."""
    return list(csv.DictReader((run_dir / "points.csv").read_text(encoding="utf-8").splitlines()))


class TestMixingFloors:
    """The recursion of second moments."""

    def test_averaging_in_every_step_is_synchronous_sgd(self):
        """Its floor is that of `noise_floors`, and workers are where their mean is."""
        found = mixing_floors.stationary(alike(AVERAGE, 1))
        expected = noise_floors.late((CURVATURES, VARIANCES), num_workers=N, step_size=0.1, delay=0)
        assert CURVATURES**2 @ found.mean == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(found.workers, found.mean, rtol=1e-12)

    @pytest.mark.parametrize(
        "way", [Way("local", 5), Way("gossip", 1, "ring"), Way("gossip", 3, "star")], ids=lambda way: way.name
    )
    def test_where_workers_are_alike_mixing_does_not_move_the_mean(self, way):
        whole = mixing_floors.stationary(alike(way.matrix(N), way.period))
        np.testing.assert_allclose(whole.mean, mixing_floors.stationary(alike(AVERAGE, 1)).mean, rtol=1e-10)
        assert np.all(whole.workers > 1.01 * whole.mean)

    def test_local_steps_have_their_closed_form(self):
        """A worker's distance from the mean after k steps: α² s (1 - 1/n) Σ_{j<k} ρ^{2j}, ρ = 1 - α a."""
        found = mixing_floors.stationary(alike(AVERAGE, 3))
        squares = (1 - 0.1 * CURVATURES) ** 2
        apart = 0.1**2 * VARIANCES * (1 - 1 / N) * (0 + 1 + (1 + squares)) / 3
        np.testing.assert_allclose(found.workers - found.mean, apart, rtol=1e-10)

    def test_modes_have_their_closed_form(self):
        """Mixing in every step, mode λ: α² s λ² / (1 - λ² ρ²)."""
        matrix = Way("gossip", 1, "ring").matrix(N)
        found = mixing_floors.stationary(alike(matrix, 1))
        modes = np.sort(np.linalg.eigvalsh(matrix))[:-1, None] ** 2
        apart = 0.1**2 * VARIANCES * (modes / (1 - modes * (1 - 0.1 * CURVATURES) ** 2)).sum(axis=0) / N
        np.testing.assert_allclose(found.workers - found.mean, apart, rtol=1e-10)

    @pytest.mark.parametrize(
        "way",
        [Way("local", 4), Way("gossip", 2, "ring"), Way("elastic", 1, pull=0.5), Way("elastic", 3)],
        ids=lambda way: way.name,
    )
    def test_a_path_ends_in_the_stationary_state(self, way):
        """Whatever the start; with an anchor, and with workers that differ."""
        curvatures = CURVATURES * np.array([[0.5], [0.8], [1.2], [1.5]])
        known = Mixed(curvatures, VARIANCES, way.matrix(N), way.period, 0.1)
        found = mixing_floors.path(known, np.array([1.0, -2.0]), 600 * way.period)
        for moments, expected in zip(found, mixing_floors.stationary(known), strict=True):
            np.testing.assert_allclose(moments[0], [1.0, 4.0])
            np.testing.assert_allclose(moments[-way.period :].mean(axis=0), expected, rtol=1e-6)

    def test_what_is_unstable_has_no_floor(self):
        with pytest.raises(ValueError, match="unstable"):
            mixing_floors.stationary(alike(AVERAGE, 1, step_size=2.1))

    @pytest.mark.parametrize("period", [1, 3])
    def test_network_errors_are_those_of_the_theory(self, period):
        """Of local SGD (τ - 1)(1 - 1/n); all modes alike, the worst is the mean over them; with an anchor by hand."""
        assert mixing_floors.network_error(AVERAGE, period, num_workers=N) == pytest.approx((period - 1) * 3 / 4)
        assert mixing_floors.worst_network_error(AVERAGE, period) == pytest.approx(period - 1)
        lazy = (np.eye(N) + AVERAGE) / 2
        worst = mixing_floors.worst_network_error(lazy, period)
        assert worst == pytest.approx(period * (1 + 1 / 4) / (1 - 1 / 4) - 1)
        assert mixing_floors.network_error(lazy, period, num_workers=N) == pytest.approx(worst * 3 / 4)

    def test_it_is_the_limit_of_no_curvature(self):
        """With an anchor, and so little curvature that it does not matter while noise is mixed."""
        known = alike(Way("elastic", 2, pull=0.7).matrix(N), 2, step_size=1e-4)
        expected = 1e-8 * VARIANCES / 2 * mixing_floors.network_error(known.matrix, 2, num_workers=N)
        np.testing.assert_allclose(followed(known)["apart"], expected, rtol=1e-2)

    @pytest.mark.parametrize("way", [Way("elastic", 2, pull=0.7), Way("gossip", 3, "ring")], ids=lambda way: way.name)
    def test_moments_are_those_of_all_noise_that_ever_came(self, way):
        """An anchor has no gradient of its own."""
        known = alike(way.matrix(N), way.period)
        found, expected = mixing_floors.stationary(known), followed(known)
        np.testing.assert_allclose(found.mean, expected["mean"], rtol=1e-5)
        np.testing.assert_allclose(found.workers, expected["workers"], rtol=1e-5)


def followed(known, num_steps=420):
    """Second moments in the last period of a run from 0, by how much every row has of the noise of every step."""
    num_rows = len(known.matrix)
    keeps = np.ones((2, num_rows))
    keeps[:, :N] -= known.step_size * known.curvatures.T
    found = {name: np.zeros(2) for name in ("mean", "workers", "apart")}
    for coordinate in range(2):
        noise = np.zeros((num_rows, N))
        noise[:N] = known.step_size * known.variances[coordinate] ** 0.5 * np.eye(N)
        rows = np.zeros((num_rows, 0))
        for step in range(num_steps):
            if step >= num_steps - known.period:
                mean = rows.mean(axis=0)
                found["mean"][coordinate] += (mean**2).sum() / known.period
                found["workers"][coordinate] += (rows[:N] ** 2).sum() / N / known.period
                found["apart"][coordinate] += ((rows - mean)[:N] ** 2).sum() / N / known.period
            rows = np.hstack([keeps[coordinate][:, None] * rows, noise])
            if (step + 1) % known.period == 0:
                rows = known.matrix @ rows
    return found


@pytest.fixture(scope="module")
def measured():
    """Runs without noise and with, on which both metrics can be checked."""
    problem = quadratic.build(num_workers=N, dim=3, noise=1.0, centre_spread=0.0, curvature_spread=0.5)
    algorithm = Way("local", 3).build(problem.oracle, num_workers=N, effective=0.1)
    result = run.run(
        algorithm,
        problem.init(jax.random.key(0)),
        problem.data,
        num_steps=7,
        key=jax.random.key(1),
        metrics={
            "norms": workers_and_mean.grad_norms_sq(problem, 1),
            "losses": workers_and_mean.losses(problem, 1),
            "loss": metrics.loss(1),
            "objective": metrics.objective(problem, 1),
            "at_mean": metrics.grad_norm_sq(problem, 1),
        },
        progress=False,
    )
    return {name: result.history[name][1] for name in result.history}


class TestWorkersAndMean:
    """Both places on the same samples."""

    def test_the_mean_is_where_the_algorithm_says(self, measured):
        np.testing.assert_allclose(measured["norms"][:, 1], measured["at_mean"], rtol=1e-10)
        np.testing.assert_allclose(measured["losses"][:, 1], measured["objective"], rtol=1e-10)
        np.testing.assert_allclose(measured["losses"][:, 0], measured["loss"], rtol=1e-10)

    def test_they_are_one_right_after_an_averaging_and_nowhere_else(self, measured):
        for name in ("norms", "losses"):
            apart = np.abs(np.diff(measured[name], axis=1)[:, 0]) > 1e-9
            assert apart.tolist() == [False, True, True, False, True, True, False]

    def test_samples_are_those_of_the_step(self):
        """Of a problem whose losses depend on them, where x is where workers are."""
        problem = workers_and_mean.network(dataset="digits", reduce=1, channels=(2,), num_workers=2, batch_size=2)
        algorithm = Way("local", 1).build(problem.oracle, num_workers=2, effective=0.1)
        result = run.run(
            algorithm,
            problem.init(jax.random.key(0)),
            problem.data,
            num_steps=3,
            key=jax.random.key(1),
            metrics={"losses": workers_and_mean.losses(problem, 1)},
            progress=False,
        )
        losses = result.history["losses"][1]
        np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-5)
        assert np.ptp(losses[:, 0]) > 1e-3


class TestWays:
    """Of mixing."""

    def test_effective_step_sizes_are_equal(self):
        """Equal gradients: x moves by as much, with and without an anchor."""

        def oracle(keys, views, data, workers):
            del keys, data, workers
            return jnp.zeros(len(views)), jnp.ones_like(views)

        for way in (Way("local", 2), Way("gossip", 2, "torus"), Way("elastic", 2, pull=0.5)):
            algorithm = way.build(oracle, num_workers=N, effective=0.1)
            state = algorithm.init(jax.random.key(0), jnp.zeros(1))
            for step in range(3):
                state, _ = algorithm.step(jax.random.key(step), state, ())
            np.testing.assert_allclose(algorithm.global_params(state), -0.3, rtol=1e-12)

    def test_names_tell_ways_apart(self):
        config = error_floors.SIZES["small"]
        ways = error_floors.ways(config, "alike") + error_floors.network_ways(config)
        assert len({way.name for way in ways}) == len({way.title for way in ways}) == len(set(ways))


class TestAveragingTime:
    """The model, and what is read off curves in time."""

    def test_costs_are_those_of_the_messages(self):
        """4 workers: 6 messages of a quarter each; an exchange sends all twice."""
        assert averaging_time.all_reduce(Link(0.1, 2.0), num_workers=4) == pytest.approx(6 * 0.1 + 3.0)
        assert averaging_time.exchange(Link(0.1, 2.0)) == pytest.approx(4.1)

    @pytest.mark.parametrize(("share", "expected"), [(1.0, 3.0 / 6), (0.0, 3.0 * 4 / 3), (0.5, 0.25 + 2.0)])
    def test_a_link_is_made_for_a_ratio(self, share, expected):
        link = averaging_time.link(3.0, share, num_workers=4)
        assert averaging_time.all_reduce(link, num_workers=4) == pytest.approx(3.0)
        assert averaging_time.exchange(link) == pytest.approx(expected)

    def test_an_averaging_takes_its_time_after_every_period(self):
        assert averaging_time.seconds(np.arange(7), 3, 10.0).tolist() == [0, 1, 2, 13, 14, 15, 26]

    def test_curves_cross_where_their_logarithms_do(self):
        """Losses e^{-t} and e^{-t/2} / e: at t = 2."""
        times = np.linspace(0.0, 10.0, 11)
        fast, slow = np.exp(-times), np.exp(-times / 2 - 1)
        flat = np.exp(np.maximum(-times, -3))
        steady = np.stack([times, np.exp(-0.4 * times)])
        assert averaging_time.crossing(np.stack([times, slow]), np.stack([times, fast])) == pytest.approx(2.0)
        assert averaging_time.crossing(np.stack([times, flat]), steady) == pytest.approx(7.5)

    def test_the_last_crossing_counts(self):
        first = np.array([[0.0, 1.0, 2.0, 3.0], [1.0, 4.0, 1.0, 4.0]])
        second = np.array([[0.0, 1.0, 2.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
        assert averaging_time.crossing(first, second) == pytest.approx(2.5)
        assert averaging_time.crossing(second, first) == np.inf
        assert averaging_time.crossing(first, first * [[1.0], [0.5]]) == 0.0

    def test_a_goal_is_reached_between_two_points(self):
        curve = np.array([[0.0, 2.0, 4.0], [4.0, 1.0, 1.0]])
        assert averaging_time.time_to(curve, 2.0) == pytest.approx(1.0)
        assert averaging_time.time_to(curve, 5.0) == 0.0
        assert averaging_time.time_to(curve, 0.5) == np.inf


class TestErrorFloors:
    """Of floors that are as predicted, or not."""

    @staticmethod
    def judge(*, families=("local",), problem="alike", mean=None, network=None, promised=1.0):
        """Claims on three ways of each family, whose floors are the predicted ones but for factors."""
        ways = {
            "local": [Way("local", period) for period in (1, 3, 9)],
            "elastic": [Way("elastic", 1, pull=pull) for pull in (0.5, 1.0, 1.04)],
        }
        errors = {"local": (0.0, 2.0, 8.0), "elastic": (9.0, 4.0, 3.9)}
        means, networks = mean or (1.0,) * 3, network or (1.0,) * 3
        found = []
        for family in families:
            for way, error, by, factor in zip(ways[family], errors[family], means, networks, strict=True):
                expected = 1.0 if problem == "alike" else 1 + 0.001 * error
                low = noisy(by * expected)
                found.append(
                    error_floors.Point(
                        problem=problem,
                        way=way,
                        mean=low,
                        workers=low + noisy(0.1 * error * factor),
                        predicted_mean=expected,
                        predicted_workers=expected + 0.1 * error,
                        network_error=error,
                        worst_network_error=error,
                        promised=promised,
                    )
                )
        return error_floors.claims(found)

    def test_claims_hold_where_the_numbers_say_so(self):
        """Mean, network, bound, slope and the equal means of local SGD; mean, network, bound and a* of elastic."""
        assert len(self.judge()) == 5
        assert len(self.judge(families=("elastic",))) == 4
        assert failing(self.judge(families=("local", "elastic"))) == []

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"mean": (1.0, 1.0, 1.2)}, ["mean / predicted", "floor of the mean"]),
            ({"mean": (1.0, 1.0, 1.01)}, ["floor of the mean"]),
            ({"mean": (1.0, 1.0, 1.1), "problem": "different"}, ["mean / predicted", "floor of the mean"]),
            (
                {"network": (1.0, 1.0, 1.2)},
                ["network / predicted", "slope of log network in log (τ (1 + λ²) / (1 - λ²) - 1)"],
            ),
            ({"promised": 0.5}, ["largest network / theorem's network error"]),
            (
                {"families": ("elastic",), "network": (1.0, 1.2, 1.0)},
                ["network / predicted", "network at a* = 2/(n + 2) / least network"],
            ),
        ],
    )
    def test_numbers_that_break_a_claim_are_noticed(self, changed, expected):
        assert failing(self.judge(**changed)) == expected

    def test_the_price_of_being_apart_is_judged_on_the_network(self):
        def trained(way, workers, mean):
            return error_floors.Training(way, float(way.period), noisy(workers), noisy(mean))

        def judge(workers, mean):
            ends = [trained(Way("local", 16), workers, mean), trained(Way("local", 1), 1.0, 1.0)]
            return [claim.holds for claim in error_floors.network_claims(ends)]

        assert judge(1.5, 1.2) == [True, True]
        assert judge(1.2, 1.2) == [False, True]
        assert judge(0.9, 0.8) == [True, False]

    def test_means_are_over_whole_periods(self):
        values = np.arange(21.0)[None]
        assert error_floors.whole_periods(values, 4).tolist() == [[13, 14, 15, 16, 17, 18, 19, 20]]
        assert error_floors.whole_periods(values, 1).shape == (1, 10)

    @pytest.mark.parametrize(("period", "expected"), [(1, 4), (4, 3), (12, 1), (6, 1), (15, 4)])
    def test_no_phase_of_a_period_is_left_out(self, period, expected):
        assert error_floors.due(4, period) == expected

    def test_a_floor_is_measured_where_it_is_predicted(self, tmp_path):
        """A run itself, of few steps: within a third."""
        config = dataclasses.replace(error_floors.SIZES["smoke"], num_steps=3000)
        record.open_folder(tmp_path, config, size="smoke")
        point = error_floors.measure(config, "alike", Way("local", 5), tmp_path)
        assert point.network.shape == (5,)
        assert point.network.mean() == pytest.approx(point.predicted_network, rel=0.1)
        assert point.mean.mean() == pytest.approx(point.predicted_mean, rel=0.33)
        assert point.promised == pytest.approx(0.05**2 * 4)

    def test_all_is_written_from_end_to_end(self, tmp_path, monkeypatch):
        """Tables, points and figure of the small size, with runs that are as predicted."""

        def as_predicted(config, problem, way):
            moments = mixing_floors.stationary(error_floors.mixed(config, problem, way))
            squares = np.asarray(problem.data["curvatures"], np.float64).mean(axis=0) ** 2
            return {"mean": noisy(squares @ moments.mean), "workers": noisy(squares @ moments.workers)}

        def learnt(config, way, run_dir):
            worst = mixing_floors.worst_network_error(way.matrix(config.num_network_workers), way.period)
            return {"losses": noisy(np.tile([1 + 0.1 * worst, 1 + 0.02 * worst], (8, 1)))}

        monkeypatch.setattr(error_floors, "floors", as_predicted)
        monkeypatch.setattr(error_floors, "train_network", learnt)
        config = error_floors.SIZES["small"]
        answer = error_floors.main(config, size="small", run_dir=tmp_path)
        assert failing(answer.claims) == []
        num_ways = sum(len(error_floors.ways(config, problem)) for problem in config.problems)
        assert len(points(tmp_path)) == num_ways + len(error_floors.network_ways(config))
        assert (tmp_path / "figure.png").stat().st_size > 50_000


class TestTradeOff:
    """Of curves whose crossings are known."""

    CONFIG = error_runtime_trade_off.Config(
        periods=(1, 10), families=("local",), ratios=(1.0, 10.0), block=10, num_steps=1000, num_network_steps=1000
    )

    def curve(self, problem, period, *, factor=1.0, floor=None):
        """Losses fall to a floor, that of workers to one by their period, or another than is expected."""
        steps = averaging_time.over_blocks(np.arange(1000), self.CONFIG.block)
        expected = np.exp(-steps / 50) + np.array([[0.01 * period], [0.01]])
        losses = factor * (np.exp(-steps / 50) + np.array([[floor or 0.01 * period], [0.01]]))
        return error_runtime_trade_off.Curve(
            problem, Way("local", period), steps, noisy(losses), expected if problem == "quadratic" else None
        )

    def judge(self, *, exact=None, network=None):
        quadratic_curves = [self.curve("quadratic", 1), self.curve("quadratic", 10, **(exact or {}))]
        network_curves = [self.curve("network", 1), self.curve("network", 10, **(network or {}))]
        curves = quadratic_curves + network_curves
        pairs = error_runtime_trade_off.all_pairs(self.CONFIG, curves)
        return error_runtime_trade_off.claims(self.CONFIG, curves, pairs), pairs

    def test_crossings_are_in_seconds(self):
        """At ρ = 1 a step takes 2 s with τ = 1 and 1.1 s with 10: losses e^{-s/100} + 0.01 and e^{-s/55} + 0.1."""
        _, pairs = self.judge()
        assert len(pairs) == 2 * 2 * 2
        pair = next(pair for pair in pairs if pair.ratio == 1.0)
        times = np.linspace(0.0, 1000.0, 100_001)
        lead = np.exp(-times / 100) + 0.01 < np.exp(-times / 55) + 0.1
        assert pair.expected == pytest.approx(times[np.flatnonzero(~lead)[-1]], rel=0.02)
        assert float(pair.band.middle) == pytest.approx(pair.expected)
        assert np.isfinite(float(pair.band.low))

    def test_claims_follow_the_numbers(self):
        """Two losses, two crossings, early and late."""
        assert [claim.holds for claim in self.judge()[0]] == [True] * 6
        wrong = self.judge(exact={"floor": 0.05})[0]
        assert [claim.holds for claim in wrong] == [False, True, False, False, True, True]
        assert [claim.holds for claim in self.judge(network={"floor": 0.005})[0]] == [True] * 5 + [False]
        assert [claim.holds for claim in self.judge(network={"factor": 9.0})[0]] == [True] * 4 + [False, True]

    def test_gossip_pays_for_an_exchange(self):
        local = self.curve("network", 10)
        gossip = local._replace(way=Way("gossip", 10, "ring"))
        n = self.CONFIG.num_network_workers
        assert error_runtime_trade_off.communication(self.CONFIG, local, 4.0) == pytest.approx(4.0)
        expected = 2.0 / (2 * (n - 1)) + 2.0 * n / (n - 1)
        assert error_runtime_trade_off.communication(self.CONFIG, gossip, 4.0) == pytest.approx(expected)

    def test_points_are_over_blocks(self):
        steps = np.array([0, 3, 6, 9, 12])
        found = error_runtime_trade_off.by_block(steps, np.arange(10.0).reshape(1, 5, 2), 5, 13)
        assert found.tolist() == [[[1.0, 2.0], [5.0, 6.0]]]

    def test_every_period_divides_its_block(self):
        for config in error_runtime_trade_off.SIZES.values():
            assert all(config.block % period == 0 for period in config.periods)
            assert np.gcd(config.every, config.block) == 1

    def test_losses_are_measured_where_they_are_expected(self, tmp_path):
        """A run itself: the fall to the floor within the noise."""
        config = dataclasses.replace(error_runtime_trade_off.SIZES["smoke"], num_steps=400)
        record.open_folder(tmp_path, config, size="smoke")
        curve = error_runtime_trade_off.measure(config, "quadratic", Way("local", 10), tmp_path)
        assert curve.losses.shape == (10, 2, 20)
        np.testing.assert_allclose(curve.losses.mean(axis=0)[:, :2], curve.expected[:, :2], rtol=0.15)
        np.testing.assert_allclose(curve.losses[:, 0].mean(axis=0)[-5:].mean(), curve.expected[0, -5:].mean(), rtol=0.2)

    def test_a_time_without_end_has_no_band(self):
        found = error_runtime_trade_off.band_of_time(lambda means: np.inf * means[0], np.ones((3, 2)))
        assert found.middle == np.inf
        assert np.isnan(found.low)
        assert bands.of_positive(lambda means: means[0], noisy(np.ones(2))).low < 1

    def test_all_is_written_from_end_to_end(self, tmp_path, monkeypatch):
        """Tables, points and figure of the small size, with losses as on the quadratic."""

        def falling(config, name, problem, way, run_dir):
            steps = averaging_time.over_blocks(np.arange(1000), config.block)
            losses = np.exp(-steps / 100) + 0.01 * np.array([[way.period], [1.0]])
            return {"losses": noisy(losses), "num_steps": np.asarray(1000)}

        monkeypatch.setattr(error_runtime_trade_off, "losses", falling)
        config = dataclasses.replace(
            error_runtime_trade_off.SIZES["small"], num_steps=1000, num_workers=4, dataset="digits", reduce=1
        )
        error_runtime_trade_off.main(config, size="small", run_dir=tmp_path)
        assert len(points(tmp_path)) == 2 * 2 * 6 * 3 * 10
        assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + 2 * 2 * 2 * 6
        assert (tmp_path / "figure.png").stat().st_size > 50_000
