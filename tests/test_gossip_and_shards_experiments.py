"""Equal bits, exact moments of mixings that change, many splits of one network, and claims that follow the numbers."""

import csv
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import metrics, mixings, run, topologies
from elastic_jax.algorithms import federated_averaging_sgd, local_sgd
from elastic_jax.problems import quadratic
from elastic_jax.run import chunks
from experiments import (
    changing_floors,
    heterogeneous_shards,
    local_against_gossip,
    mixing_floors,
    network_at_equal_bits,
    one_network,
    record,
    ways_at_equal_bits,
)
from experiments.changing_floors import Changing
from experiments.mixing_floors import Mixed

N = 4
CURVATURES = np.array([0.3, 1.0]) * np.array([[0.5], [0.8], [1.2], [1.5]])
CENTRES = np.array([[1.0, -1.0], [0.5, 2.0], [-1.0, 0.0], [0.2, 0.3]])
SEEDS = 6

CHANGING = {
    "one-peer": mixings.one_peer_exponential(N),
    "matchings": mixings.matchings(topologies.complete(N)),
    "MATCHA": mixings.matcha(topologies.ring(N), 0.5, optimal=False),
}


def noisy(means, spread=0.02):
    """Values of seeds around means, whose mean over seeds is exact: [S, ...]."""
    means = np.asarray(means, float)
    values = np.random.default_rng(0).normal(size=(SEEDS, *means.shape))
    return means * (1 + spread * (values - values.mean(axis=0)))


def failing(claims):
    """What does not hold."""
    return [claim.claim for claim in claims if not claim.holds]


def lines_of(path):
    """Of a table of points."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


ERRORS = {"upload": (3.0, 0.9), "all-reduce": (5.0, 1.0), "ring": (30.0, 3.0), "matchings": (9.0, 2.0)}
"""N, and the distance."""


class TestChangingFloors:
    """Moments under mixings in turn and drawn anew, of workers with minima of their own."""

    @pytest.mark.parametrize("period", [1, 3])
    def test_with_one_matrix_and_one_minimum_it_is_the_other_recursion(self, period):
        matrix = topologies.ring(N).mixing_matrix
        variances, start = np.array([0.5, 2.0]), np.array([1.0, -2.0])
        known = Changing(CURVATURES, np.zeros((N, 2)), variances, (((1.0, matrix),),), period, 0.1)
        expected = mixing_floors.path(Mixed(CURVATURES, variances, matrix, period, 0.1), start, 40)
        for found, moments in zip(changing_floors.path(known, start, 40), expected, strict=True):
            np.testing.assert_allclose(found, moments, rtol=1e-12)

    @pytest.mark.parametrize("name", CHANGING)
    def test_without_noise_moments_are_those_over_all_draws(self, name):
        """Every sequence of three mixings, followed row by row."""
        cycle, start = changing_floors.draws(CHANGING[name]), np.array([1.0, -2.0])
        known = Changing(CURVATURES, CENTRES, np.zeros(2), cycle, 2, 0.1)
        found = changing_floors.path(known, start, 8)
        means, workers = np.zeros((8, 2)), np.zeros((8, 2))
        for some in itertools.product(*[cycle[number % len(cycle)] for number in range(3)]):
            share, rows = np.prod([share for share, _ in some]), np.tile(start, (N, 1))
            for step in range(8):
                means[step] += share * rows.mean(axis=0) ** 2
                workers[step] += share * (rows**2).mean(axis=0)
                rows = rows - 0.1 * CURVATURES * (rows - CENTRES)
                if step % 2 == 1 and step < 6:
                    rows = some[step // 2][1] @ rows
        np.testing.assert_allclose(found.mean, means, rtol=1e-10)
        np.testing.assert_allclose(found.workers, workers, rtol=1e-10)

    @pytest.mark.parametrize("name", CHANGING)
    def test_draws_are_those_of_the_mixing(self, name):
        """In the mean and in the mean square, which is what p is made of."""
        mixing = CHANGING[name]
        for number, some in enumerate(changing_floors.draws(mixing)):
            assert sum(share for share, _ in some) == pytest.approx(1)
            keys = jax.random.split(jax.random.key(0), 4000)
            matrices = np.asarray(jax.vmap(mixing.matrix, (0, None))(keys, jnp.int32(number)))
            matrices = np.broadcast_to(matrices, (4000, N, N))
            expected = sum(share * matrix for share, matrix in some)
            np.testing.assert_allclose(matrices.mean(axis=0), expected, atol=0.05)
        if mixing.block == 1:
            square = sum(share * matrix.T @ matrix for share, matrix in some) - 1 / N
            assert np.linalg.eigvalsh(square)[-1] == pytest.approx(1 - mixing.contraction)

    def test_network_errors(self):
        """Of one matrix the theory's; one peer at a time averages four workers in two mixings."""
        ring = mixings.constant(topologies.ring(8))
        expected = mixing_floors.worst_network_error(ring.constant_matrix, 3)
        assert changing_floors.network_error(ring, 3) == pytest.approx(expected)
        assert changing_floors.network_error(CHANGING["one-peer"], 3) == pytest.approx(5)
        assert changing_floors.network_error(mixings.average(N), 3) == pytest.approx(2)
        alone = mixings.cycle([np.eye(N)])
        assert changing_floors.network_error(alone, 3) == np.inf


