"""The benchmark compares like with like, and writes the documented record."""

import json
import time

import jax
import numpy as np
import optax
import pytest

from elastic_jax import algorithms, cli
from elastic_jax.benchmarks import grid, ideal, relaxed, timing, workloads
from elastic_jax.problems import quadratic


def test_the_hand_written_loop_takes_the_steps_it_says():
    """Every worker of a noiseless quadratic moves by optax's rule, as often as asked, with one thread or two."""
    work = workloads.quadratics(5, 0.0, 3, None)
    start = work.problem.init(jax.random.key(0))
    for num_threads in (1, 2):
        hand = ideal.HandLoop(work, optax.sgd(0.5), 3)
        assert hand.seconds(4, num_threads) > 0
        for worker, (params, _, _) in enumerate(hand._workers):
            curvatures, centres = (work.problem.data[name][worker] for name in ("curvatures", "centres"))
            expected = centres + (1 - 0.5 * curvatures) ** 4 * (start - centres)
            np.testing.assert_allclose(params, expected, rtol=1e-6)


def test_the_record_of_a_small_benchmark(tmp_path):
    file = tmp_path / "bench.json"
    argv = ["bench", "--workloads", "quadratic d=100", "--num-workers", "4", "--num-devices", "1", "--rounds", "1"]
    with pytest.raises(SystemExit):
        cli.main([*argv, "--no-rates", "--no-relaxed", "--json", str(file), "--markdown", str(tmp_path / "bench.md")])
    row, larger = json.loads(file.read_text())["rows"]
    assert larger["problem"] == "quadratic d=10000"
    documented = "algorithm problem num_workers device num_devices step_ms ideal_ms ratio num_active compile_s"
    documented += " state_bytes formula_bytes"
    assert set(documented.split()) <= set(row)
    assert row["state_bytes"] == row["formula_bytes"] == 4 + 4 * 100 * 8
    assert row["ratio"] == pytest.approx(row["step_ms"] / row["ideal_ms"])
    assert "Commit" in (tmp_path / "bench.md").read_text()


@pytest.mark.parametrize(("error", "measured"), [(RuntimeError("no memory"), 3), (KeyboardInterrupt(), 1)])
def test_what_was_measured_survives_a_case_that_fails_and_an_interruption(tmp_path, monkeypatch, error, measured):
    """One that fails is named and the others go on; after Ctrl-C nothing more is measured and all is written."""
    row = grid.Row("a", "p", 4, "cpu", 1, 1.0, 1.0, 1.0, 4, 1.0, 8, 8, None)
    outcomes = iter([row, error, row, row])

    def measure(*case, num_rounds):
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(grid, "measure", measure)
    monkeypatch.setattr(relaxed, "CASES", {"never timed": ("local_sgd", {})} if measured == 1 else {})
    file = tmp_path / "bench.json"
    argv = ["bench", "--workloads", "quadratic", "--num-workers", "4", "8", "--num-devices", "1", "--no-rates"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*argv, "--json", str(file), "--markdown", str(tmp_path / "bench.md")])
    found = json.loads(file.read_text())
    assert stopped.value.code == 1
    assert len(found["rows"]) == measured
    (failure,) = found["failures"]
    assert failure["case"].startswith("local_sgd, quadratic d=100, 8, 1")
    assert failure["error"] == ("interrupted" if measured == 1 else "RuntimeError: no memory")


def test_every_relaxation_that_is_timed_can_be_built():
    """Each builds on the problem that it is timed on."""
    problem = quadratic.build(num_workers=8)
    for variant, parts in relaxed.CASES.values():
        algorithms.variant(variant).build(problem.oracle, num_workers=8, step_size=0.1, **parts)


def test_medians_are_of_one_call(monkeypatch):
    """On a clock that advances by 1 in each call of the first function and by 5 in each of the second."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    for calls in (1, 3):
        assert timing.medians([lambda: advance(1), lambda: advance(5)], 3, calls=calls) == [1, 5]
