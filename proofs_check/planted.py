"""Bugs, planted on purpose: an algorithm in, the same algorithm with one mistake out.

A check that no bug can trip proves nothing, and bounds have slack: each statement names the bugs that it must
notice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from elastic_jax import base, delays, reads, stacked
from elastic_jax.base import Algorithm, Constants, Info, Oracle, Params, PyTree


def with_bug(algorithm: Algorithm, bug: Callable[..., tuple[Any, Info]]) -> Algorithm:
    """`bug(key, state, data, step=, bound=)` in the place of the step.

    `step` is the right one, `bound` the arguments of it. They are bound a second time, so that they are declared, and
    an oracle that takes the place of theirs takes the place of that of `step`.
    """
    keywords = algorithm.step.keywords  # type: ignore[attr-defined]
    return algorithm._replace(step=partial(_with_bug, bug=bug, right=algorithm.step, **keywords))


def older_views(algorithm: Algorithm) -> Algorithm:
    """Views are one step older than the algorithm says: a delay of τ + 1 where τ is declared."""
    return algorithm._replace(step=partial(_understate_staleness, step=algorithm.step))


def older_reads(algorithm: Algorithm) -> Algorithm:
    """No read sees anything of the last τ + 1 writes, where the variant declares τ."""
    bound = algorithm.step.keywords  # type: ignore[attr-defined]
    older = {"reads": reads.oldest(bound["max_delay"] + 1), "max_delay": bound["max_delay"] + 1}
    return algorithm._replace(
        init=partial(_as_given, function=partial(algorithm.init, **older)),
        step=partial(_as_given, function=partial(algorithm.step, **older)),
    )


def later_delays(algorithm: Algorithm) -> Algorithm:
    """Whatever is late is τ + 1 steps late, where the variant declares τ."""
    bound = algorithm.step.keywords  # type: ignore[attr-defined]
    later = {"delays": delays.constant(bound["max_delay"] + 1), "max_delay": bound["max_delay"] + 1}
    return algorithm._replace(
        init=partial(_as_given, function=partial(algorithm.init, max_delay=later["max_delay"])),
        step=partial(_as_given, function=partial(algorithm.step, **later)),
    )


def flipped_memories(algorithm: Algorithm) -> Algorithm:
    """Error feedback keeps minus what the compressor held back."""
    return scaled_memories(algorithm, factor=-1.0)


def scaled_memories(algorithm: Algorithm, *, factor: float) -> Algorithm:
    """The step size enters the memory twice (`factor` = α)."""
    return algorithm._replace(step=partial(_scale_field, step=algorithm.step, field="memories", factor=factor))


def scaled_local_params(algorithm: Algorithm, *, factor: float) -> Algorithm:
    """The workers' own parameters are averaged with weights that sum to `factor`."""
    return algorithm._replace(step=partial(_scale_field, step=algorithm.step, field="local_params", factor=factor))


def scaled_received_params(algorithm: Algorithm, *, factor: float) -> Algorithm:
    """What the workers have received is scaled in every step: mass is lost for ever."""
    return algorithm._replace(step=partial(_scale_field, step=algorithm.step, field="received_params", factor=factor))


def scaled_pendings(algorithm: Algorithm, *, factor: float) -> Algorithm:
    """Of the messages that are still to be delivered, only a part is kept."""
    return algorithm._replace(step=partial(_scale_field, step=algorithm.step, field="pendings", factor=factor))


def dropping_sgd(
    oracle: Oracle, *, num_workers: int, step_size: float, divisor: str = "workers", is_adaptive: bool = False
) -> Algorithm:
    """Synchronous SGD that loses half of the gradients in every other step; not a bug with its defaults.

    Args:
        oracle: stacked stochastic gradients.
        num_workers: n, even.
        step_size: α.
        divisor: "workers" is n, as it should be; "present" averages over those that arrived, while `Info`
            says 1/n.
        is_adaptive: the schedule looks at the samples: lost are all gradients of positive first coordinate,
            up to half.
    """
    return Algorithm(
        init=_start,
        step=partial(
            _dropping_step,
            oracle=oracle,
            step_size=step_size,
            num_workers=num_workers,
            divisor=divisor,
            is_adaptive=is_adaptive,
        ),
        global_params=_params,
        consistency_bound=_no_distance,
        num_workers=num_workers,
    )


class _State(NamedTuple):
    num_steps: Array
    params: Params


def _start(key: Array, params: Params) -> _State:
    del key
    return _State(jnp.zeros((), jnp.int32), params)


def _params(state: _State) -> Params:
    return state.params


def _no_distance(constants: Constants, params: Params) -> float:
    del constants, params
    return 0.0


def _dropping_step(
    key: Array,
    state: _State,
    data: PyTree,
    *,
    oracle: Oracle,
    step_size: float,
    num_workers: int,
    divisor: str,
    is_adaptive: bool,
) -> tuple[_State, Info]:
    key_samples = base.split_key(key).samples
    workers = jnp.arange(num_workers, dtype=jnp.int32)

    # read: v^i = x; compute: g^i
    views = stacked.broadcast(state.params, num_workers)
    losses, grads = oracle(stacked.worker_keys(key_samples, workers), views, data, workers)
    updates = stacked.scale(-step_size, grads)

    # communicate: in odd steps the first half of the workers is not heard
    is_first_half = workers < num_workers // 2
    is_lost = is_first_half & ((grads[:, 0] > 0) if is_adaptive else (state.num_steps % 2 == 1))
    weights = jnp.where(is_lost, 0.0, 1.0 / num_workers)

    # apply: x = x + (1/n) Σ_{i heard} u^i
    applied = weights / jnp.sum(weights) if divisor == "present" else weights
    new_params = stacked.add(state.params, stacked.weighted_sum(applied, updates))
    return _State(state.num_steps + 1, new_params), base.info(
        workers=workers, views=views, losses=losses, grads=grads, updates=updates, weights=weights
    )


def _as_given(*positional: Any, function: Callable[..., Any]) -> Any:
    """`function`, whose keywords do not show: what the variant declares is read off its bound."""
    return function(*positional)


def _with_bug(
    key: Array, state: Any, data: PyTree, *, bug: Callable[..., Any], right: Callable[..., Any], **bound: Any
) -> tuple[Any, Info]:
    found: tuple[Any, Info] = bug(key, state, data, step=partial(right, oracle=bound["oracle"]), bound=bound)
    return found


def _understate_staleness(key: Array, state: Any, data: PyTree, *, step: Callable[..., Any]) -> tuple[Any, Info]:
    new_state, info = step(key, state, data)
    return new_state, info._replace(staleness=jnp.maximum(info.staleness - 1, 0))


def _scale_field(
    key: Array, state: Any, data: PyTree, *, step: Callable[..., Any], field: str, factor: float
) -> tuple[Any, Info]:
    new_state, info = step(key, state, data)
    return new_state._replace(**{field: stacked.scale(factor, getattr(new_state, field))}), info
