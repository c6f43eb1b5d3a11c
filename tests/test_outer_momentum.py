"""Outer momentum: one program for all rates, searches that are fair, and claims that follow the numbers."""

import csv
import dataclasses

import jax
import numpy as np
import optax
import pytest

from elastic_jax import base, run, stacked
from experiments import bands, outer_momentum, outer_training
from experiments.one_network import IID
from experiments.outer_momentum import Point
from experiments.outer_training import (
    AVERAGING,
    FOUR_BITS,
    FRAGMENTS,
    LATE,
    NESTEROV,
    PUBLISHED,
    STREAMING,
    SYNCHRONOUS,
    Rates,
    Setting,
    Trained,
)

SMALL, SMOKE = outer_momentum.SIZES["small"], outer_momentum.SIZES["smoke"]
TINY = dataclasses.replace(SMOKE, channels=(2,), num_examples=40, num_test=8, batch_size=2, num_workers=2, num_steps=5)
SEEDS = 5
RATES = Rates(0.01, 0.5)


@pytest.fixture(scope="class")
def trainer():
    """Of a network with few parameters; optax's own arithmetic mixes integers with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield outer_training.Trainer(TINY.sizes, (IID,), num_seeds=2, seed=0)


def last_params(trainer, algorithm, state):
    key = run.seed_key(jax.random.key(1), 0)
    params, _, _ = outer_training._follow(algorithm, state, trainer.shards[IID][0], key, TINY.num_steps)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


class TestTraining:
    """Runs themselves, of few steps."""

    def test_data_parallel_training_is_one_adamw_on_the_mean_gradient(self, trainer):
        """By a loop of its own; it is not the mean of what the workers' own AdamW would do."""
        problem, optimizer = trainer.problem, optax.adamw(RATES.inner, weight_decay=TINY.weight_decay)
        params = problem.init(jax.random.key(0))
        state, losses, workers = optimizer.init(params), [], np.arange(2, dtype=np.int32)
        gradient = jax.jit(problem.oracle)
        for number in range(TINY.num_steps):
            keys = base.split_key(base.step_key(run.seed_key(jax.random.key(1), 0), number))
            own = stacked.worker_keys(keys.samples, workers)
            values, grads = gradient(own, stacked.broadcast(params, 2), trainer.shards[IID][0], workers)
            losses.append(float(values.mean()))
            updates, state = optimizer.update(jax.tree.map(lambda leaf: leaf.mean(axis=0), grads), state, params)
            params = optax.apply_updates(params, updates)
        trained = trainer.train(IID, Setting(SYNCHRONOUS), RATES, 0)
        np.testing.assert_allclose(trained.losses, losses, rtol=1e-4)
        assert trained.loss == pytest.approx(float(problem.evaluate(params)["test_loss"]), rel=1e-4)
        averaged = trainer.train(IID, Setting(AVERAGING, 2), RATES, 0)
        assert averaged.losses[0] == pytest.approx(losses[0], rel=1e-4)
        assert np.abs(averaged.losses - losses).max() > 1e-3

    def test_rates_in_the_state_are_those_of_the_optimisers(self, trainer):
        """Given afterwards or from the beginning, inside and outside."""
        setting, params = Setting(NESTEROV, 2), trainer.problem.init(jax.random.key(0))
        built, other = trainer.algorithm(setting, RATES), trainer.algorithm(setting, Rates(0.3, 0.3))
        expected = last_params(trainer, built, built.init(jax.random.key(0), params))
        state = other.init(jax.random.key(0), params)
        given = last_params(trainer, other, outer_training.with_rates(state, setting, RATES))
        np.testing.assert_array_equal(given, expected)
        for wrong in (RATES._replace(inner=0.02), RATES._replace(outer=0.25)):
            given = last_params(trainer, other, outer_training.with_rates(state, setting, wrong))
            assert np.abs(given - expected).max() > 1e-3

    @pytest.mark.parametrize(("variant", "expected"), [("", Rates(0.0, 0.0)), ("states reset", RATES)])
    def test_a_reset_keeps_the_rate(self, trainer, monkeypatch, variant, expected):
        """A reset state is what the optimiser was built with: only there the program has the rate in it."""

        def algorithm(setting, rates):
            assert setting.variant == variant
            raise LookupError(rates)

        monkeypatch.setattr(trainer, "algorithm", algorithm)
        with pytest.raises(LookupError) as caught:
            trainer.train(IID, Setting(AVERAGING, 2, variant), RATES, 0)
        assert caught.value.args == (expected,)
        with jax.numpy_dtype_promotion("standard"):
            optimizer = outer_training.adjustable(optax.adamw, RATES.inner, weight_decay=0.0)
            assert float(optimizer.init(np.zeros(1, np.float32)).hyperparams["learning_rate"]) == pytest.approx(0.01)

    def test_seeds_and_images_are_apart(self, trainer):
        first, second = (trainer.train(IID, Setting(AVERAGING, 2), RATES, number) for number in (0, 1))
        assert np.abs(first.losses - second.losses).max() > 1e-3
        assert first.loss != first.search_loss

    def test_bits_are_counted_in_copies(self, trainer):
        """Averages after steps 2 and 4."""
        trained = trainer.train(IID, Setting(AVERAGING, 2), RATES, 0)
        assert trained.copies.tolist() == [0, 1, 0, 1, 0]

    def test_what_is_built_is_what_the_setting_says(self, trainer):
        found = {
            variant: outer_training.build(trainer.problem.oracle, SMALL.sizes, Setting(NESTEROV, 50, variant), RATES)
            for variant in ("", *STREAMING)
        }
        names = ("period", "num_fragments", "overlap", "merge")
        told = {variant: tuple(found[variant].step.keywords[name] for name in names) for variant in found}
        late = (50, SMALL.num_fragments, SMALL.overlap, SMALL.merge)
        assert told == {"": (50, 1, 0, 0.0), FRAGMENTS: (50, 3, 0, 0.0), LATE: late, FOUR_BITS: late}
        message = np.zeros(8, np.float32)
        sent = {variant: found[variant].step.keywords["compressor"].bits(message) for variant in found}
        assert sent == {"": 256, FRAGMENTS: 256, LATE: 256, FOUR_BITS: 32 + 32}


