'''The contract that every algorithm keeps.

An algorithm is a module with these names, in this order: `SGD_LIMIT`, `State`, `init`, `step`,
`global_params`, `consistency_bound`, `build`. `build` binds the others into an `Algorithm`. There is
one signature, `step(key, state, data) -> (state, info)`, with no exception: all randomness enters by
`key`, all data by `data`, everything else is bound when the algorithm is built.

A complete small variant, SGD on one worker whose gradient is one step old:

    """Stale SGD: the gradient is taken at the parameters of one step ago.

        v_t     = x_{t-1}                   the view
        g_t     = g(v_t, ξ_t)               one stochastic gradient
        x_{t+1} = x_t - α g_t               the global step
    """

    SGD_LIMIT = None  # the delay is fixed: `delayed_sgd` with `delays.constant(1)` is its general form

    class State(NamedTuple):
        """Bytes: 4 + 2 * P + O."""
        num_steps: Array                    # int32[]
        old_params: Params                  # [...], parameter units
        params: Params                      # [...], parameter units
        opt_state: PyTree

    def init(key, params, *, optimizer):
        del key
        params = arguments.float_params("params", params)
        return State(jnp.int32(0), jax.tree.map(jnp.copy, params), params, optimizer.init(params))

    def step(key, state, data, *, oracle, optimizer):
        key_samples = base.split_key(key).samples
        workers = jnp.zeros(1, jnp.int32)

        # read: v_t = x_{t-1}
        views = stacked.broadcast(state.old_params, 1)

        # compute: g_t = g(v_t, ξ_t)
        losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
        update, opt_state = optimizer.update(stacked.first(grads), state.opt_state, state.params)

        # apply: x_{t+1} = x_t - α g_t
        new_state = State(
            num_steps=state.num_steps + 1,
            old_params=state.params,
            params=stacked.add(state.params, update),
            opt_state=opt_state,
        )
        return new_state, base.info(
            workers=workers, views=views, losses=losses, grads=grads,
            updates=stacked.broadcast(update, 1), weights=jnp.ones(1),
            staleness=jnp.minimum(state.num_steps, 1)[None],
        )

    def global_params(state):
        return state.params

    def consistency_bound(constants, params, *, step_size):
        return step_size**2 * constants.grad_second_moment

    def build(oracle, *, num_workers=1, step_size=0.1): ...     # binds `check_oracle(oracle)` and the rest
'''

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from elastic_jax import arguments, descriptions

PyTree: TypeAlias = Any
"""A tree of arrays in JAX's sense: a bare array, or nested tuples, lists and dicts of them."""

Params: TypeAlias = Any
"""One set of parameters: a tree of floating-point arrays, shape written [...]."""

Leaf = TypeVar("Leaf")
Stacked = Annotated[Leaf, "workers"]
"""Marks a field of a `State` all of whose leaves have the worker axis first. `devices.place` splits it."""
StackedSlots = Annotated[Leaf, "slots, workers"]
"""Marks a field all of whose leaves are rings of stacked ones, the worker axis second; split along it."""

StepSize: TypeAlias = float | Callable[[Any], Any]
"""α: a float > 0, or an optax schedule (a function of the number of steps taken)."""

DEFAULT_STEP_SIZE = 0.1


class Oracle(Protocol):
    """A stacked stochastic gradient oracle: k gradients, for the workers named, at their own views.

    `k` is static: the number of workers active in one step. Where k equals the number of workers,
    `workers` is 0, 1, ..., n-1 in this order. How the stack is evaluated is the oracle's business alone.
    """

    def __call__(self, keys: Array, views: PyTree, data: PyTree, workers: Array, /) -> tuple[Array, PyTree]:
        """Losses and gradients of k workers.

        Args:
            keys: key[k], one for each active worker.
            views: [k, ...], parameters at which each worker takes its gradient.
            data: what `step` was given: a data set to sample from, one batch, or ().
            workers: int32[k], the workers' numbers.

        Returns:
            losses float[k] (0 where the oracle knows none, NaN where the gradient is not finite) and
            grads [k, ...], in structure, shapes and dtypes as the views.
        """


