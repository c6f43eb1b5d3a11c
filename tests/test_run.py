"""The loop: a run is a function of its arguments alone, whatever its chunks, interruptions and metrics."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import algorithms, base, devices, metrics, oracles, run
from elastic_jax.algorithms import delayed_sgd, local_sgd, parameter_server_sgd
from elastic_jax.run import buffers, chunks

NUM_WORKERS = 4
CENTERS = jnp.arange(NUM_WORKERS * 3, dtype=jnp.float64).reshape(NUM_WORKERS, 3) / 7
PARAMS = {"w": jnp.array([1.0, -2.0, 0.5])}
EVERYTHING = {
    "loss": metrics.loss(3),
    "rarely": metrics.consistency_distance_sq(10),
    "bits": metrics.total_bits(4),
}


def noisy_loss(params: dict[str, Any], center: Any, key: Any) -> Any:
    """‖w - center‖²/2 with noise in the gradient."""
    noise = jax.random.normal(key, center.shape, center.dtype)
    return 0.5 * jnp.vdot(params["w"] - center, params["w"] - center) + 0.1 * jnp.vdot(noise, params["w"])


ORACLE = oracles.from_loss(noisy_loss, takes_key=True)


def build(module: Any, **bound: Any) -> base.Algorithm:
    return module.build(ORACLE, num_workers=NUM_WORKERS, step_size=0.1, **bound)


@pytest.fixture(scope="module")
def local() -> base.Algorithm:
    return build(local_sgd)


def start(algorithm: base.Algorithm, num_steps: int = 23, data: Any = CENTERS, **settings: Any) -> run.Result:
    settings = {"key": jax.random.key(3), "progress": False, "metrics": EVERYTHING, **settings}
    return run.run(algorithm, PARAMS, data, num_steps=num_steps, **settings)


def assert_same(one: run.Result, other: run.Result) -> None:
    """Bit for bit: state, parameters, and everything that was measured."""
    assert one.num_steps == other.num_steps
    for field in ("state", "params", "history"):
        assert_same_tree(getattr(one, field), getattr(other, field))


def assert_same_tree(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("name", algorithms.variants())
def test_neither_chunks_nor_interruptions_change_a_bit(name: str, tmp_path: Path) -> None:
    """Chunks of 1 and 5 steps, and a run of 14 steps that is extended to 23, equal a run of 23, bit for bit."""
    algorithm = build(algorithms.variant(name))
    settings: dict[str, Any] = {"check": "every_step"}  # which needs one program where "chunks" needs two
    whole = start(algorithm, **settings)
    for chunk in (1, 5):
        assert_same(start(algorithm, chunk=chunk, **settings), whole)
    first = start(algorithm, 14, run_dir=tmp_path, **settings)
    assert first.num_steps == 14
    assert_same(start(algorithm, run_dir=tmp_path, chunk=4, **settings), whole)
    assert_same(start(algorithm, run_dir=tmp_path, **settings), whole)  # nothing is left to do


def test_chunks_without_losses_change_no_bit_either(tmp_path: Path, local: base.Algorithm) -> None:
    """The same where losses are looked at between chunks and metrics measured apart."""
    whole = start(local, check="chunks")
    for chunk in (1, 5, 10):
        assert_same(start(local, check="chunks", chunk=chunk), whole)
    start(local, 14, run_dir=tmp_path, check="chunks")
    assert_same(start(local, run_dir=tmp_path, check="chunks"), whole)


def test_step_t_has_the_key_of_step_t(local: base.Algorithm) -> None:
    """A run equals the steps written out, with `base.step_key(key, t)` and `INIT` for the state."""
    key = jax.random.key(3)
    state = local.init(base.step_key(key, run.INIT), PARAMS)
    step = jax.jit(local.step)
    for t in range(9):
        state, info = step(base.step_key(key, t), state, CENTERS)
    result = start(local, 9)
    np.testing.assert_allclose(result.state.local_params["w"], state.local_params["w"], rtol=1e-14)
    steps, losses = result.history["loss"]
    np.testing.assert_array_equal(steps, [0, 3, 6, 8])
    np.testing.assert_allclose(losses[-1], np.mean(info.losses), rtol=1e-13)


@pytest.mark.parametrize("check", ["chunks", "every_step"])
@pytest.mark.parametrize("num_steps", [1, 8, 9, 10, 40])
def test_metrics_are_measured_when_due_and_at_the_end(local: base.Algorithm, check: str, num_steps: int) -> None:
    """Each has its own cadence, counted from step 0, and the last step; what is measured says which step it was."""
    clock = {f"every_{every}": metrics.metric(num_steps_of, every) for every in (1, 3, 8, 9, 100)}
    history = start(local, num_steps, metrics=clock, check=check).history
    for name, metric in clock.items():
        expected = sorted({*range(0, num_steps, metric.every), num_steps - 1})
        np.testing.assert_array_equal(history[name][0], expected)
        np.testing.assert_array_equal(history[name][1], expected)


def num_steps_of(moment: metrics.Moment) -> Any:
    return moment.num_steps


def test_what_reads_a_large_state_is_measured_apart_and_alike(
    local: base.Algorithm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurements are the same, to rounding, and the trajectory is, whatever the chunks, bit for bit."""
    wanted = {"apart": metrics.metric(both_states, 3), "too": metrics.consistency_distance_sq(4), **EVERYTHING}
    within = start(local, metrics=wanted, check="every_step")
    monkeypatch.setattr(run, "SMALL_STATE_BYTES", 0)
    apart = start(local, metrics=wanted)
    assert_same_tree(apart.history["apart"][0], within.history["apart"][0])
    assert_close_tree(apart.history, within.history)
    np.testing.assert_array_equal(apart.history["apart"][1][:, 0], apart.history["apart"][0])
    np.testing.assert_array_equal(apart.history["apart"][1][:, 1], apart.history["apart"][0] + 1)
    assert_same(start(local, metrics=wanted, chunk=5), apart)
    assert_same_tree(start(local, metrics={"loss": metrics.loss(3)}).state, apart.state)


