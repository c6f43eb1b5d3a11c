"""The experiments on elastic constants and on the speed-up: claims judged by numbers, and runs that lose nothing."""

import csv
import dataclasses
import functools
import json

import numpy as np
import pytest

from elastic_jax import data
from elastic_jax.problems import cnn
from experiments import bands, elastic_constants_in_training, how_b_scales, relaxations, scaling_laws, speed_up_in_n

SEEDS = 6


def noisy(means, spread=0.02):
    """Values of seeds around means: [S, m], the mean over seeds exact."""
    draws = np.random.default_rng(0).normal(size=(SEEDS, 1))
    return np.asarray(means, float) * (1 + spread * (draws - draws.mean()))


def verdicts(claims):
    """{what is claimed, without of what: verdict}."""
    return {claim.claim.split(": ")[1]: claim.holds for claim in claims}


def points(run_dir):
    """The lines of points.csv."""
    return list(csv.DictReader((run_dir / "points.csv").read_text(encoding="utf-8").splitlines()))


class TestElasticConstants:
    """Of a bounded relaxation and one that loses."""

    @staticmethod
    def row(name="drops", growth=1.0, gradients=1.0, height=0.5):
        """B grows by a factor over the run, M by another; bounds by M = 1."""
        relaxation = next(one for one in relaxations.relaxations() if one.name == name)
        shape = np.geomspace(1.0, growth, 12) ** 2
        squares = noisy(height**2 * shape)
        return elastic_constants_in_training.Row(
            relaxation=relaxation,
            squares=squares,
            ratios=squares,
            bound=None if relaxation.grows else 1.0,
            bound_by_variance=None,
            paper=None,
            moments=noisy(np.geomspace(1.0, gradients, 12) ** 2),
            losses=noisy(np.linspace(2.0, 1.0, 12)),
        )

    def judge(self, **changed):
        return verdicts(elastic_constants_in_training.claims([self.row(**changed)]))

    def test_claims_hold_where_the_numbers_say_so(self):
        whole = {"growth of B / M": True, "largest B_t / declared": True}
        assert self.judge() == whole
        assert self.judge(growth=1.6, gradients=1.6) == whole
        assert self.judge(name="lost", growth=4.0) == {"growth of B / M": True}

    def test_growth_of_its_own_is_noticed(self):
        """Of B, where M does not grow; and its absence where nothing is bounded."""
        assert not self.judge(growth=1.6)["growth of B / M"]
        assert not self.judge(name="lost", growth=1.02)["growth of B / M"]
        assert not self.judge(name="lost", growth=4.0, gradients=4.0)["growth of B / M"]

    def test_a_constant_above_its_bound_is_noticed(self):
        """By more than the seeds explain."""
        assert not self.judge(height=1.2)["largest B_t / declared"]
        assert self.judge(height=1.003)["largest B_t / declared"]

    def test_training_is_measured_in_every_step(self, tmp_path):
        """What is lost has B at 0 in the first step, and M² and losses of every step."""
        config = elastic_constants_in_training.Config(
            dataset="digits", channels=(2,), num_workers=2, num_steps=6, batch_size=2, num_seeds=2, num_points=3
        )
        problem = cnn.build(num_workers=2, dataset=data.load("digits"), batch_size=2, channels=(2,))
        relaxation = next(one for one in relaxations.relaxations() if one.name == "top_k_forgets")
        found = elastic_constants_in_training.train(config, problem, relaxation, tmp_path)
        assert found["distances_sq"].shape == found["second_moments"].shape == (2, 6, 2)
        assert found["losses"].shape == (2, 6)
        assert np.all(found["distances_sq"][:, 0] == 0)
        assert np.all(found["distances_sq"][:, -1] > 0)


