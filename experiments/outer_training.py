"""One network trained in many ways: data-parallel, locally, and with outer optimisers.

Rates are in the states of optimisers and not in the program, and splits and seeds are among the data: one compiled
program for each way of training serves all of them. Data-parallel training is one AdamW step on the mean gradient of
all workers: an outer AdamW with H = 1 where the inner step is the gradient itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from optax.tree_utils import tree_set

from elastic_jax import base, compressors, data, run, stacked
from elastic_jax.algorithms import local_sgd, outer_optimizer_sgd
from elastic_jax.problems import cnn
from experiments import one_network

SYNCHRONOUS, AVERAGING, NESTEROV, PUBLISHED = "synchronous", "averaging", "Nesterov", "Nesterov, as published"


class Outer(NamedTuple):
    """An outer optimiser."""

    make: Callable[..., optax.GradientTransformation]
    """Of its rate and of `others`."""
    others: Mapping[str, Any]
    rate: float
    """As published where it is; from here its search starts."""


OUTER: Mapping[str, Outer] = {
    NESTEROV: Outer(optax.sgd, {"momentum": 0.9, "nesterov": True}, 0.7),
    "SlowMo": Outer(optax.sgd, {"momentum": 0.7}, 1.0),
    "Adam": Outer(optax.adam, {"b1": 0.9, "b2": 0.99, "eps": 1e-3}, 0.03),
}
"""DiLoCo's; SlowMo's α and β; FedAdam's moments and ε, Reddi et al., ICLR 2021, arXiv 2003.00295."""

STATES = ("states averaged", "states reset")
"""What else becomes of inner states at an averaging."""
FRAGMENTS, LATE, FOUR_BITS = "in fragments", "in fragments, late", "in fragments, late, 4 bits"
STREAMING = (FRAGMENTS, LATE, FOUR_BITS)


class Rates(NamedTuple):
    """Of the inner and the outer optimiser."""

    inner: float
    outer: float = 1.0


class Setting(NamedTuple):
    """One way of training."""

    method: str
    """`SYNCHRONOUS`, `AVERAGING`, `PUBLISHED` or one of `OUTER`."""
    period: int = 1
    variant: str = ""
    """Of `STATES` for averaging, of `STREAMING` for Nesterov momentum; or the plain one."""

    @property
    def title(self) -> str:
        """For tables."""
        return ", ".join(part for part in (self.method, self.variant) if part)

    @property
    def name(self) -> str:
        """For files."""
        return "_".join(f"{self.title} {self.period}".replace(",", "").split())


class Sizes(NamedTuple):
    """Of the network, its data and its training."""

    dataset: str
    """Of `data`."""
    reduce: int
    """Side of the squares of pixels that are made one."""
    channels: tuple[int, ...]
    num_examples: int
    num_test: int
    """Held-out images for results, and as many others for the search of rates."""
    num_workers: int
    batch_size: int
    num_steps: int
    weight_decay: float
    num_fragments: int
    overlap: int
    merge: float


class Trained(NamedTuple):
    """One run."""

    loss: float
    """At x after the last step, on the images for results."""
    search_loss: float
    """The same on those for the search of rates."""
    losses: np.ndarray
    """float64[T]: training losses, the mean over workers where they are."""
    copies: np.ndarray
    """float64[T]: what a worker sends in each step, in copies of all parameters."""


class Trainer:
    """Runs of settings, on splits of seeds."""

    def __init__(self, sizes: Sizes, alphas: tuple[float, ...], *, num_seeds: int, seed: int) -> None:
        """Loads the data and splits them."""
        self.sizes, self.seed = sizes, seed
        network = one_network.build(
            dataset=sizes.dataset,
            reduce=sizes.reduce,
            channels=sizes.channels,
            num_workers=sizes.num_workers,
            batch_size=sizes.batch_size,
            num_examples=sizes.num_examples,
            num_test=2 * sizes.num_test,
        )
        self.problem, self.other = (_problem(sizes, network.dataset, half) for half in (0, 1))
        self.shards = one_network.splits(network, alphas, num_seeds=num_seeds, seed=seed)
        self.algorithm = cache(partial(build, self.problem.oracle, sizes))

    def train(self, alpha: float, setting: Setting, rates: Rates, number: int) -> Trained:
        """Seed `number` of a setting; one that diverges has losses that are not finite."""
        # what is reset is what the optimiser was built with
        algorithm = self.algorithm(setting, rates if setting.variant == "states reset" else Rates(0.0, 0.0))
        params = self.problem.init(jax.random.key(self.seed))
        params, losses, bits = _follow(
            algorithm,
            with_rates(algorithm.init(jax.random.key(self.seed), params), setting, rates),
            self.shards[alpha][number],
            run.seed_key(jax.random.key(self.seed + 1), number),
            self.sizes.num_steps,
        )
        return Trained(
            float(self.problem.evaluate(params)["test_loss"]),
            float(self.other.evaluate(params)["test_loss"]),
            np.asarray(losses, np.float64),
            np.asarray(bits, np.float64) / (8 * stacked.num_bytes(params)),
        )


