"""The one loop: any algorithm, any number of steps and seeds, measured, saved, and resumed bit for bit.

    result = run.run(algorithm, params, problem.data, num_steps=10_000, key=jax.random.key(0), seeds=8,
                     metrics={"objective": metrics.objective(problem, 100)}, run_dir="runs/first")
    steps, values = result.history["objective"]         # int64[m] and [8, m]

Step t draws everything random from `base.step_key(key, t)`, and `init` from `base.step_key(key, INIT)`. So a
run is a function of its arguments alone: neither the lengths of the chunks in which it is computed nor how
often it was interrupted changes a bit of it; nor does it that keys are made `keys.unrolled`, which is faster.
One program is compiled, whatever the length of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from elastic_jax import arguments, base, convolutions, descriptions, devices, keys, oracles, stacked
from elastic_jax.base import Algorithm, Params, PyTree
from elastic_jax.metrics import Metric, check_measure
from elastic_jax.run import run_folder
from elastic_jax.run.checkpoints import Checkpoints
from elastic_jax.run.execution import execute, resume
from elastic_jax.run.feed import Feed
from elastic_jax.run.history import History
from elastic_jax.run.loop import Loop, start_lane
from elastic_jax.run.outcome import Diverged as Diverged
from elastic_jax.run.outcome import Interrupted as Interrupted
from elastic_jax.run.outcome import Result as Result
from elastic_jax.run.program import Program, names_apart, shapes
from elastic_jax.run.run_folder import ConfigMismatch as ConfigMismatch

INIT = 2**31 - 1
"""The step number whose key `init` gets: no step has it."""
SMALL_STATE_BYTES = 2**16
"""Up to this size of one run's state, losses are looked at once a chunk where `check` is "auto"."""


def run(
    algorithm: Algorithm,
    params: Params,
    data: PyTree | Iterable[PyTree] = (),
    *,
    num_steps: int,
    key: Array,
    seeds: int | None = None,
    share_schedule: bool = False,
    seed_strategy: str = "auto",
    metrics: Mapping[str, Metric] | None = None,
    chunk: int | None = None,
    check: str = "auto",
    on_divergence: str = "raise",
    mesh: Mesh | None = None,
    run_dir: Path | str | None = None,
    checkpoint_every: int | None = None,
    config: Mapping[str, Any] | None = None,
    progress: bool = True,
    watch: Callable[[int, dict[str, PyTree]], None] | None = None,
) -> Result:
    """Run `num_steps` steps.

    Args:
        algorithm: of a variant's `build`.
        params: [...], the starting point x_0; neither it nor `data` is donated.
        data: what every step is given, on the device; or an iterator (or an iterable that is no tree: a
            loader) of host batches, one for each step and all of the same shapes, the next of which is on its
            way while a step runs. A run that resumes skips the batches it had used.
        num_steps: T, in [1, 2^31 - 2].
        key: one key; or two, key[2], the first for the schedule and the second for the samples.
        seeds: S in [1, 2^31 - 1] independent runs; seed s has the key `seed_key(key, s, share_schedule)`. None:
            one run, with `key` itself and no seed axis.
        share_schedule: all seeds have one schedule (who, when, how late) and their own samples.
        seed_strategy: "vmap" all seeds in one step, "loop" one after another with one program, or "auto":
            "loop" with a mesh, and on the CPU where the step convolves; else "vmap".
        metrics: {name: metric}, of `metrics`.
        chunk: steps computed between two looks of the host, >= 1; None: as many as take about 0.3 s.
        check: when losses are looked at. "every_step" stops right at the first that is not finite. "chunks"
            computes no losses and costs nothing: what has diverged stays so, so that the end of a chunk
            shows it and bisection finds the step; a loss that is not finite but leaves all later ones finite
            is missed. "auto": "chunks" where one run's state has at most 64 KiB and the data are on the
            device, else "every_step".
        on_divergence: "raise" `Diverged`, "stop" and return, or "continue" and look at no loss. Seeds in a
            "loop" that come before the one that diverged may be up to one chunk further, under "every_step".
        mesh: of `devices.make_mesh`; state and data are split over it by worker.
        run_dir: folder for configuration, metrics and checkpoints; a run started again there resumes.
        checkpoint_every: steps between two checkpoints, >= 1; None: only at the end or when interrupted.
        config: further plain data to record, and to compare when the run is started again.
        progress: show a bar, if this is a terminal and the run takes longer than a moment.
        watch: called after every chunk with the number of steps taken and {name: what it carries} of the `Running`
            metrics; what it raises ends the run.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.
        ConfigMismatch: `run_dir` holds a run with another configuration; each difference is named.
        Diverged: a loss is not finite.
        Interrupted: by Ctrl-C or SIGTERM, after the chunk was finished and all was saved.
    """
    arguments.instance("algorithm", algorithm, Algorithm, "made by a variant's build")
    num_steps = arguments.integer("num_steps", num_steps, low=1, high=INIT - 1)
    seeds = None if seeds is None else arguments.integer("seeds", seeds, low=1, high=INIT)
    chunk = None if chunk is None else arguments.integer("chunk", chunk, low=1)
    folder = None if run_dir is None else arguments.folder("run_dir", run_dir)
    if checkpoint_every is not None:
        checkpoint_every = arguments.integer("checkpoint_every", checkpoint_every, low=1)
        if folder is None:
            raise ValueError(f"checkpoint_every = {checkpoint_every} needs a run_dir to save into")
    arguments.flag("share_schedule", share_schedule)
    arguments.flag("progress", progress)
    if watch is not None:
        arguments.function("watch", watch, "of the steps taken and {name: what a running metric carries}")
    arguments.one_of("seed_strategy", seed_strategy, ("auto", "vmap", "loop"))
    arguments.one_of("check", check, ("auto", "every_step", "chunks"))
    arguments.one_of("on_divergence", on_divergence, ("raise", "stop", "continue"))
    arguments.keys("key", key)
    described_key, key = f"{key.dtype} {jax.random.key_data(key).tolist()}", keys.unrolled(key)
    if mesh is not None:
        devices.check_mesh("mesh", mesh)
        devices.check_divisible("num_workers", algorithm.num_workers, mesh)
        if seeds is not None and seed_strategy == "vmap":
            raise ValueError("seed_strategy = 'vmap' would split seeds over the mesh; it must be 'loop'")
    params = arguments.float_params("params", params)
    measured = _check_metrics(arguments.mapping("metrics", metrics, "{name: metric}"))
    recorded = arguments.mapping("config", config, "of plain data")

    feed = Feed(data, mesh)
    if check == "chunks" and feed.is_host_fed:
        raise ValueError("check = 'chunks' would look at batches that are gone; it must be 'every_step'")
    oracles.check_data(base.oracle_of(algorithm), feed.data, algorithm.num_workers)
    example = jax.eval_shape(algorithm.init, _init_key(key), params)
    is_small = stacked.num_bytes(example) <= SMALL_STATE_BYTES
    is_cheap = check == "chunks" or (check == "auto" and is_small and not feed.is_host_fed)
    is_checked = on_divergence != "continue" and not is_cheap
    strategy = _resolve(seed_strategy, seeds, mesh, algorithm, key, example, feed.data)
    single = Program(algorithm, measured, False, is_checked, mesh)
    apart = names_apart(single, key, example, feed.data, is_small=is_small)
    program = single._replace(is_batched=strategy == "vmap", apart=apart)
    if folder is not None:
        described = {
            "config": recorded,
            "algorithm": descriptions.as_data(algorithm),
            "metrics": {name: descriptions.as_data(metric) for name, metric in measured},
            "params": run_folder.fingerprint(params),
            "data": "host-fed" if feed.is_host_fed else run_folder.fingerprint(feed.data),
            "key": described_key,
            "seeds": seeds,
            "share_schedule": share_schedule,
            "seed_strategy": strategy,
            "is_checked": is_checked,
            "num_devices": None if mesh is None else mesh.size,
            "x64": bool(jax.config.read("jax_enable_x64")),
            "num_steps": num_steps,
        }
        run_folder.open_folder(folder, described)

    seed_keys = [key] if seeds is None else [seed_key(key, s, share_schedule) for s in range(seeds)]
    init_keys = [_init_key(run_key) for run_key in seed_keys]
    if strategy == "vmap":
        seed_keys, init_keys = [jnp.stack(seed_keys)], [jnp.stack(init_keys)]
    one = given = shapes(single, key, example, feed.data)
    if strategy == "vmap":
        given = jax.tree.map(lambda leaf: leaf.update(shape=(seeds, *leaf.shape)), one)
    lanes = [
        start_lane(program, given, lane_key, init_key, params)
        for lane_key, init_key in zip(seed_keys, init_keys, strict=True)
    ]
    path = None if folder is None else folder / run_folder.METRICS
    history = History(measured, one.values, num_seeds=seeds, path=path)
    loop = Loop(program, lanes, feed, history, num_steps, 0, chunk, may_stop=on_divergence != "continue")
    if folder is None:
        return execute(loop, None, checkpoint_every, on_divergence, progress, strategy, watch)
    with Checkpoints(folder / run_folder.CHECKPOINTS) as checkpoints:
        resume(loop, checkpoints)
        return execute(loop, checkpoints, checkpoint_every, on_divergence, progress, strategy, watch)


