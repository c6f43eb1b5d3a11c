"""An experiment's claims are judged by its numbers, and its record says what is needed to repeat it."""

import json

import numpy as np
import pytest

import experiments
from experiments import families_on_digits
from experiments.answer import Answer


def row(**changed) -> families_on_digits.Row:
    """A row whose claims hold."""
    steps = np.arange(4)
    good = families_on_digits.Row(
        label="some_sgd",
        num_active=8,
        step_size=0.1,
        steps=steps,
        losses=np.ones((2, 4)),
        bits=np.ones((2, 4)),
        num_bits=4.0,
        distance_steps=steps,
        distances=np.array([0.0, 0.1, 0.2, 0.1]),
        bounds=np.full(4, 0.2),
        accuracies=np.array([0.95, 0.97]),
        staleness=1.0,
        second_moment=1.0,
    )
    return good._replace(**changed)


def verdicts(*rows: families_on_digits.Row) -> list[bool]:
    """Of accuracy and bound, in turn."""
    return [claim.holds for claim in families_on_digits.claims(list(rows), families_on_digits.Config())]


def test_claims_hold_where_the_numbers_say_so():
    assert verdicts(row()) == [True, True]
    assert verdicts(row(bounds=None)) == [True]


def test_a_single_step_above_its_bound_is_noticed():
    distances = np.array([0.0, 0.1, 0.21, 0.1])
    assert verdicts(row(distances=distances)) == [True, False]
    assert verdicts(row(bounds=np.zeros(4))) == [True, False]


def test_an_accuracy_below_the_goal_is_noticed():
    assert verdicts(row(accuracies=np.array([0.95, 0.8]))) == [False, True]


def test_the_figure_and_the_tables_are_written(tmp_path):
    config = families_on_digits.Config(num_evaluations=2)
    families_on_digits.plot([row(), row(bounds=None)], config, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    families_on_digits.save_metrics([row()], tmp_path / "metrics.csv")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "row,seed,step,gradients,bits,objective"
    assert len(lines) == 1 + 2 * 4
    assert lines[2] == "some_sgd,0,1,8,1,1.0"


def test_the_record_has_what_is_needed_to_repeat_it(tmp_path):
    answer = Answer("why?", "smoke", families_on_digits.claims([row()], families_on_digits.Config()), 1.0)
    answer.save(tmp_path)
    written = json.loads((tmp_path / "answer.json").read_text())
    assert set(written) == {"question", "size", "claims", "seconds", "machine", "commit", "versions"}
    assert set(written["claims"][0]) == {"claim", "expected", "measured", "low", "high", "holds"}
    assert written["versions"]["jax"]


def test_every_experiment_has_its_sizes_and_a_question():
    for name in experiments.names():
        module = experiments.experiment(name)
        assert set(module.SIZES) >= {"smoke", "small", "paper"}
        assert module.__doc__.splitlines()[0].endswith("?")
    with pytest.raises(ValueError, match="did you mean 'families_on_digits'"):
        experiments.experiment("families_on_digit")