def _problem(sizes: Sizes, images: data.Dataset, half: int) -> base.Problem:
    """It evaluates on the first or the second half of the held-out images."""
    part = slice(half * sizes.num_test, (half + 1) * sizes.num_test)
    images = images._replace(test_inputs=images.test_inputs[part], test_targets=images.test_targets[part])
    return cnn.build(
        num_workers=sizes.num_workers,
        dataset=images,
        batch_size=sizes.batch_size,
        channels=sizes.channels,
        strategy="map",  # compiles the network once, not once for each worker
    )


@partial(jax.jit, static_argnames=("algorithm", "num_steps"))
def _follow(
    algorithm: base.Algorithm, state: base.PyTree, shards: base.Shards, key: Array, num_steps: int
) -> tuple[base.Params, Array, Array]:
    """X after the last step; losses and bits of a worker in each step, float32[T]."""

    def advance(state: base.PyTree, number: Array) -> tuple[base.PyTree, tuple[Array, Array]]:
        state, info = algorithm.step(base.step_key(key, number), state, shards)
        return state, (jnp.mean(info.losses), jnp.max(info.bits_sent))

    state, (losses, bits) = lax.scan(advance, state, jnp.arange(num_steps, dtype=jnp.int32))
    return algorithm.global_params(state), losses, bits


def build(oracle: base.Oracle, sizes: Sizes, setting: Setting, rates: Rates) -> base.Algorithm:
    """The algorithm of a setting; its states hold `rates` until `with_rates` gives others."""
    adam = adjustable(optax.adamw, rates.inner, weight_decay=sizes.weight_decay)
    if setting.method == SYNCHRONOUS:
        return outer_optimizer_sgd.build(
            oracle, num_workers=sizes.num_workers, step_size=1.0, outer_optimizer=adam, period=1
        )
    common: dict[str, Any] = {"num_workers": sizes.num_workers, "optimizer": adam, "period": setting.period}
    if setting.method == AVERAGING:
        states = setting.variant.removeprefix("states ") or "kept"
        return local_sgd.build(oracle, opt_states_at_averaging=states, **common)
    outer = OUTER[NESTEROV if setting.method == PUBLISHED else setting.method]
    if setting.variant:
        common["num_fragments"] = sizes.num_fragments
    if setting.variant in (LATE, FOUR_BITS):
        common |= {"overlap": sizes.overlap, "merge": sizes.merge}
    if setting.variant == FOUR_BITS:
        common["compressor"] = compressors.powers_of_two(4)
    return outer_optimizer_sgd.build(
        oracle, outer_optimizer=adjustable(outer.make, rates.outer, **outer.others), **common
    )


def adjustable(
    make: Callable[..., optax.GradientTransformation], rate: float, **others: Any
) -> optax.GradientTransformation:
    """The optimiser with its rate in its state."""
    names = {"b1", "b2", "eps", "eps_root", *others} if make is not optax.sgd else set(others)
    found: optax.GradientTransformation = optax.inject_hyperparams(make, static_args=names)(rate, **others)
    return found


def with_rates(state: Any, setting: Setting, rates: Rates) -> Any:
    """The state with `rates` for those it was built with."""
    if setting.method == SYNCHRONOUS:
        return state._replace(outer_opt_states=_set(state.outer_opt_states, rates.inner))
    state = state._replace(opt_states=_set(state.opt_states, rates.inner))
    if setting.method == AVERAGING:
        return state
    return state._replace(outer_opt_states=_set(state.outer_opt_states, rates.outer))


def _set(opt_states: base.PyTree, rate: float) -> base.PyTree:
    """One for each worker or one alone: whatever has the place of the rate has its shape."""
    shape = optax.tree_utils.tree_get_all_with_path(opt_states, "learning_rate")[0][1].shape
    return tree_set(opt_states, learning_rate=jnp.full(shape, rate, jnp.float32))