def noisy(mean):
    """[S]: around an exact mean, the noise common to all settings, so that seeds are paired, and some of its own."""
    draws = np.random.default_rng(int(1e6 * mean)).normal(size=(2, SEEDS))
    common = np.random.default_rng(0).normal(size=SEEDS)
    return mean + 0.05 * (common - common.mean()) + 0.001 * (draws[0] - draws[0].mean())


LOSSES = {SYNCHRONOUS: 1.0, AVERAGING: 1.2, NESTEROV: 1.0, PUBLISHED: 1.02, "SlowMo": 1.05, "Adam": 1.1}


def points(config, losses=None, variants=None, by_period=0.001):
    """Losses by method, more the longer the period, and what variants add to them; bits as they should be."""
    losses, variants = LOSSES | (losses or {}), variants or {}
    found = {}
    for setting in outer_momentum.settings(config):
        mean = losses[setting.method] + variants.get(setting.variant, 0.0)
        if setting.method != SYNCHRONOUS:
            mean += by_period * (setting.period - config.period)
        copies = config.num_steps / setting.period * (1 / 7.9 if setting.variant == FOUR_BITS else 1)
        peak = {FRAGMENTS: 0.5, LATE: 0.5, FOUR_BITS: 0.07}.get(setting.variant, 1.0)
        curve = np.linspace(2.0, 0.0, config.num_points) + noisy(mean)[:, None]
        for alpha in config.alphas:
            found[alpha, setting] = Point(alpha, setting, RATES, noisy(mean), curve, copies, peak)
    return found


ONE = dataclasses.replace(SMALL, alphas=(IID,))


def failing(found, config=ONE):
    """What is claimed and does not hold, without of what."""
    return [claim.claim.partition(": ")[0] for claim in outer_momentum.claims(config, found) if not claim.holds]


