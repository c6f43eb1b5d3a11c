"""What the experiments on swarms say follows their numbers, and their smallest sizes run from end to end."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import base
from experiments import quantised_swarm, record, swarm_against_others, swarm_training
from experiments.quantised_swarm import EXACT, KINDS
from experiments.swarm_against_others import LARGE_BATCH, SWARM, WAYS, Setting

NOISE = np.array([-0.05, 0.0, 0.05, 0.02, -0.02])
SEEDS = len(NOISE)
NETWORK = swarm_training.Network(
    dataset="digits", reduce=1, channels=(), num_examples=96, num_test=40, batch_size=2, step_size=0.02
)
OTHERS = swarm_against_others.Config(
    network=NETWORK, num_workers=(4,), multipliers=(1.0, 2.0), epochs=0.5, num_points=3, num_seeds=2
)
QUANTISED = quantised_swarm.Config(
    network=NETWORK,
    kinds=(EXACT, "8 bits", "4 bits, rotated", "QSGD, 4 bits"),
    num_workers=4,
    epochs=0.75,
    num_points=4,
    num_seeds=2,
)


def lines_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def failing(claims):
    """What is claimed and does not hold."""
    return [claim.claim for claim in claims if not claim.holds]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{name: (module, configuration, folder, answer)} of both experiments."""
    found = {}
    for module, config in ((swarm_against_others, OTHERS), (quantised_swarm, QUANTISED)):
        folder = tmp_path_factory.mktemp("swarm")
        found[module.__name__] = module, config, folder, module.main(config, size="tiny", run_dir=folder)
    return list(found.values())


class TestRuns:
    """Both experiments on a few steps of a tiny network."""

    def test_all_is_written(self, runs):
        for module, config, folder, answer in runs:
            assert (folder / "figure.png").stat().st_size > 30_000
            assert json.loads((folder / "answer.json").read_text())["question"] == module.QUESTION
            assert len(answer.claims) == len({claim.claim for claim in answer.claims})
            table = (folder / "table.md").read_text(encoding="utf-8").splitlines()
            points = lines_of(folder / "points.csv")
            assert len(points) == (len(table) - 2) * config.num_seeds * config.num_points

    def test_six_steps_teach_nothing(self, runs):
        for _, _, _, answer in runs:
            assert any("accuracy of x (%)" in claim for claim in failing(answer.claims))

    def test_what_was_trained_is_kept(self, runs, monkeypatch):
        monkeypatch.setattr(swarm_training, "train", pytest.fail)
        for module, config, folder, answer in runs:
            again = module.main(config, size="tiny", run_dir=folder).claims
            assert list(map(str, again)) == list(map(str, answer.claims))  # a NaN is not equal to itself
            with pytest.raises(ValueError, match="another configuration"):
                module.main(dataclasses.replace(config, epochs=9.0), size="tiny", run_dir=folder)

    def test_a_worker_sends_what_its_way_sends(self, runs):
        """Copies in a step: one to all, a third with three local steps, two to both neighbours or to and fro."""
        expected = {LARGE_BATCH: 1, "local SGD": 1 / 3, "D-PSGD": 2, "AD-PSGD": 2, SWARM: 1 / 3, "swarm, ring": 1 / 3}
        copies = {line["way"]: float(line["copies"]) for line in lines_of(runs[0][2] / "points.csv") if line["copies"]}
        for way, share in expected.items():
            assert copies[way] == pytest.approx(share, rel=1e-5)
        assert copies["SGP"] == pytest.approx(1, rel=0.01)

    def test_nodes_of_large_batch_are_at_x(self, runs):
        for line in lines_of(runs[0][2] / "points.csv"):
            if line["way"] == LARGE_BATCH and line["accuracy"]:
                assert line["half_way"] == line["half_way_of_node"]

    def test_quantised_messages_are_as_short_as_they_say(self, runs):
        found = {line["kind"]: line for line in lines_of(runs[1][2] / "points.csv") if line["messages"]}
        turns = swarm_training.num_turns(NETWORK, epochs=0.75, num_workers=4, local_steps=3)
        exact = float(found[EXACT]["bits_of_worker"])
        for kind, line in found.items():
            assert float(line["messages"]) == turns * 4
            assert float(line["failures"]) == 0
            share = KINDS[kind].num_bits / 32
            assert share <= float(line["bits_of_worker"]) / exact < share + 0.05