class TestHowBScales:
    """Of a sweep whose law is linear."""

    @staticmethod
    def curve(scale=1.0, power=1.0, spread=0.02, problem="equal gradients"):
        """B = scale · law^power, declared law."""
        sweep = next(one for one in scaling_laws.sweeps() if one.name == "messages")
        values = np.array(sweep.values[:4])
        squares = noisy((scale * values**power) ** 2, spread)
        return how_b_scales.Curve(sweep, problem, values, squares, values.astype(float), np.full(4, np.nan))

    def judge(self, alpha=2.0, **changed):
        config = how_b_scales.Config()
        sizes = {"messages": noisy(np.array(config.step_sizes) ** alpha)}
        return [claim.holds for claim in how_b_scales.claims([self.curve(**changed)], config, sizes)]

    def test_claims_hold_where_the_numbers_say_so(self):
        """Bound, exponent, exponent in α: also where a bound that is attained is passed within what seeds explain."""
        assert self.judge() == [True, True, True]
        assert self.judge(scale=1.02, spread=0.1) == [True, True, True]
        assert self.judge(power=0.5, problem="noise") == [True, True, True]

    def test_numbers_that_break_a_claim_are_noticed(self):
        assert self.judge(scale=1.3) == [False, True, True]
        assert self.judge(scale=0.5, power=0.7) == [True, False, True]
        assert self.judge(scale=0.5, problem="noise") == [True, False, True]
        assert self.judge(alpha=1.0) == [True, True, False]

    def test_what_is_measured_is_what_messages_lack(self):
        """Equal gradients and messages one step late: ‖x - v‖ = α (n - 1) / n exactly, which is declared."""
        config = how_b_scales.Config(num_workers=4, dim=3, num_seeds=2, num_steps=4)
        sweep = next(one for one in scaling_laws.sweeps() if one.name == "messages")
        built = {"equal gradients": how_b_scales.build_problem(config, "equal gradients", 4)}
        found = how_b_scales.distances(config, sweep, built, 1.0, 0.5, 4)
        np.testing.assert_allclose(found["equal gradients"], (0.5 * 3 / 4) ** 2, rtol=1e-5)
        np.testing.assert_allclose(found["equal gradients declared"], (0.5 * 3 / 4) ** 2, rtol=1e-5)


class TestSpeedUp:
    """Of floors that are as predicted, or not."""

    @staticmethod
    def curve(power=-1.0, scale=1.0, method="8 steps late"):
        numbers = np.array([1, 2, 4, 8])
        return speed_up_in_n.Curve(
            problem="quadratic",
            method=method,
            numbers=numbers,
            floors=noisy(scale * numbers**power),
            averages=noisy(0.5 * scale / numbers),
            predicted=1.0 / numbers,
            predicted_loss=1.0,
            promised=1.0 / numbers,
        )

    def judge(self, **changed):
        return [claim.holds for claim in speed_up_in_n.claims([self.curve(**changed)])]

    def test_claims_hold_where_the_numbers_say_so(self):
        assert self.judge() == [True, True]
        assert self.judge(method="synchronous") == [True, True, True]

    def test_numbers_that_break_a_claim_are_noticed(self):
        """Another slope, another height, an average above the theorem's bound."""
        assert self.judge(power=-0.8) == [False, False]
        assert self.judge(scale=1.2) == [False, True]
        assert self.judge(scale=2.2, method="synchronous") == [False, True, False]

    def test_the_loss_has_the_band_of_a_ratio(self):
        """Seeds that are all proportional leave no doubt about it."""
        loss = self.curve(power=-0.5).loss
        np.testing.assert_allclose(loss.middle, np.array([1, 2, 4, 8]) ** 0.5)
        np.testing.assert_allclose(loss.high, loss.low, rtol=1e-6)


def fake_floors(config, problem, method, step_size, *, fails_at=(), calls):
    """In place of a run: floors as predicted."""
    calls.append((method, problem.num_workers))
    if len(calls) in fails_at:
        raise KeyboardInterrupt
    coordinates = speed_up_in_n.coordinates_of(config, "quadratic")
    floor = speed_up_in_n.predict(coordinates, method, problem.num_workers, step_size)
    return {"floor": floor * noisy([1.0])[:, 0], "average": floor * noisy([1.0])[:, 0], "start": np.asarray(5.0)}