class TestWaysAtEqualBits:
    """Periods and bits."""

    def test_periods_make_up_for_messages(self):
        """16 workers, H = 8: two neighbours, four, 30/16 of a star and of an all-reduce, four powers of two."""
        found = {kind: ways_at_equal_bits.period(kind, 8, 16) for kind in ways_at_equal_bits.KINDS}
        assert found == {
            "upload": 8,
            "all-reduce": 15,
            "ring": 16,
            "torus": 32,
            "star": 15,
            "exponential": 32,
            "one-peer": 8,
            "matchings": 8,
            "MATCHA": 8,
        }

    @pytest.mark.parametrize("kind", ["upload", "all-reduce", "ring", "star", "exponential", "one-peer", "matchings"])
    def test_runs_report_the_bits_of_the_budget(self, kind):
        """In the mean over workers; the middle of a star sends n - 1 times what the others do."""
        problem = quadratic.build(num_workers=N, dim=2)
        algorithm = ways_at_equal_bits.build(kind, problem.oracle, budget=4, num_workers=N, step_size=0.1)
        result = run.run(
            algorithm,
            jnp.zeros(2),
            problem.data,
            num_steps=24,
            key=jax.random.key(0),
            metrics={"sent": one_network.sent_by_each(24, num_workers=N), "all": one_network.copies_sent(24)},
            progress=False,
        )
        sent = result.history["sent"][1][-1]
        assert sent.sum() == pytest.approx(result.history["all"][1][-1])
        share = ways_at_equal_bits.share(kind, sent[None], budget=4, num_steps=24)
        assert share.mean() == pytest.approx(1)
        assert share.max() / share.min() == pytest.approx(3 if kind == "star" else 1)

    def test_sizes_have_whole_periods(self):
        for config in local_against_gossip.SIZES.values():
            for kinds, n, budgets, num_steps in (
                (config.kinds, config.num_workers, config.budgets, config.num_steps),
                (config.network.kinds, config.network.num_workers, (config.network.budget,), config.network.num_steps),
            ):
                assert all(budget % (n / 2) == 0 for budget in budgets)
                periods = [ways_at_equal_bits.period(kind, budget, n) for kind in kinds for budget in budgets]
                assert [num_steps % period for period in periods] == [0] * len(periods)
        for config in heterogeneous_shards.SIZES.values():
            assert all(config.num_steps % method.period == 0 for method in heterogeneous_shards.methods(config))


@pytest.fixture(scope="module")
def network():
    """Of few parameters."""
    return one_network.build(
        dataset="digits", reduce=1, channels=(2,), num_workers=2, batch_size=2, num_examples=61, num_test=20
    )


@pytest.fixture(scope="module")
def splits(network):
    """Alike and not."""
    return one_network.splits(network, (one_network.IID, 0.1), num_seeds=2, seed=0)