class TestTraining:
    """Steps, step sizes and places."""

    def test_every_way_takes_as_many_gradients(self):
        problem = swarm_training.build_problem(NETWORK, num_workers=4, seed=0)
        for way in WAYS:
            program = swarm_against_others.build(OTHERS, problem, Setting(way, 4))
            active = base.num_active(program.algorithm, problem.init(jax.random.key(0)), problem.data)
            assert program.num_steps * active == program.num_rounds * 4
            assert program.num_rounds == 6
            assert program.half_way * active == 4 * 4  # one step after the first meeting

    def test_more_epochs_stretch_the_schedule(self):
        kept = {"highest": 0.4, "warm_up": 0.1}
        short, long = (
            [float(swarm_training.step_size(jnp.asarray(t), num_steps=num_steps, **kept)) for t in range(num_steps)]
            for num_steps in (100, 200)
        )
        np.testing.assert_allclose(long[1::2][5:], short[5:], atol=0.03)
        np.testing.assert_allclose(short[0], 0.04, rtol=1e-5)
        assert max(short) == pytest.approx(0.39, abs=0.01)
        assert 0 < short[-1] < 1e-3

    def test_who_is_ahead_of_the_others_stops_at_the_end(self):
        late = swarm_training.step_size(jnp.asarray(130), highest=1.0, num_steps=100, warm_up=0.1)
        assert abs(float(late)) < 1e-6

    def test_step_sizes_grow_with_the_examples_of_a_round(self):
        network = swarm_training.Network(batch_size=8, reference_batch=64, step_size=0.05, scaling=0.5)
        assert swarm_training.highest_step_size(network, 8) == pytest.approx(0.05)
        assert swarm_training.highest_step_size(network, 32) == pytest.approx(0.1)

    def test_blocks_are_as_equal_as_can_be(self):
        assert swarm_training.over_blocks(np.arange(7.0), 3).tolist() == [1.0, 3.5, 5.5]
        assert np.isnan(swarm_training.finite(np.array([1.0, np.inf]))).tolist() == [False, True]