class Info(NamedTuple):
    """What happened in one step: one type for all algorithms. Unused fields cost nothing under `jit`.

    `x_{t+1} = x_t + Σ_k weights[k] · updates[k] + shift` holds for every algorithm, x being `global_params`.
    """

    workers: Array
    """int32[k]. The workers that were active; -1 for a slot that nobody used in this step (a worker that has crashed).
    Its weight, staleness and bits are 0, its view is x_t; its gradient, update and loss mean nothing."""
    views: PyTree
    """[k, ...], parameter units. v_t: where each took its gradient."""
    grads: PyTree
    """[k, ...], gradient units. The stochastic gradients."""
    updates: PyTree
    """[k, ...], parameter units. What each gradient became, as it enters x: -α g for plain SGD,
    C(-α g) where a compressor loses the rest for ever."""
    weights: Array
    """float[k]. Weight with which each update enters x: 1/n in parallel steps, 1 in single steps, 0 if lost."""
    staleness: Array
    """int32[k], steps. Age of each view; 0 is a gradient at the current parameters."""
    bits_sent: Array
    """float32[k], bits. What each active worker sent in this step (exact below 2^24, then to 6e-8)."""
    elapsed: Array
    """float32[], simulated seconds that the step took; 0 without a clock. Parallel time where pairs meet, see there."""
    losses: Array
    """float[k]. Loss of each worker at its view, on its sample."""
    shift: PyTree
    """[...], parameter units. What x moved by besides the updates of this step, 0 for most algorithms: the momentum of
    an outer optimiser, or what is overwritten."""
    num_failures: Array
    """int32[k]. Messages that each active worker received in this step and decoded into something else than was sent,
    because the two ends were farther apart than the code allows for; 0 where they are decoded without a reference."""


class Algorithm(NamedTuple):
    """An algorithm with every hyper-parameter bound. Printing it prints them."""

    init: Callable[..., Any]
    """`init(key, params) -> State`."""
    step: Callable[..., tuple[Any, Info]]
    """`step(key, state, data) -> (State, Info)`; pure."""
    global_params: Callable[[Any], Params]
    """`global_params(state) -> [...]`: x_t."""
    consistency_bound: Callable[[Constants, Params], float | None]
    """`consistency_bound(constants, params)`: the promised bound on E‖x_t - v_t^i‖², parameter units squared; of
    `params` only the shapes matter."""
    num_workers: int
    """n."""

    def __repr__(self) -> str:
        bound = [getattr(field, "keywords", {}) for field in (self.consistency_bound, self.step, self.init)]
        given = {name: value for keywords in reversed(bound) for name, value in keywords.items()}
        given |= {"oracle": oracle_of(self)} if "oracle" in given else {}
        lines = [f"    {name}={descriptions.as_text(value)},\n" for name, value in given.items()]
        return f"{getattr(self.step, 'func', self.step).__module__.rpartition('.')[2]}.build(\n{''.join(lines)})"


class Constants(NamedTuple):
    """Constants of a problem, exact or certified bounds; None where unknown. f is the mean of the f_i."""

    smoothness: float | None = None
    """L: ‖∇f_i(x) - ∇f_i(y)‖ <= L ‖x - y‖ for every worker i."""
    strong_convexity: float | None = None
    """c >= 0: the largest known c with f - c‖·‖²/2 convex; 0 for convex, None for non-convex."""
    grad_variance: float | None = None
    """σ²: E‖g - ∇f_i(v)‖² <= σ² at every v, gradient units squared."""
    grad_second_moment: float | None = None
    """M²: E‖g‖² <= M² at every v of the run, gradient units squared."""
    heterogeneity: float | None = None
    """ζ²: (1/n) Σ_i ‖∇f_i(x) - ∇f(x)‖² <= ζ² at every x, gradient units squared."""
    optimum: Params | None = None
    """x*: a minimiser of f."""
    optimal_value: float | None = None
    """f* = f(x*), or a lower bound of f where the optimum is unknown."""


class Shards(NamedTuple):
    """An on-device data set, split over workers."""

    examples: PyTree
    """[n, m, ...]: leaves hold the examples of each worker first to last, padded to the longest shard."""
    sizes: Array
    """int32[n]: how many of the m are real."""


class Problem(NamedTuple):
    """An objective f = (1/n) Σ_i f_i, with the oracle of its stochastic gradients and all that is known of it."""

    oracle: Oracle
    init: Callable[[Array], Params]
    """`init(key) -> params`: a starting point."""
    data: PyTree
    """What `step` takes as `data`; leaves have the worker axis first."""
    objective: Callable[[Params, PyTree], Array]
    """`objective(params, data) -> float[]`: f, exactly, on all training data."""
    evaluate: Callable[[Params], dict[str, Array]]
    """`evaluate(params) -> {name: float[]}`: what people compare, on held-out data; {} for analytic problems."""
    constants: Constants
    num_workers: int