class TestOneNetwork:
    """Many splits, one program."""

    def test_every_split_has_every_example_once_and_one_shape(self, network, splits):
        shapes = set()
        for shards in [shards for some in splits.values() for shards in some]:
            shapes.add(shards.examples[0].shape)
            own = [
                np.asarray(shards.examples[0][worker, : int(size)]).reshape(int(size), -1)
                for worker, size in enumerate(shards.sizes)
            ]
            expected = network.dataset.train_inputs.reshape(61, -1)
            np.testing.assert_array_equal(
                *(np.array(sorted(rows.tolist())) for rows in (np.concatenate(own), expected))
            )
        assert len(shapes) == 1
        first, second = splits[0.1]
        assert first.sizes.tolist() != second.sizes.tolist()

    def test_what_is_longer_repeats_the_shard(self, splits):
        shards = splits[0.1][0]
        longer = one_network.padded(shards, 97)
        size = int(shards.sizes[1])
        row = np.asarray(longer.examples[1][1])
        np.testing.assert_array_equal(row, np.resize(np.asarray(shards.examples[1][1, :size]), 97))

    def test_dissimilarity_is_that_of_the_shards(self, network, splits):
        """Against gradients of the loss on the examples of each worker, without padding; 0 if all have the same."""
        params = network.problem.init(jax.random.key(3))
        vector = np.asarray(jax.flatten_util.ravel_pytree(params)[0])
        shards = splits[0.1][0]
        rows = []
        for worker, size in enumerate(shards.sizes):
            cut = jax.tree.map(lambda leaf: leaf[worker : worker + 1, :size], shards.examples)  # noqa: B023
            alone = shards._replace(examples=cut, sizes=shards.sizes[worker : worker + 1])
            gradient = jax.grad(network.problem.objective)(params, alone)
            rows.append(np.asarray(jax.flatten_util.ravel_pytree(gradient)[0]))
        mean = np.mean(rows, axis=0)
        expected = [np.mean([((row - mean) ** 2).sum() for row in rows]), (mean**2).sum()]
        np.testing.assert_allclose(one_network.dissimilarity(network, vector, shards), expected, rtol=1e-5)
        same = jax.tree.map(lambda leaf: jnp.stack([leaf[0]] * 2), shards)
        assert one_network.dissimilarity(network, vector, same)[0] == pytest.approx(0, abs=1e-12)

    def test_one_program_trains_on_all_splits_and_judges_x_and_workers(self, network, splits):
        """Compiled once; split and seed decide what is learnt; x is judged on all data."""
        algorithm = local_sgd.build(network.problem.oracle, num_workers=2, step_size=0.2, period=4)
        measured = {"views": one_network.views(7), "sent": one_network.sent_by_each(7, num_workers=2)}
        before = chunks.compiled.cache_info().misses
        found = [
            one_network.train(network, algorithm, splits[alpha][0], measured, num_steps=7, seed=0, number=0)
            for alpha in splits
        ]
        assert chunks.compiled.cache_info().misses == before + 1
        assert np.abs(found[0]["params"] - found[1]["params"]).max() > 1e-3
        again = one_network.train(network, algorithm, splits[0.1][0], measured, num_steps=7, seed=0, number=1)
        assert np.abs(again["params"] - found[1]["params"]).max() > 1e-3
        judged = one_network.judged(network, found[0])
        params = one_network._params(network, found[0]["params"])
        logits_right = network.problem.evaluate(params)["test_accuracy"]
        assert judged["test_accuracy"] == pytest.approx(float(logits_right))
        assert judged["of_workers"].shape == (2,)
        expected = network.problem.objective(params, network.problem.data)
        assert judged["train_loss"] == pytest.approx(float(expected))

    def test_bits_go_to_who_sent_them(self):
        """Of five rounds of federated averaging by one of two workers: five copies, of whoever took part."""
        problem = quadratic.build(num_workers=2, dim=2)
        algorithm = federated_averaging_sgd.build(problem.oracle, num_workers=2, step_size=0.1, period=2, num_sampled=1)
        result = run.run(
            algorithm,
            jnp.zeros(2),
            problem.data,
            num_steps=10,
            key=jax.random.key(2),
            metrics={
                "sent": one_network.sent_by_each(10, num_workers=2),
                "who": metrics.metric(lambda moment: moment.info.workers, 1),
            },
            progress=False,
        )
        who = result.history["who"][1][1::2, 0]
        assert result.history["sent"][1][-1].tolist() == [np.sum(who == 0), np.sum(who == 1)]
        assert len(set(who.tolist())) == 2