class TestSwarmAgainstOthers:
    """Claims on rows whose numbers are known."""

    CONFIG = swarm_against_others.Config(num_workers=(8,), multipliers=(1.0, 1.5, 2.0))

    def rows(self, ends, half_ways=-2.0):
        """Accuracies of x in the end by way, or (SWARM, multiplier); nodes are as good, but not half-way.

        Others have 60 %, the swarm a little less, and more with more epochs.
        """
        found, ends = [], {SWARM: 59.7, (SWARM, 1.5): 60.5, (SWARM, 2.0): 61.5, **ends}
        for setting in swarm_against_others.settings(self.CONFIG, 8):
            key = setting.way if setting.multiplier == 1 else (setting.way, setting.multiplier)
            end = ends.get(key, 60.0) + NOISE * (1 + len(found))
            node = end + ends.get("node", 0.0)
            half_way = 50.0 + NOISE
            accuracies = np.stack([np.stack([half_way, half_way + half_ways + NOISE]), np.stack([end, node])])
            found.append(
                swarm_against_others.Row(
                    setting, np.ones((SEEDS, 25)) + NOISE[:, None], np.moveaxis(accuracies, -1, 0), np.ones(SEEDS)
                )
            )
        return found

    def judge(self, ends, **others):
        return swarm_against_others.claims(self.rows(ends, **others), self.CONFIG)

    def test_claims_hold_where_the_numbers_say_so(self):
        claims = self.judge({SWARM: 59.5})
        assert failing(claims) == []
        assert len(claims) == 7
        assert next(claim.measured for claim in claims if "multiple" in claim.claim) == pytest.approx(1.25)

    @pytest.mark.parametrize(
        ("ends", "expected"),
        [
            ({SWARM: 57.0, (SWARM, 1.5): 61.0}, ["swarm less large batch", "swarm less others"]),
            ({SWARM: 63.0}, ["swarm less large batch"]),
            ({"SGP": 62.0}, ["of SGP"]),
            ({"node": -3.0}, ["one node less that of x"]),
            ({SWARM: 59.5, (SWARM, 1.5): 59.0, (SWARM, 2.0): 58.0}, ["swarm × 2", "multiple of the epochs"]),
            (dict.fromkeys(WAYS, 11.0), ["accuracy of x (%)"]),
        ],
    )
    def test_planted_results_are_noticed(self, ends, expected):
        """Behind, ahead, others ahead, a node behind, never there, nothing learnt."""
        found = failing(self.judge(ends))
        assert len(found) == len(expected)
        for part, claim in zip(expected, found, strict=True):
            assert part in claim

    def test_a_node_that_is_not_behind_half_way_is_noticed(self):
        assert [claim for claim in failing(self.judge({}, half_ways=0.0)) if "half-way" in claim]

    def test_gains_are_linear_between_multipliers(self):
        assert swarm_against_others.reaching(np.array([-3.0, -1.0, 1.0]), multipliers=(1.0, 1.5, 2.0)) == 1.75
        assert swarm_against_others.reaching(np.array([0.5, -1.0]), multipliers=(1.0, 2.0)) == 1.0
        assert swarm_against_others.reaching(np.array([-0.5, -1.0]), multipliers=(1.0, 2.0)) == np.inf

    def test_figure_and_points_show_what_was_measured(self, tmp_path):
        found = self.rows({SWARM: 59.0})
        swarm_against_others.plot(found, self.CONFIG, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 30_000
        swarm_against_others.save_points(found, self.CONFIG, tmp_path / "points.csv")
        assert len(lines_of(tmp_path / "points.csv")) == len(found) * SEEDS * 25
        headings, lines = swarm_against_others.rows(found, self.CONFIG)
        assert {len(line) for line in lines} == {len(headings)}


class TestQuantisedSwarm:
    """Claims on rows whose numbers are known, and the seconds of the model."""

    CONFIG = quantised_swarm.Config(num_points=20)

    def rows(self, **changed):
        """Kinds that cost nothing but QSGD, whose losses fall alike; `changed` are fields of the first lattice."""
        found = []
        for number, (name, kind) in enumerate(KINDS.items()):
            accuracy = 60.0 if kind.is_near else 40.0
            steps = np.arange(20) + 0.5
            row = quantised_swarm.Row(
                kind=name,
                losses=np.exp(-steps / 10) * (1 + NOISE[:, None] / 10),
                times=np.tile(steps * (1 + kind.num_bits / 32), (SEEDS, 1)),
                seconds=np.full(SEEDS, 20 * (1 + kind.num_bits / 32)),
                accuracies=accuracy + NOISE[:, None, None] * (1 + number) * np.ones((2, 2)),
                test_losses=np.ones((SEEDS, 2, 2)) + NOISE[:, None, None],
                num_failures=np.zeros(SEEDS),
                num_messages=np.full(SEEDS, 1000.0),
                num_bits=np.full(SEEDS, kind.num_bits * 1.001),
                sent=np.full(SEEDS, 1e6 * kind.num_bits),
            )
            found.append(row._replace(**changed) if name == "8 bits" else row)
        return found

    def test_claims_hold_where_the_numbers_say_so(self):
        claims = quantised_swarm.claims(self.rows())
        assert failing(claims) == []
        assert len(claims) == 1 + 3 * 4 + 5 + 2
        times = [claim.measured for claim in claims if "seconds" in claim.claim]
        np.testing.assert_allclose(times, [1.25 / 2, 1.125 / 2, 1.125 / 2], rtol=1e-6)

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"accuracies": 58.0 + NOISE[:, None, None] * np.ones((2, 2))}, ["of x less", "of one node less"]),
            ({"num_failures": np.array([0.0, 0.0, 1.0, 0.0, 0.0])}, ["decoded wrongly"]),
            ({"losses": np.ones((SEEDS, 20)) + NOISE[:, None]}, ["seconds"]),
            ({"num_bits": np.full(SEEDS, 9.0)}, ["bits of a message"]),
            ({"num_bits": np.full(SEEDS, 7.0)}, ["bits of a message"]),
        ],
    )
    def test_planted_results_are_noticed(self, changed, expected):
        found = failing(quantised_swarm.claims(self.rows(**changed)))
        assert len(found) == len(expected)
        for part, claim in zip(expected, found, strict=True):
            assert claim.startswith("8 bits")
            assert part in claim

    def test_a_norm_based_quantiser_that_costs_nothing_is_noticed(self):
        rows = self.rows()
        rows[-2] = rows[-2]._replace(accuracies=rows[0].accuracies)
        assert failing(quantised_swarm.claims(rows)) == [
            "QSGD, 8 bits: accuracy of x less that of x with exact messages"
        ]

    def test_what_diverges_is_shown_and_loses(self, tmp_path):
        """Its losses are NaN; guessing is what is left of its accuracy."""
        rows = self.rows()
        rows[-1] = rows[-1]._replace(
            losses=np.full((SEEDS, 20), np.nan),
            test_losses=np.full((SEEDS, 2, 2), np.nan),
            accuracies=np.full((SEEDS, 2, 2), 10.0),
        )
        assert failing(quantised_swarm.claims(rows)) == []
        quantised_swarm.plot(rows, self.CONFIG, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 30_000
        headings, lines = quantised_swarm.rows(rows)
        assert {len(line) for line in lines} == {len(headings)}
        assert lines[-1][-1] == "not finite"

    def test_seconds_are_those_of_steps_meetings_and_bits(self):
        """Steps of 1 s, meetings after two of them with 0.5 s of latency and 6 bits at 3 bits a second."""
        config = dataclasses.replace(self.CONFIG, compute=1.0, latency=0.5, bandwidth=3.0)
        bits = np.array([0.0, 6.0, 6.0, 12.0])
        assert quantised_swarm.meetings(bits).tolist() == [0, 1, 1, 2]
        assert quantised_swarm.clocked(config, bits).tolist() == [1.0, 4.5, 5.5, 9.0]

    def test_wrongly_decoded_messages_are_counted_and_no_warning(self, tmp_path, monkeypatch):
        """A distance that is far too small."""
        narrow = quantised_swarm.compressors.lattice(16, distance=1e-6)
        monkeypatch.setattr(quantised_swarm, "KINDS", {"narrow": quantised_swarm.Kind(narrow, 4)})
        config = dataclasses.replace(QUANTISED, num_seeds=1)
        record.open_folder(tmp_path, config, size="tiny")
        problem = swarm_training.build_problem(NETWORK, num_workers=4, seed=0)
        row = quantised_swarm.measure(config, problem, "narrow", tmp_path)
        assert 0 < row.num_failures[0] <= row.num_messages[0]