class Keys(NamedTuple):
    """The keys of one step, one for each kind of randomness."""

    schedule: Array
    """Who is active, when, how late. Never shared with samples: the schedule is oblivious to them."""
    samples: Array
    """The samples ξ; `stacked.worker_keys` makes one for each worker."""
    messages: Array
    """Coins of randomised compressors."""


def split_key(key: Array) -> Keys:
    """The keys of one step.

    Nothing is drawn from `samples` itself: it makes keys of workers, by folding in numbers below 2^30, and the
    two others come from numbers above. So the key that every step needs costs nothing.

    Args:
        key: one key; or two stacked, key[2], the first for the schedule and the second for the rest, so that
            many runs can share one schedule and differ in their samples.
    """
    schedule, samples = key if key.ndim else (jax.random.fold_in(key, SCHEDULE), key)
    return Keys(schedule, samples, jax.random.fold_in(samples, MESSAGES))


SCHEDULE, MESSAGES = 1 << 30, (1 << 30) + 1


def step_key(key: Array, step: Array | int) -> Array:
    """The key of step number `step` of a run: a function of (key, step) alone, whatever the chunks."""
    if key.ndim:
        return jax.vmap(jax.random.fold_in, (0, None))(key, step)
    return jax.random.fold_in(key, step)


def info(
    *,
    workers: Array,
    views: PyTree,
    losses: Array,
    grads: PyTree,
    updates: PyTree,
    weights: Array,
    staleness: Array | None = None,
    bits_sent: Array | float = 0.0,
    elapsed: Array | float = 0.0,
    shift: PyTree | None = None,
    num_failures: Array | None = None,
) -> Info:
    """An `Info` with what a variant does not have filled in: no staleness, no clock, nothing sent, no shift."""
    k = workers.shape[0]
    return Info(
        workers=workers,
        views=views,
        grads=grads,
        updates=updates,
        weights=weights,
        staleness=jnp.zeros(k, jnp.int32) if staleness is None else staleness,
        bits_sent=jnp.broadcast_to(jnp.asarray(bits_sent, jnp.float32), (k,)),
        elapsed=jnp.asarray(elapsed, jnp.float32),
        losses=losses,
        shift=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), views) if shift is None else shift,
        num_failures=jnp.zeros(k, jnp.int32) if num_failures is None else num_failures,
    )


def check_oracle(oracle: Any) -> Oracle:
    """`oracle`, which is asked while it is traced whether what it returns fits its views: that costs no step anything.

    Raises:
        TypeError: at once where it is no function, later where what it returns is not (float[k], like the views).
    """
    function = arguments.function("oracle", oracle, "(keys, views, data, workers) -> (losses, grads)")
    return partial(_checked, oracle=function)


def oracle_of(algorithm: Algorithm) -> Oracle | None:
    """The oracle that `build` was given; None where the step is bound to none."""
    oracle = getattr(algorithm.step, "keywords", {}).get("oracle")
    return oracle.keywords["oracle"] if isinstance(oracle, partial) and oracle.func is _checked else oracle


def _checked(keys: Array, views: PyTree, data: PyTree, workers: Array, /, *, oracle: Oracle) -> tuple[Array, PyTree]:
    result = oracle(keys, views, data, workers)
    losses, grads = arguments.pair("oracle(keys, views, data, workers)", result, "(losses, grads)")
    return arguments.floats("losses", losses, workers.shape), arguments.like("grads", grads, views, "views")


def make_optimizer(
    step_size: StepSize | None, optimizer: optax.GradientTransformation | None
) -> tuple[StepSize | None, optax.GradientTransformation]:
    """The optimiser that turns gradients into updates, and its step size if it is plain SGD (else None).

    Args:
        step_size: α > 0 of `optax.sgd`, a float or an optax schedule; None means 0.1.
        optimizer: replaces `optax.sgd(step_size)`. Give one of the two.
    """
    if optimizer is None:
        size = arguments.step_size("step_size", DEFAULT_STEP_SIZE if step_size is None else step_size)
        return size, optax.sgd(size)
    if step_size is not None:
        raise ValueError(
            f"step_size = {step_size!r} is given beside optimizer=; give one of the two, since an "
            "optax optimiser brings its own step size"
        )
    return None, arguments.instance("optimizer", optimizer, optax.GradientTransformation, "e.g. optax.sgd(0.1)")


def num_active(algorithm: Algorithm, params: Params, data: PyTree) -> int:
    """k: how many workers are active in a step, read off its shapes; nothing is computed."""

    def one_step(key: Array) -> Info:
        return algorithm.step(key, algorithm.init(key, params), data)[1]

    return int(jax.eval_shape(one_step, jax.random.key(0)).workers.shape[0])