class TestLocalAgainstGossip:
    """Of points whose order is known."""

    def points(self, *, copies=1.0, factor=1.0, distances=None, loss=None, error=None):
        """All kinds, once with each of two budgets; `distances`, `loss` and `error` change the ring."""
        found = []
        for problem, budget, kind in itertools.product(local_against_gossip.PROBLEMS, (4, 64), ERRORS):
            network_error, apart = ERRORS[kind]
            at_mean = 1.0 if problem == "alike" or kind in ways_at_equal_bits.LOCAL else 1.2
            if kind == "ring":
                apart, at_mean = distances or apart, loss or at_mean
                network_error = error or network_error
            expected = np.array([at_mean, at_mean + apart * budget, apart * budget])
            measured = np.repeat(expected[None], SEEDS, 0) * noisy(np.ones((1, 1)))[:, 0]
            measured[:, local_against_gossip.APART] *= factor
            found.append(
                local_against_gossip.Point(
                    problem=problem,
                    kind=kind,
                    budget=budget,
                    period=budget,
                    measured=measured,
                    expected=expected,
                    network_error=network_error * budget,
                    copies=np.full((SEEDS, N), copies if kind == "ring" else 1.0),
                )
            )
        return found

    def judge(self, **changed):
        """What does not hold, without of what."""
        return sorted({claim.split(": ", 1)[1].split(",")[0] for claim in self.fails(**changed)})

    def fails(self, **changed):
        return failing(local_against_gossip.claims(self.points(**changed)))

    def test_claims_hold_where_the_numbers_say_so(self):
        assert len(local_against_gossip.claims(self.points())) == 12 + 13
        assert self.fails() == []

    def test_numbers_that_break_a_claim_are_noticed(self):
        assert self.judge(copies=1.1) == ["bits that a worker sends / those it may"]
        assert self.judge(factor=1.2) == ["distance / expected"]
        assert "alike: loss at x / that of upload, farthest from 1" in self.fails(loss=1.05)
        closer = self.judge(distances=0.8)
        assert "distance" in " ".join(closer)
        assert "loss at workers" in " ".join(closer)
        assert self.judge(loss=0.99, distances=3.0)[-1] == "loss at x / that of upload"

    def test_the_criterion_is_judged_where_it_says_either(self):
        """It says gossip for a ring with more bits; and wrongly so if that is farther apart."""
        shares = {
            claim.claim: claim.measured
            for claim in local_against_gossip.claims(self.points())
            if "criterion" in claim.claim
        }
        assert all(share == 1 for share in shares.values())
        assert any("where it says gossip: share of 4 pairs" in name for name in shares)
        wrong = self.fails(error=1.0)
        assert [name for name in wrong if "equal bits: share" in name]
        assert [name for name in wrong if "where it says gossip" in name]
        assert not [name for name in wrong if "where it says local" in name]

    def training(self, alpha, kind, *, distance=1.0, loss=1.0, accuracy=0.5, copies=1.0):
        measured = np.stack([noisy(loss), noisy(loss), noisy(distance)], axis=1)
        accuracies = np.stack([noisy(0.6), noisy(accuracy)], axis=1)
        return network_at_equal_bits.Training(
            alpha, kind, 8, measured, accuracies, np.repeat(measured[:, None], 16, 1), np.full((SEEDS, N), copies)
        )

    def test_the_network_is_judged_against_the_all_reduce(self):
        def judge(**ring):
            own = [self.training(0.1, "all-reduce"), self.training(0.1, "upload", distance=0.5)]
            claims = network_at_equal_bits.claims([*own, self.training(0.1, "ring", **ring)])
            return [claim.holds for claim in claims]

        assert judge(distance=1.5, accuracy=0.4, loss=1.1) == [True] * 4
        assert judge(distance=0.9, accuracy=0.4) == [True, False, True, True]
        assert judge(distance=1.5, accuracy=0.51) == [True, True, False, True]
        assert judge(distance=1.5, accuracy=0.4, loss=0.8) == [True, True, True, False]
        assert judge(distance=1.5, accuracy=0.4, copies=1.1) == [False, True, True, True]

    @pytest.mark.parametrize("kind", ["all-reduce", "matchings"])
    def test_moments_are_measured_where_they_are_expected(self, kind, tmp_path):
        """A run itself, from the start on, of workers that differ."""
        config = dataclasses.replace(local_against_gossip.SIZES["smoke"], num_steps=600)
        record.open_folder(tmp_path, config, size="smoke")
        point = local_against_gossip.measure(config, "different", kind, 4, tmp_path)
        np.testing.assert_allclose(point.copies.mean(), 1.0)
        np.testing.assert_allclose(point.measured.mean(axis=0), point.expected, rtol=0.35)
        np.testing.assert_allclose(
            point.measured[:, local_against_gossip.APART].mean(), point.expected[local_against_gossip.APART], rtol=0.12
        )

    def test_all_is_written_from_end_to_end(self, tmp_path, monkeypatch):
        """Tables, points and figure of the small size, with runs that are as expected."""
        config = dataclasses.replace(
            local_against_gossip.SIZES["small"],
            num_steps=240,
            network=network_at_equal_bits.Config(dataset="digits", reduce=1, num_examples=200),
        )

        def as_expected(config, problem, kind, budget):
            values = local_against_gossip.second_half(
                local_against_gossip.expected(config, problem, kind, budget)[None]
            )[0]
            share = ways_at_equal_bits.share(kind, np.ones((1, 16)), budget=budget, num_steps=config.num_steps)
            return {"values": noisy(values[None])[:, 0], "sent": np.full((SEEDS, 16), 1 / share[0, 0])}

        def learnt(config, network, kind, splits, measured, run_dir):
            losses = np.tile(np.linspace(2.0, 1.0, 16)[:, None], (1, 2))
            one = {"losses": losses, "apart": np.ones(16), "sent": np.ones((2, 8)), "of_workers": np.full(8, 0.5)}
            return {alpha: [{**one, "test_accuracy": np.asarray(0.6)}] * 3 for alpha in splits}

        monkeypatch.setattr(local_against_gossip, "floors", as_expected)
        monkeypatch.setattr(network_at_equal_bits, "trained", learnt)
        answer = local_against_gossip.main(config, size="small", run_dir=tmp_path)
        assert not [name for name in failing(answer.claims) if "expected" in name or "alike: bits" in name]
        assert len(lines_of(tmp_path / "points.csv")) == 2 * 2 * 9 + 2 * 7
        assert (tmp_path / "figure.png").stat().st_size > 50_000