def seed_key(key: Array, seed: int, share_schedule: bool = False) -> Array:
    """The key of one of many seeds: a run without seeds, given it, computes what that seed does.

    Args:
        key: key[] or key[2], as in `run`.
        seed: s, in [0, 2^31 - 1].
        share_schedule: the schedule's key is the same for all s.

    Returns:
        `fold_in(key, s)`; with a shared schedule key[2], the second of which is folded and the first not.
    """
    arguments.keys("key", key)
    seed = arguments.integer("seed", seed, low=0, high=INIT)
    if not arguments.flag("share_schedule", share_schedule):
        return base.step_key(key, seed)
    schedule, samples = key if key.ndim else jax.random.split(key)
    return jnp.stack([schedule, jax.random.fold_in(samples, seed)])


def _init_key(key: Array) -> Array:
    """The key of `init`; of two, it comes from that of the schedule."""
    return base.step_key(key[0] if key.ndim else key, INIT)


def _resolve(
    seed_strategy: str,
    seeds: int | None,
    mesh: Mesh | None,
    algorithm: Algorithm,
    key: Array,
    state: PyTree,
    data: PyTree,
) -> str | None:
    """How many seeds are run: "vmap" or "loop"; None for a run without."""
    if seeds is None:
        return None
    if seed_strategy != "auto":
        return seed_strategy
    if mesh is not None:
        return "loop"
    # vmapped convolutions are grouped ones, which are slow on the CPU
    is_slow = jax.default_backend() == "cpu" and convolutions.has_convolution(algorithm.step, key, state, data)
    return "loop" if is_slow else "vmap"


def _check_metrics(metrics: Mapping[str, Metric]) -> tuple[tuple[str, Metric], ...]:
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"metrics has the name {name!r}; it must be a Python identifier")
        where = f"metrics[{name!r}]"
        arguments.instance(where, metric, Metric, "e.g. metrics.loss(100)")
        arguments.integer(f"{where}.every", metric.every, low=1, high=INIT)
        check_measure(f"{where}.measure", metric.measure)
    return tuple(metrics.items())
