"""One image network that n workers train in any way: what their mean x reaches in the end, and what one of them does.

Each worker has SGD with momentum, and all ways have one rule for its step size, in t of T steps of the worker's own:

    α_t = α (n b/B)^p min((t + 1)/(w T), (1 + cos(π t/T))/2)

that is, it rises over the share w of a run and falls as a cosine; n workers with b examples each have n b in a round,
α is the step size for B of them, and p = 1 is the linear scaling of Goyal et al., arXiv 1706.02677. A step of a worker
enters x with the weight 1/n in every way, so that one α for all is fair: also where single gradients are applied, which
takes n steps where the others take one. Images are not augmented.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from elastic_jax import algorithms, base, data, metrics, run, stacked
from elastic_jax.problems import cnn, resnet
from experiments import elastic_scheduler

PLACES = ("x", "one node")
"""Where accuracies are measured, in this order."""
TIMES = ("half-way", "in the end")
"""When they are. Half-way, where step sizes are large, is in the middle of the steps between two averagings."""


@dataclass(frozen=True)
class Network:
    """The network, its images and how it is trained."""

    dataset: str = "cifar10"
    """Of `data`; "digits" needs no download."""
    reduce: int = 2
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...] = (16, 32)
    """Of a convolutional network without normalisation."""
    depth: int | None = None
    """Of a residual network in its place: 20, 32, ..."""
    num_examples: int = 50_000
    num_test: int = 10_000
    batch_size: int = 8
    """b, of a worker."""
    step_size: float = 0.02
    """α, the highest, for `reference_batch` examples in a round."""
    reference_batch: int = 64
    """B."""
    scaling: float = 0.5
    """p."""
    momentum: float = 0.9
    warm_up: float = 0.1
    """w > 0."""


class Program(NamedTuple):
    """What is compiled once for all seeds."""

    algorithm: base.Algorithm
    num_rounds: int
    """T: steps of a worker, in the mean."""
    num_steps: int
    """Of the algorithm."""
    half_way: int
    """Its step that is half-way."""
    measured: Mapping[str, metrics.Metric]


def build_problem(network: Network, *, num_workers: int, seed: int) -> base.Problem:
    """The network on shards that are alike."""
    images = elastic_scheduler.reduced(data.load(network.dataset), network.reduce)
    given: dict[str, Any] = {
        "num_workers": num_workers,
        "dataset": images._replace(
            train_inputs=images.train_inputs[: network.num_examples],
            train_targets=images.train_targets[: network.num_examples],
            test_inputs=images.test_inputs[: network.num_test],
            test_targets=images.test_targets[: network.num_test],
        ),
        "batch_size": network.batch_size,
        "seed": seed,
    }
    if network.depth is None:
        return cnn.build(**given, channels=network.channels)
    return resnet.build(**given, depth=network.depth)


def num_turns(network: Network, *, epochs: float, num_workers: int, local_steps: int) -> int:
    """Turns of `local_steps` steps of a worker, in which all workers see about `epochs` times all examples."""
    examples = num_workers * network.batch_size * local_steps
    return max(1, round(epochs * network.num_examples / examples))


def highest_step_size(network: Network, num_workers: int) -> float:
    """α (n b/B)^p."""
    share = num_workers * network.batch_size / network.reference_batch
    return float(network.step_size * share**network.scaling)


def build(
    network: Network,
    problem: base.Problem,
    variant: str,
    arguments: Mapping[str, Any],
    *,
    epochs: float,
    local_steps: int,
) -> Program:
    """A variant whose workers take as many steps as make `epochs`, whole turns of `local_steps`."""
    turns = num_turns(network, epochs=epochs, num_workers=problem.num_workers, local_steps=local_steps)
    num_rounds = turns * local_steps
    schedule = partial(
        step_size,
        highest=highest_step_size(network, problem.num_workers),
        num_steps=num_rounds,
        warm_up=network.warm_up,
    )
    algorithm = algorithms.variant(variant).build(
        problem.oracle,
        num_workers=problem.num_workers,
        optimizer=optax.sgd(schedule, momentum=network.momentum),
        **arguments,
    )
    num_active = base.num_active(algorithm, problem.init(jax.random.key(0)), problem.data)
    num_steps = num_rounds * problem.num_workers // num_active
    half_way = (turns // 2 * local_steps + local_steps // 2) * problem.num_workers // num_active
    measured = {
        "losses": metrics.loss(1),
        "bits": metrics.total_bits(1),
        "places": metrics.metric(places, max(1, half_way)),
    }
    return Program(algorithm, num_rounds, num_steps, half_way, measured)


def step_size(count: Array, *, highest: float, num_steps: int, warm_up: float) -> Array:
    """α_t of a worker that has taken `count` steps."""
    taken = jnp.minimum(jnp.asarray(count, jnp.float32), num_steps)
    falling = (1 + jnp.cos(jnp.pi * taken / num_steps)) / 2
    return highest * jnp.minimum((taken + 1) / (warm_up * num_steps), falling)


def places(moment: metrics.Moment) -> Array:
    """float[2, d]: x and where the first of the active workers is, `PLACES`."""
    return jnp.stack([ravel_pytree(place)[0] for place in (moment.params, stacked.first(moment.info.views))])


def train(problem: base.Problem, program: Program, *, seed: int, number: int) -> dict[str, np.ndarray]:
    """One seed, `number`: a starting point, coins and samples of its own.

    Messages that are decoded wrongly are counted and no reason for a warning; what diverges goes on to the end.

    Returns:
        {losses, bits: [T]: the mean loss of the active workers, and the bits that a worker has sent so far, in the
        mean; accuracies, test_losses: [2, 2], at `TIMES` and `PLACES`; num_failures: []}, NaN for what is not finite.
    """
    params = problem.init(run.seed_key(jax.random.key(seed), number))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* messages were decoded into something else", RuntimeWarning)
        result = run.run(
            program.algorithm,
            params,
            problem.data,
            num_steps=program.num_steps,
            key=run.seed_key(jax.random.key(seed + 1), number),
            metrics=program.measured,
            on_divergence="continue",
        )
    steps, vectors = result.history["places"]
    half_way = vectors[int(np.flatnonzero(steps == program.half_way)[0])]
    ends = [ravel_pytree(result.params)[0], vectors[-1, 1]]
    held_out = [
        [problem.evaluate(ravel_pytree(params)[1](jnp.asarray(vector))) for vector in some] for some in (half_way, ends)
    ]
    found = {
        "losses": result.history["losses"][1],
        "bits": result.history["bits"][1] / problem.num_workers,
        "accuracies": [[float(place["test_accuracy"]) for place in some] for some in held_out],
        "test_losses": [[float(place["test_loss"]) for place in some] for some in held_out],
        "num_failures": result.num_failures,
    }
    return {name: finite(np.asarray(values, np.float64)) for name, values in found.items()}


def bits_of_copy(problem: base.Problem) -> int:
    """Of all parameters, as they are."""
    return 8 * stacked.num_bytes(jax.eval_shape(problem.init, jax.random.key(0)))


def finite(values: np.ndarray) -> np.ndarray:
    """NaN in the place of infinities."""
    return np.where(np.isfinite(values), values, np.nan)


def over_blocks(values: np.ndarray, num_blocks: int) -> np.ndarray:
    """[T] -> [num_blocks]: means over stretches as equal as can be; T >= num_blocks."""
    return np.array([block.mean() for block in np.array_split(values, num_blocks)])