class TestHeterogeneousShards:
    """Of losses that are known."""

    CONFIG = dataclasses.replace(heterogeneous_shards.SIZES["small"], num_seeds=SEEDS)

    def outcomes(self, **changed):
        """The more heterogeneous, the greater the loss of all but synchronous SGD."""
        given = {
            "slope": 0.1,
            "few": 2.0,
            "best": 0.2,
            "floor": 0.0,
            "ratio": 10.0,
            "copies": 1.0,
            "long": 2.0,
        } | changed
        found = []
        for method in heterogeneous_shards.methods(self.CONFIG):
            for place, alpha in enumerate(self.CONFIG.alphas):
                strength = (2 - place) * (given["slope"] if method.kind != "synchronous" else 0.0)
                factor = {"local": 1.0, "federated": 1.5}.get(method.kind, 1.2)
                factor *= given["long"] if method.period == 64 else 1.0
                few = given["few"] if method.kind == "synchronous" and method.num_steps < self.CONFIG.num_steps else 0.0
                above = strength * factor + few + (given["floor"] if method.kind == "ring" else 0.0)
                found.append(
                    heterogeneous_shards.Outcome(
                        method,
                        alpha,
                        noisy(given["ratio"] ** (2 - place)),
                        0.5 + noisy(above + 1e-3),
                        noisy(0.8),
                        np.tile(noisy(0.8 - given["best"])[:, None], (1, 8)),
                        np.full((SEEDS, 8), given["copies"] if method.kind == "overlap" else 1.0),
                    )
                )
        return found

    def fails(self, **changed):
        return failing(heterogeneous_shards.claims(self.CONFIG, self.outcomes(**changed)))

    def test_claims_hold_where_the_numbers_say_so(self):
        assert len(heterogeneous_shards.claims(self.CONFIG, self.outcomes())) == 2 + 10 + 1 + 1 + 3 + 1
        assert self.fails() == []

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"ratio": 1.0}, ["ζ² at"]),
            ({"copies": 1.01}, ["bits sent / budget"]),
            ({"few": 0.1}, ["α = 0.1, equal bits: loss of 24 synchronous"]),
            ({"best": -0.05}, ["α = 0.1: test accuracy of x less"]),
            ({"floor": 0.1}, ["α = 100: loss above synchronous SGD, most, of ring"]),
            ({"long": 0.5}, ["α = 0.1: loss of local, τ = 64 less local, τ = 4"]),
        ],
    )
    def test_numbers_that_break_a_claim_are_noticed(self, changed, expected):
        found = self.fails(**changed)
        assert len(found) == len(expected)
        assert all(name.startswith(start) for name, start in zip(found, expected, strict=True))

    def test_who_does_not_suffer_is_noticed(self):
        assert len([name for name in self.fails(slope=0.0) if "less at α" in name]) == 10

    def test_methods_move_x_alike(self):
        """Equal gradients: x moves by the effective step size, whoever takes part; without an anchor on its way."""

        def oracle(keys, views, data, workers):
            del keys, data, workers
            return jnp.zeros(len(views)), jnp.ones_like(views)

        for method in heterogeneous_shards.methods(self.CONFIG):
            algorithm = heterogeneous_shards.build(self.CONFIG, method, oracle)
            state = algorithm.init(jax.random.key(0), jnp.zeros(1))
            step = jax.jit(algorithm.step)
            for number in range(3):
                state, _ = step(jax.random.key(number), state, ())
            np.testing.assert_allclose(algorithm.global_params(state), -3 * self.CONFIG.step_size, rtol=1e-6)

    def test_all_is_written_from_end_to_end(self, tmp_path, monkeypatch):
        """Table, points and figure of the small size, with losses as above."""
        known = {(one.method, one.alpha): one for one in self.outcomes()}

        def trained(config, network, splits, run_dir):
            def one(method, alpha, seed):
                own = known[method, alpha]
                sent = own.copies[seed] * config.num_steps / config.budget
                values = {"train_loss": own.loss[seed], "test_accuracy": own.accuracy[seed]}
                return {**values, "of_workers": own.of_workers[seed], "sent": np.tile(sent, (2, 1))}

            return {
                method: {alpha: [one(method, alpha, seed) for seed in range(SEEDS)] for alpha in splits}
                for method in heterogeneous_shards.methods(config)
            }

        def dissimilarities(network, splits, synchronous, run_dir):
            return {alpha: known[heterogeneous_shards.methods(self.CONFIG)[0], alpha].dissimilarity for alpha in splits}

        monkeypatch.setattr(heterogeneous_shards, "train", trained)
        monkeypatch.setattr(heterogeneous_shards, "dissimilarities", dissimilarities)
        config = dataclasses.replace(self.CONFIG, dataset="digits", reduce=1, num_examples=200)
        answer = heterogeneous_shards.main(config, size="small", run_dir=tmp_path)
        assert failing(answer.claims) == []
        assert len(lines_of(tmp_path / "points.csv")) == 12 * 3 * SEEDS
        assert (tmp_path / "figure.png").stat().st_size > 50_000