class TestClaims:
    """They follow the numbers."""

    def test_they_hold_where_the_numbers_say_so(self):
        """Gap and growth; three methods and the whole gap; three variants and their bits, twice."""
        assert failing(points(ONE)) == []
        assert len(outer_momentum.claims(ONE, points(ONE))) == 2 + 3 + 1 + 3 + 2
        assert len(outer_momentum.claims(SMALL, points(SMALL))) == 22

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"losses": {SYNCHRONOUS: 1.2}}, ["gap"]),
            ({"by_period": -0.001}, ["growth"]),
            ({"losses": {"Adam": 1.2}}, ["Adam"]),
            ({"losses": {NESTEROV: 1.05}}, ["whole gap"]),
            ({"losses": {NESTEROV: 1.25}}, [NESTEROV, "whole gap"]),
            ({"variants": {LATE: 0.05}}, [LATE]),
            ({"variants": {FOUR_BITS: 0.02, FRAGMENTS: -0.02}}, [FOUR_BITS]),
        ],
    )
    def test_numbers_that_break_one_are_noticed(self, changed, expected):
        said = [claim.claim for claim in outer_momentum.claims(ONE, points(ONE, **changed)) if not claim.holds]
        marks = {"gap": "the gap", "growth": "with H = 1", "whole gap": "the whole gap"}
        assert len(said) == len(expected)
        assert all(marks.get(name, f"{name}: loss") in claim for name, claim in zip(expected, said, strict=True))

    @pytest.mark.parametrize(
        ("variant", "changed"),
        [(FRAGMENTS, {"peak": 1.0}), (FRAGMENTS, {"copies": 13.0}), (FOUR_BITS, {"copies": 12.0})],
    )
    def test_bits_are_judged(self, variant, changed):
        found = points(ONE)
        setting = Setting(NESTEROV, 50, variant)
        found[IID, setting] = found[IID, setting]._replace(**changed)
        assert failing(found) == [f"shards alike, {variant}"]

    def test_the_gap_closed_is_paired_by_seed(self):
        """0 for averaging, 1 for synchronous training; seeds that differ widely do not widen the band."""
        found = points(ONE)
        for loss, share in ((1.2, 0.0), (1.0, 1.0), (1.05, 0.75), (0.9, 1.5)):
            point = found[IID, Setting("SlowMo", 50)]._replace(last=noisy(loss))
            band = outer_momentum.closed(ONE, found, point)
            assert float(band.middle) == pytest.approx(share, abs=1e-9)
            assert float(band.high - band.low) < 0.05

    def test_a_share_that_all_seeds_have_is_sure(self):
        """However the gap differs from seed to seed."""
        found, gaps = points(ONE), np.linspace(0.1, 0.5, SEEDS)
        for setting, share in ((Setting(AVERAGING, 50), 0.0), (Setting("SlowMo", 50), 0.4)):
            last = found[IID, Setting(SYNCHRONOUS)].last + (1 - share) * gaps
            found[IID, setting] = found[IID, setting]._replace(last=last)
        band = outer_momentum.closed(ONE, found, found[IID, Setting("SlowMo", 50)])
        np.testing.assert_allclose(band, 0.4, rtol=1e-9)

    def test_without_a_gap_there_is_nothing_to_close(self):
        """Of a hundredth of the noise of one seed; the table says so."""
        found = points(ONE, {SYNCHRONOUS: 1.2 - 1e-5})
        assert np.isnan(outer_momentum.closed(ONE, found, found[IID, Setting(NESTEROV, 50)]).middle)
        shares = [line[-1] for line in outer_momentum.rows(ONE, found)[1]]
        assert shares.count("no gap") == len(shares) - 2

    def test_a_band_of_any_number_is_the_usual_one_of_a_mean(self):
        values = noisy(1.0)[:, None]
        for own, usual in zip(bands.of_any(lambda means: means[0], values), bands.of_mean(values), strict=True):
            assert float(own) == pytest.approx(float(usual[0]), rel=1e-12)