def test_an_interrupted_experiment_goes_on_where_it_was(tmp_path, monkeypatch):
    """Ctrl-C in the third of four runs: the same command does the third and the fourth, and the answer is whole."""
    config, calls = speed_up_in_n.SIZES["smoke"], []
    fake = functools.partial(fake_floors, fails_at=(3,), calls=calls)
    monkeypatch.setattr(speed_up_in_n, "grad_norms", fake)
    with pytest.raises(KeyboardInterrupt):
        speed_up_in_n.main(config, size="smoke", run_dir=tmp_path)
    assert not (tmp_path / "answer.json").exists()
    answer = speed_up_in_n.main(config, size="smoke", run_dir=tmp_path)
    assert len(calls) == 5
    assert calls[2] == calls[3]
    assert all(claim.holds for claim in answer.claims)
    assert json.loads((tmp_path / "answer.json").read_text())["claims"] == [
        dataclasses.asdict(claim) for claim in answer.claims
    ]
    lines = points(tmp_path)
    assert len(lines) == 2 * 2
    assert float(lines[1]["floor"]) == pytest.approx(float(lines[1]["predicted_floor"]))
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert (tmp_path / "table.md").read_text().count("\n") == 2 + 2


def test_b_is_set_against_its_law_from_end_to_end(tmp_path, monkeypatch):
    """Tables, points and figure of all sweeps of the small size, with runs that keep the law."""

    def law(config, sweep, built, value, step_size, num_steps):
        found = {}
        for name, problem in built.items():
            algorithm = sweep.build(problem.oracle, value, problem.num_workers, step_size)
            declared = algorithm.consistency_bound(problem.constants, np.zeros(config.dim))
            found[f"{name} declared"] = np.asarray(np.nan if declared is None else declared)
            power = 0.5 if name == "noise" else 1.0
            unit = step_size**2
            found[name] = unit * noisy([(0.0 if declared is None else declared / unit) ** power])[:, 0]
        return found

    monkeypatch.setattr(how_b_scales, "distances", law)
    config = how_b_scales.SIZES["small"]
    answer = how_b_scales.main(config, size="small", run_dir=tmp_path)
    assert len(answer.claims) > 40
    lines = points(tmp_path)
    assert len(lines) == len(scaling_laws.sweeps()) * len(how_b_scales.PROBLEMS) * config.num_values
    assert (tmp_path / "figure.png").stat().st_size > 50_000
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(scaling_laws.sweeps())


def test_constants_in_training_are_judged_from_end_to_end(tmp_path, monkeypatch):
    """Tables, points and figure of all relaxations, with runs in which B follows M."""

    def follow(config, problem, relaxation, run_dir):
        steps = config.num_steps * (config.num_workers if relaxation and relaxation.is_single_step else 1)
        slots = 1 if relaxation and relaxation.is_single_step else config.num_workers
        shape = np.linspace(1.0, 4.0 if relaxation and relaxation.grows else 1.0, steps)
        squares = 1e-6 * np.repeat(noisy(shape**2)[:, :, None], slots, axis=2)
        found = {"distances_sq": squares, "second_moments": np.ones_like(squares), "losses": noisy(shape)}
        return found if relaxation else found | {"variances": noisy(shape)}

    monkeypatch.setattr(elastic_constants_in_training, "train", follow)
    config = dataclasses.replace(elastic_constants_in_training.SIZES["small"], dataset="digits", channels=(4, 4))
    answer = elastic_constants_in_training.main(config, size="small", run_dir=tmp_path)
    assert [claim.claim for claim in answer.claims if not claim.holds] == []
    assert len(answer.claims) == 9 * 2 + 2
    lines = points(tmp_path)
    assert len(lines) == len(relaxations.relaxations()) * config.num_points
    assert (tmp_path / "figure.png").stat().st_size > 50_000


def test_means_over_points_leave_out_what_is_left_over():
    config = elastic_constants_in_training.Config(num_points=3)
    found = elastic_constants_in_training.in_points(np.arange(10.0)[None], config)
    np.testing.assert_allclose(found, [[1.0, 4.0, 7.0]])
    assert bands.of_mean(found).middle.shape == (3,)