def both_states(moment: metrics.Moment) -> Any:
    return jnp.stack([moment.state.num_steps, moment.new_state.num_steps])


@pytest.mark.parametrize("check", ["chunks", "every_step"])
def test_a_metric_is_computed_only_where_it_is_due(local: base.Algorithm, check: str) -> None:
    """A call to the host inside the measure is made at the steps of its cadence and at no other."""
    seen: list[int] = []

    def tell(moment: metrics.Moment) -> Any:
        jax.debug.callback(lambda t: seen.append(int(t)), moment.num_steps)
        return moment.num_steps

    start(local, 41, metrics={"seldom": metrics.metric(tell, 20), "often": metrics.loss(1)}, check=check, chunk=7)
    jax.effects_barrier()
    assert sorted(seen) == [0, 20, 40]


def test_buffers_that_are_full_shorten_chunks(local: base.Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two rows only, everything is measured as ever."""
    whole = start(local)
    monkeypatch.setattr(buffers, "MAX_ROWS", 2)
    assert_same(start(local), whole)


def test_totals_sum_every_step_whatever_the_cadence(local: base.Algorithm) -> None:
    """`total_bits(7)` equals the sum over all steps of `bits_sent(1)`, exactly, at its steps."""
    history = start(local, 33, metrics={"total": metrics.total_bits(7), "bits": metrics.bits_sent(1)}, chunk=4).history
    sums = np.cumsum(history["bits"][1].sum(-1, dtype=np.float64))
    assert sums[-1] > 0
    np.testing.assert_array_equal(history["total"][1], sums[history["total"][0]])


def _nothing_yet() -> dict[str, Any]:
    return {"largest": jnp.zeros(()), "at": jnp.int32(-1)}


def _farthest(carried: dict[str, Any], moment: metrics.Moment) -> dict[str, Any]:
    """Where a view was farthest from x so far."""
    distance = jnp.max(((moment.info.views["w"] - moment.params["w"][None]) ** 2).sum(-1))
    is_larger = distance > carried["largest"]
    return {
        "largest": jnp.where(is_larger, distance, carried["largest"]),
        "at": jnp.where(is_larger, moment.num_steps, carried["at"]),
    }


RUNNING = metrics.Running(_nothing_yet, _farthest)


@pytest.mark.parametrize("settings", [{}, {"seeds": 2, "seed_strategy": "vmap"}, {"seeds": 2, "seed_strategy": "loop"}])
def test_what_is_carried_has_seen_every_step_whatever_the_cadence(settings: Any, tmp_path: Path) -> None:
    """A running maximum, read every 7 steps, in chunks, interrupted and resumed: that of all steps."""
    local = build(local_sgd, period=6)
    seen: list[tuple[int, Any]] = []
    wanted = {"far": metrics.metric(RUNNING, 7), "each": metrics.consistency_distance_sq(1)}
    more = {"metrics": wanted, "run_dir": tmp_path, **settings}
    start(local, 10, chunk=4, **more)
    result = start(local, 24, chunk=4, watch=lambda *told: seen.append(told), **more)
    distances = np.maximum.accumulate(result.history["each"][1].max(-1), axis=-1)
    steps, values = result.history["far"]
    np.testing.assert_array_equal(steps, [0, 7, 14, 21, 23])
    np.testing.assert_allclose(values["largest"], distances[..., steps], rtol=1e-12)
    np.testing.assert_array_equal(values["at"][..., -1], result.history["each"][1].max(-1).argmax(-1))
    assert [num_steps for num_steps, _ in seen] == [14, 18, 22, 24]
    np.testing.assert_array_equal(seen[-1][1]["far"]["largest"], values["largest"][..., -1])


def test_the_key_of_a_moment_is_that_of_the_step(local: base.Algorithm) -> None:
    """What the step drew can be drawn from it anew."""

    def drawn(moment: metrics.Moment) -> Any:
        assert moment.key is not None
        return jax.random.bits(base.split_key(moment.key).schedule)

    found = start(local, 5, metrics={"drawn": metrics.metric(drawn, 1)}).history["drawn"][1]
    key = run.keys.unrolled(jax.random.key(3))
    expected = [int(jax.random.bits(base.split_key(base.step_key(key, t)).schedule)) for t in range(5)]
    assert found.tolist() == expected


def test_a_compensated_total_keeps_what_single_precision_loses() -> None:
    """2²⁴ and then a thousand ones, in float32: without compensation the ones would vanish."""
    total = (jnp.float32(2**24), jnp.float32(0))
    total = jax.jit(lambda total: jax.lax.fori_loop(0, 1000, lambda _, pair: chunks._add(pair, jnp.float32(1)), total))(
        total
    )
    assert float(total[0]) + float(total[1]) == 2**24 + 1000


@pytest.mark.parametrize("strategy", ["vmap", "loop"])
@pytest.mark.parametrize("is_pair", [False, True])
def test_each_seed_is_a_run_of_its_own(strategy: str, is_pair: bool) -> None:
    """Seed s of many is the run whose key is `seed_key(key, s)`, in both strategies."""
    algorithm = build(parameter_server_sgd)
    key = jax.random.split(jax.random.key(5)) if is_pair else jax.random.key(5)
    many = start(algorithm, key=key, seeds=3, seed_strategy=strategy)
    assert many.seed_strategy == strategy
    for seed in range(3):
        one = start(algorithm, key=run.seed_key(key, seed))
        compare = assert_same_tree if strategy == "loop" else assert_close_tree
        compare(jax.tree.map(lambda leaf, s=seed: leaf[s], (many.state, many.params)), (one.state, one.params))
        for name, (steps, values) in one.history.items():
            np.testing.assert_array_equal(many.history[name][0], steps)
            compare(many.history[name][1][seed], values)
    assert len({float(value) for value in many.params["w"][:, 0]}) == 3


def assert_close_tree(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize("is_shared", [False, True])
def test_seeds_can_share_the_schedule_and_nothing_else(is_shared: bool, is_pair: bool) -> None:
    """With a shared schedule all seeds have the same delays in every step, and different samples; else neither."""
    key = jax.random.split(jax.random.key(5)) if is_pair else jax.random.key(5)
    many = start(build(delayed_sgd), key=key, seeds=3, share_schedule=is_shared, metrics={"s": metrics.staleness(1)})
    delays = many.history["s"][1]
    assert np.unique(delays, axis=0).shape[0] == (1 if is_shared else 3)
    assert np.unique(np.asarray(many.params["w"]), axis=0).shape[0] == 3


def test_seeds_resume_too(tmp_path: Path, local: base.Algorithm) -> None:
    """Many seeds, extended in their folder, equal the run in one go; in both strategies."""
    for strategy in ("vmap", "loop"):
        folder = tmp_path / strategy
        whole = start(local, seeds=2, seed_strategy=strategy)
        start(local, 14, seeds=2, seed_strategy=strategy, run_dir=folder, checkpoint_every=5)
        assert_same(start(local, seeds=2, seed_strategy=strategy, run_dir=folder, checkpoint_every=5), whole)


def test_batches_from_the_host_equal_data_on_the_device(tmp_path: Path, local: base.Algorithm) -> None:
    """The same batch at every step gives the same run, also where memory is reused, and after an interruption."""

    def loader(num_batches: int) -> Any:
        memory = _aligned(CENTERS.shape)
        for _ in range(num_batches):
            memory[:] = CENTERS
            yield memory
            memory[:] = np.nan

    whole = start(local, check="every_step")
    assert_same(start(local, data=loader(23)), whole)
    start(local, 14, data=loader(14), run_dir=tmp_path)
    assert_same(start(local, data=loader(23), run_dir=tmp_path), whole)
    with pytest.raises(ValueError, match="ended after 20 batches"):
        start(local, data=loader(20))


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """float64 memory of the kind that JAX would take over without a copy."""
    num_bytes = 8 * int(np.prod(shape))
    raw = np.empty(num_bytes + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + num_bytes].view(np.float64).reshape(shape)


def test_batches_are_given_in_order_and_skipped_on_resumption(tmp_path: Path, local: base.Algorithm) -> None:
    """Step t gets batch t, when the run is resumed too."""
    given = {"batch": metrics.metric(lambda moment: moment.data[0, 0], 1)}
    batches = [CENTERS + t for t in range(12)]
    start(local, 5, data=iter(batches), metrics=given, run_dir=tmp_path)
    history = start(local, 12, data=iter(batches), metrics=given, run_dir=tmp_path).history
    np.testing.assert_array_equal(history["batch"][1], np.arange(12.0))


def tell_tale(keys: Any, views: Any, data: Any, workers: Any, *, is_sticky: bool) -> Any:
    """Gradient -1, so that parameters count steps; not finite from step 37 on for worker 2 (or at 37 alone)."""
    count = views[:, 0]
    is_bad = (count >= 37) if is_sticky else (count == 37)
    losses = jnp.where(is_bad & (workers == 2), jnp.nan, 0.0)
    return losses, -jnp.ones_like(views)


@pytest.mark.parametrize("chunk", [None, 1, 10, 37, 38])
@pytest.mark.parametrize("check", ["chunks", "every_step"])
def test_a_run_stops_at_the_first_loss_that_is_not_finite(check: str, chunk: int | None) -> None:
    """`Diverged` names step and worker, and carries the run up to and with that step, however it was found."""
    algorithm = local_sgd.build(STICKY, num_workers=NUM_WORKERS, step_size=1.0)
    settings: dict[str, Any] = {
        "num_steps": 100,
        "key": jax.random.key(0),
        "metrics": {"t": metrics.metric(num_steps_of, 1)},
    }
    with pytest.raises(run.Diverged, match=r"worker 2 is not finite at step 37\b") as caught:
        run.run(algorithm, jnp.zeros(1), progress=False, check=check, chunk=chunk, **settings)
    result = caught.value.result
    assert caught.value.divergence == (37, 2, None)
    assert result.num_steps == 38
    assert result.params == 38
    np.testing.assert_array_equal(result.history["t"][0], np.arange(38))
    np.testing.assert_array_equal(result.history["t"][1], np.arange(38))


def test_a_divergence_is_handled_as_asked() -> None:
    """It stops without an error, or is ignored; a loss that is bad only once is seen where every step is looked at."""
    algorithm = local_sgd.build(ONCE, num_workers=NUM_WORKERS, step_size=1.0)

    def result(num_steps: int = 100, **settings: Any) -> run.Result:
        return run.run(algorithm, jnp.zeros(1), num_steps=num_steps, key=jax.random.key(0), progress=False, **settings)

    stopped = result(on_divergence="stop", check="every_step")
    assert stopped.divergence == (37, 2, None)
    assert stopped.num_steps == 38
    for strategy in ("vmap", "loop"):
        seeds = result(on_divergence="stop", check="every_step", seeds=2, seed_strategy=strategy)
        assert seeds.divergence == (37, 2, 0)
    assert result(on_divergence="continue").params == 100
    assert result(37, check="every_step").divergence is None
    with pytest.raises(run.Diverged):  # at the very last step
        result(38, check="every_step")


@pytest.mark.parametrize(("check", "strategy"), [("chunks", "vmap"), ("chunks", "loop"), ("every_step", "vmap")])
def test_the_seed_that_diverged_is_named(check: str, strategy: str) -> None:
    """Of four random walks the first to leave its bounds is named, at its step, and all stop there."""
    key = jax.random.key(8)
    algorithm = local_sgd.build(RANDOM_WALK, num_workers=NUM_WORKERS, step_size=1.0)
    alone = {}
    for seed in range(4):
        single = run.run(
            algorithm, jnp.zeros(1), num_steps=400, key=run.seed_key(key, seed), progress=False,
            check="every_step", on_divergence="stop",
        )  # fmt: skip
        alone[seed] = single.divergence
    found = {seed: one.step for seed, one in alone.items() if one is not None}
    first = min(found, key=lambda seed: (found[seed], seed))
    many = run.run(
        algorithm, jnp.zeros(1), num_steps=400, key=key, seeds=4, seed_strategy=strategy, progress=False,
        check=check, on_divergence="stop",
    )  # fmt: skip
    assert many.divergence == (found[first], alone[first].worker, first)
    assert many.num_steps == found[first] + 1
    assert len(set(found.values())) > 1
    np.testing.assert_array_equal(many.state.num_steps, many.num_steps)


def random_walk(keys: Any, views: Any, data: Any, workers: Any) -> Any:
    """Steps of ±1 that are drawn; a walk that has come to 6 is NaN from then on."""
    steps = jax.vmap(lambda key: jax.random.rademacher(key, (1,), views.dtype))(keys)
    is_over = ~(jnp.abs(views) < 6)
    return jnp.where(is_over[:, 0], jnp.nan, 0.0), jnp.where(is_over, jnp.nan, steps)


STICKY = jax.tree_util.Partial(tell_tale, is_sticky=True)
ONCE = jax.tree_util.Partial(tell_tale, is_sticky=False)
RANDOM_WALK = random_walk


def test_another_configuration_is_refused_and_each_difference_named(tmp_path: Path, local: base.Algorithm) -> None:
    """Step size, period, key, metrics, own entries: path, old value and new value; the folder stays as it was."""
    start(local, 5, run_dir=tmp_path, config={"note": {"kind": "first"}})
    before = (tmp_path / "config.json").read_text()
    other = local_sgd.build(ORACLE, num_workers=NUM_WORKERS, step_size=0.1, period=5)
    with pytest.raises(run.ConfigMismatch) as caught:
        start(other, 5, run_dir=tmp_path, key=jax.random.key(4), config={"note": {"kind": "second"}})
    message = str(caught.value)
    assert 'config.note.kind: "first" -> "second"' in message
    assert "algorithm.step.period: 4 -> 5" in message
    assert "key: " in message
    assert "metrics" not in message
    assert (tmp_path / "config.json").read_text() == before
    with pytest.raises(run.ConfigMismatch, match="params"):
        run.run(local, {"w": PARAMS["w"] + 1}, CENTERS, num_steps=5, key=jax.random.key(3), run_dir=tmp_path)
    with pytest.raises(ValueError, match="num_steps = 3 is less than the 5 steps"):
        start(local, 3, run_dir=tmp_path, config={"note": {"kind": "first"}})


def test_the_record_tells_what_was_run(tmp_path: Path, local: base.Algorithm) -> None:
    """config.json has the hyper-parameters, the key and the versions; metrics.csv one number a row."""
    start(local, 5, run_dir=tmp_path, metrics={"loss": metrics.loss(2)})
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["run"]["algorithm"]["step"]["period"] == 4
    assert record["run"]["num_steps"] == 5
    assert {"commit", "machine", "versions"} <= set(record["environment"])
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert rows[0] == "step,seed,metric,entry,value"
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "2", "4"]


def test_an_interruption_saves_and_says_where(tmp_path: Path, local: base.Algorithm) -> None:
    """Ctrl-C finishes the chunk and saves it; started again the run goes on, bit for bit. Handlers are put back."""
    handler = signal.getsignal(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM):
        folder = tmp_path / number.name
        watcher = threading.Thread(target=_send_when_there, args=(folder / "metrics.csv", number))
        watcher.start()
        with pytest.raises(run.Interrupted, match=rf"{number.name} after \d+ of .*saved in .*{number.name}") as caught:
            start(local, 2**31 - 2, metrics=SELDOM, run_dir=folder)
        watcher.join()
        done = caught.value.result.num_steps
        assert done > 0
        assert signal.getsignal(signal.SIGINT) is handler
        whole = start(local, done + 10, metrics=SELDOM)
        assert_same(start(local, done + 10, metrics=SELDOM, run_dir=folder), whole)


SELDOM = {"loss": metrics.loss(1000)}


def _send_when_there(path: Path, number: signal.Signals) -> None:
    """Send ourselves a signal as soon as the file exists."""
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), number)


def test_a_mesh_takes_one_compilation_and_the_same_steps(
    local: base.Algorithm, caplog: pytest.LogCaptureFixture
) -> None:
    """Sharded over four devices the run is the same to rounding, and its chunks and seeds share one program."""
    whole = start(local, seeds=2)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        sharded = start(local, mesh=devices.make_mesh(4), chunk=4, check="every_step", seeds=2)
    assert_close_tree(sharded.params, whole.params)
    assert_close_tree(sharded.history, whole.history)
    compilations = [line for line in caplog.messages if "Finished XLA compilation of jit(advance)" in line]
    assert len(compilations) == 1


def test_what_the_caller_gave_survives(local: base.Algorithm) -> None:
    """Parameters, data and key can be used again, though the state is donated."""
    key = jax.random.key(3)
    for settings in ({}, {"seeds": 2}, {"mesh": devices.make_mesh(2)}):
        start(local, key=key, **settings)
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((PARAMS, CENTERS, key)))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_steps": 0}, ValueError, r"num_steps = 0 .*\[1, 2147483646\]"),
        ({"num_steps": 2**31 - 1}, ValueError, "num_steps = 2147483647"),
        ({"num_steps": 2.0}, TypeError, "num_steps = 2.0"),
        ({"seeds": 0}, ValueError, "seeds = 0"),
        ({"chunk": 0}, ValueError, "chunk = 0"),
        ({"checkpoint_every": 5}, ValueError, "checkpoint_every = 5 needs a run_dir"),
        ({"metrics": {"loss": metrics.Metric(metrics.loss(1).measure, 0)}}, ValueError, r"metrics\['loss'\].every = 0"),
        ({"metrics": {"loss": 5}}, TypeError, r"metrics\['loss'\] = 5"),
        ({"metrics": {"a.b": metrics.loss(1)}}, ValueError, "'a.b'"),
        ({"check": "chunk"}, ValueError, "did you mean 'chunks'"),
        ({"on_divergence": "ignore"}, ValueError, "on_divergence = 'ignore'"),
        ({"seed_strategy": "both"}, ValueError, "seed_strategy = 'both'"),
        ({"key": 0}, TypeError, "key = 0"),
        ({"share_schedule": 1}, TypeError, "share_schedule = 1"),
    ],
)
def test_a_wrong_argument_is_named(settings: dict[str, Any], error: type, message: str, local: base.Algorithm) -> None:
    """Before anything is compiled, with its value and its range."""
    with pytest.raises(error, match=message):
        start(local, **{"num_steps": 5, **settings})