class TestSearch:
    """Of rates."""

    @staticmethod
    def search(config, best):
        """All rates of methods whose costs are least at `best`, and what was tried."""
        tried = []

        def cost(setting, rates):
            tried.append((setting, rates))
            inner, outer = best[setting.method]
            return abs(np.log(rates.inner / inner)) + abs(np.log(rates.outer / outer))

        def search(name, cost, start):
            found = outer_momentum.sweeps.search(cost, start)
            return min(found, key=found.get)

        return outer_momentum.all_rates(config, cost, search), tried

    def test_every_method_finds_its_own(self):
        start = SMALL.step_size
        best = {
            SYNCHRONOUS: Rates(4 * start),
            AVERAGING: Rates(start),
            NESTEROV: Rates(start / 2, 0.35),
            "SlowMo": Rates(start / 4, 2.0),
            "Adam": Rates(2 * start, 0.03),
        }
        found, tried = self.search(SMALL, best)
        assert found == best | {PUBLISHED: Rates(start / 2, 0.7)}
        assert {setting.period for setting, _ in tried if setting.method != SYNCHRONOUS} == {50}
        assert all(rates.outer == 1 for setting, rates in tried if setting.method in (SYNCHRONOUS, AVERAGING))

    def test_it_has_seeds_and_images_of_its_own(self):
        """Reported are seeds 0, 1, ...; what is searched on is the other half."""

        class Fake:
            def train(self, alpha, setting, rates, number):
                assert (alpha, setting, rates) == (IID, Setting(AVERAGING, 50), RATES)
                numbers.append(number)
                copies = np.array([0.0, 0.5, 0.25, 0.0])
                return Trained(1.0 + number, 10.0 + number, np.arange(4.0), copies)

        config = dataclasses.replace(ONE, num_points=2, num_seeds=3, num_tuning_seeds=2)
        numbers: list[int] = []
        assert outer_momentum.cost(config, Fake(), IID, Setting(AVERAGING, 50), RATES) == 13.5
        assert numbers == [3, 4]
        found = outer_momentum.measure(config, Fake(), IID, Setting(AVERAGING, 50), RATES)
        assert numbers[2:] == [0, 1, 2]
        assert found["last"].tolist() == [1.0, 2.0, 3.0]
        assert found["losses"].tolist() == [[0.5, 2.5]] * 3
        assert (found["copies"], found["peak"]) == (0.75, 0.5)


def test_sizes_fit_together():
    """All periods end with the last step, blocks are whole, fragments fit, and names tell settings apart."""
    for config in outer_momentum.SIZES.values():
        assert all(config.num_steps % period == 0 for period in config.periods)
        assert config.num_steps % config.num_points == 0
        assert config.period in config.periods
        assert NESTEROV in config.outer
        assert config.num_fragments <= 2 * len(config.channels) + 2
        assert config.num_seeds >= 5
        own = outer_momentum.settings(config)
        assert len({setting.name for setting in own}) == len(own) == len(set(own))


def test_all_is_written_from_end_to_end(tmp_path, monkeypatch):
    """Table, points and figure of the small size, with losses as they should be."""
    expected = points(SMALL)

    class Fake:
        def __init__(self, sizes, alphas, *, num_seeds, seed):
            assert (sizes, alphas, seed) == (SMALL.sizes, SMALL.alphas, SMALL.seed)
            assert num_seeds == SMALL.num_seeds + SMALL.num_tuning_seeds

        def train(self, alpha, setting, rates, number):
            point = expected[alpha, setting]
            copies = np.zeros(SMALL.num_steps)
            num_sent = round(point.copies / point.peak)
            copies[:num_sent] = point.copies / num_sent
            losses = np.repeat(point.losses[number % SEEDS], SMALL.num_steps // SMALL.num_points)
            return Trained(float(point.last[number % SEEDS]), 1 + abs(np.log(rates.inner / 0.004)), losses, copies)

    monkeypatch.setattr(outer_momentum, "Trainer", Fake)
    answer = outer_momentum.main(SMALL, size="small", run_dir=tmp_path)
    assert [claim.claim for claim in answer.claims if not claim.holds] == []
    lines = list(csv.DictReader((tmp_path / "points.csv").read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 2 * len(outer_momentum.settings(SMALL)) * SEEDS
    assert {line["inner_rate"] for line in lines} == {"0.004"}
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + 2 * (1 + 5 + 5)
    assert (tmp_path / "figure.png").stat().st_size > 50_000
