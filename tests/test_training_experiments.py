"""Claims on error feedback and on the elastic scheduler follow the numbers; figures and points are written."""

import csv

import numpy as np
import pytest

from elastic_jax import data
from experiments import elastic_scheduler, layers
from experiments import error_feedback_in_shared_memory as error_feedback
from experiments.error_feedback_in_shared_memory import Setting

SHARED = error_feedback.Config(fractions=(1.0, 0.1), delays=(4,))
SCHEDULER = elastic_scheduler.Config(shares=(0.0, 0.5, 1.0), ratios=(1.0, 2.0), num_steps=8, num_points=4)
COSTS = layers.Costs((1, 0), np.array([10, 30]), np.array([300, 100]))
NOISE = np.array([-0.01, 0.0, 0.01])


def compressed(gains: dict[int | None, float]) -> dict[Setting, error_feedback.Row]:
    """All settings; with memory the loss is less by so much."""
    found = {}
    for setting in error_feedback.settings(SHARED):
        gain = gains[setting.delay] if setting.has_memory else 0.0
        found[setting] = error_feedback.Row(
            setting,
            step_sizes=np.array([0.1, 0.2, 0.4]),
            costs=np.array([2.0, 1.0, 3.0]),
            losses=1.0 - gain + NOISE * (1 + setting.has_memory),
            test_losses=1.5 + NOISE,
            accuracies=0.5 + NOISE,
            constant_sq=np.ones(3),
            num_bits=np.asarray(1e6),
        )
    return found


def scheduled(losses: dict[float, float], times: dict[float, float]) -> list[elastic_scheduler.Row]:
    """Both kinds at every β, with these losses and, at ρ = 1, times."""
    return [
        elastic_scheduler.Row(
            kind,
            share,
            losses=np.full((3, 4), losses[share]) + NOISE[:, None] * (1 + (share < 1)),
            test_losses=1.0 + NOISE,
            accuracies=0.5 + NOISE,
            awaited=np.full((3, 8, 2), int(2 * share)),
            constant_sq=np.ones(3),
            times=np.tile([times[share], 2 * times[share]], (3, 1)),
        )
        for kind, share in elastic_scheduler.settings(SCHEDULER)
    ]


@pytest.mark.parametrize(
    ("gains", "verdicts"),
    [
        ({None: 0.5, 4: 0.0}, [True, True, True]),
        ({None: 0.0, 4: 0.0}, [False, True, False]),
        ({None: 0.5, 4: 0.4}, [True, False, True]),
        ({None: 0.2, 4: 0.5}, [True, False, False]),
        ({None: 0.2, 4: -0.5}, [True, True, True]),
    ],
)
def test_whether_memory_helps_is_read_off_the_losses(gains, verdicts):
    """It helps the control; it need not help where reads are late; it helps there less."""
    claims = error_feedback.claims(compressed(gains), SHARED)
    assert [claim.holds for claim in claims] == verdicts
    assert claims[0].measured == pytest.approx(gains[None])
    assert claims[1].measured == pytest.approx(gains[4])


def test_the_step_size_is_that_of_the_least_cost():
    row = next(iter(compressed({None: 0.0, 4: 0.0}).values()))
    assert row.step_size == 0.2


def test_both_halves_of_a_pair_send_as_much_and_differ_in_memory_alone():
    settings = error_feedback.settings(SHARED)
    assert len(settings) == len(set(settings)) == 2 + 4
    assert not any(setting.has_memory for setting in settings if setting.fraction == 1)


def test_the_last_quarter_is_a_quarter():
    assert error_feedback.last_quarter(np.arange(16.0).reshape(2, 8)).tolist() == [6.5, 14.5]


FAST, LOW = {0.0: 0.5, 0.5: 0.8, 1.0: 1.5}, {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}


@pytest.mark.parametrize(
    ("losses", "times", "failing"),
    [
        (LOW, FAST, set()),
        (LOW | {0.0: 1.5}, FAST, {"β = 0: training loss"}),
        (LOW, FAST | {0.0: 0.9}, {"least rise"}),
        (LOW, FAST | {0.5: 1.55, 1.0: 1.6}, {"better of plain and cross-barrier"}),
    ],
)
def test_what_the_scheduler_buys_is_read_off_losses_and_times(losses, times, failing):
    claims = elastic_scheduler.claims(scheduled(losses, times), SCHEDULER, COSTS)
    assert len(claims) == 2 * (1 + 2) + 2
    for claim in claims:
        assert claim.holds != any(part in claim.claim for part in failing), claim


def test_the_model_of_layers_has_one_unit_of_computing():
    model = elastic_scheduler.seconds(COSTS, 2.0)
    assert model.forward.sum() + model.backward.sum() == pytest.approx(1)
    np.testing.assert_allclose(model.backward, 2 * model.forward)
    np.testing.assert_allclose(model.link, [0.5, 1.5])


def test_reduced_images_are_means_over_squares():
    """Rounded, and of the same type."""
    corner = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    dataset = data.Dataset("some", corner, np.zeros(1, np.int32), corner, np.zeros(1, np.int32), 2)
    found = elastic_scheduler.reduced(dataset, 2)
    assert found.train_inputs.dtype == np.uint8
    assert found.train_inputs[0, :, :, 0].tolist() == [[2, 4], [10, 12]]
    assert elastic_scheduler.reduced(dataset, 1).test_inputs is corner


def test_times_of_iterations_are_means_over_steps_and_workers():
    """Both layers awaited is plain, none is computing alone where the link is quick."""
    model = elastic_scheduler.seconds(COSTS, 0.5)
    awaited = np.array([[[2, 2]] * 6, [[0, 0]] * 6, [[2, 0]] * 6])
    plain, none, half = elastic_scheduler.iteration_times(awaited, model)
    assert none == pytest.approx(1.0)
    assert plain == pytest.approx(elastic_scheduler.layered_time.plain(model))
    assert half == pytest.approx((plain + none) / 2)


def test_figures_tables_and_points_are_written(tmp_path):
    found = compressed({None: 0.5, 4: 0.1})
    error_feedback.plot(found, SHARED, tmp_path / "first.png")
    error_feedback.save_points(found, tmp_path / "points.csv")
    with (tmp_path / "points.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(found)
    assert {line["delay"] for line in lines} == {"synchronous", "4"}
    headings, shown = error_feedback.rows(found, SHARED)
    assert {len(line) for line in shown} == {len(headings)}

    others = scheduled(LOW, FAST)
    elastic_scheduler.plot(others, SCHEDULER, COSTS, tmp_path / "second.png")
    elastic_scheduler.save_points(others, SCHEDULER, COSTS, tmp_path / "others.csv")
    with (tmp_path / "others.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3 * len(others)
    headings, shown = elastic_scheduler.rows(others, SCHEDULER, COSTS)
    assert {len(line) for line in shown} == {len(headings)}
    for name in ("first", "second"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
