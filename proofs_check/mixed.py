"""Which matrix mixed the rows of a run in each step: from the arguments of the algorithm and the key of its schedule.

The rows are the parameters of the workers and, after them, those of an anchor or of auxiliary rows. With W_t what the
arguments promise where a mixing is due, and I elsewhere,

    X_{t+1} = W_t X_t - α L_t [G_t; 0],    L_t = W_t where updates are mixed at once, I where combining comes first.

No variant is asked for its name. The state of the algorithm is not looked at: it is what is to be compared with.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from elastic_jax import base, mixings, stacked
from elastic_jax.base import Algorithm, PyTree
from proofs_check import cases, missing_messages, statistics, trajectory
from proofs_check.cases import Case
from proofs_check.record import Hypothesis
from proofs_check.trajectory import Trajectory


class Mixed(NamedTuple):
    """How the rows of an algorithm are mixed."""

    mixing: mixings.Mixing
    period: int
    """H: W_t is drawn where t + 1 is a multiple of it."""
    num_auxiliary: int
    """v: rows without gradients."""
    combines_first: bool
    """Updates are added after the mixing."""


def of(algorithm: Algorithm) -> Mixed | None:
    """What the arguments bound in an algorithm say of its rows; None if they are not mixed by such matrices."""
    bound, n = cases.declared(algorithm), algorithm.num_workers
    period, weights = bound.get("period"), bound.get("worker_weights")
    if not isinstance(period, int):
        return None
    if "mixing" in bound:
        mixing = bound["mixing"]
        return Mixed(mixing, period, mixing.num_rows - n, bool(bound.get("combine_first", False)))
    if "elasticity" in bound and "clock" not in bound:
        return Mixed(mixings.elastic(n, bound["elasticity"]), period, 1, False)
    if weights is None or max(weights) > min(weights):
        return None
    if bound.get("num_sampled") in (None, n):
        return Mixed(mixings.average(n), period, 0, False)
    size = sample_size(algorithm)
    return None if size is None else Mixed(mixings.sampled(n, size), period, 0, False)


def known(algorithm: Algorithm) -> Mixed:
    """The same of an algorithm whose rows are known to be mixed."""
    found = of(algorithm)
    if found is None:
        raise ValueError(f"algorithm = {algorithm} does not say by its arguments how its rows are mixed")
    return found


def sample_size(algorithm: Algorithm) -> int | None:
    """c, where a sample is replaced by its mean and the others keep what they have; None where it is not so.

    Where participants join, they take what the server has: that is no mixing of rows.
    """
    bound = cases.declared(algorithm)
    return None if "opt_states_at_joining" in bound else bound.get("num_sampled")


def matrices(case: Case) -> np.ndarray:
    """float64[T, r, r]. W_t, drawn again from the schedule that all runs of the case share."""
    return matrices_of(case.algorithm, is_exact=case.trajectory.is_exact, num_steps=case.trajectory.num_steps)


@functools.cache
def matrices_of(algorithm: Algorithm, *, is_exact: bool, num_steps: int) -> np.ndarray:
    """The same of runs of an algorithm; kept, since it is slow to compile."""
    found, key = known(algorithm), trajectory.run_key(is_exact=is_exact)
    with jax.enable_x64(True):
        keys = missing_messages.schedule_keys(key, num_steps)
        steps = jnp.arange(num_steps, dtype=jnp.int32)
        draws = jax.jit(jax.vmap(found.mixing.matrix), compiler_options=trajectory.QUICKLY)(keys, steps // found.period)
        is_due = (np.arange(num_steps) + 1) % found.period == 0
        return np.where(is_due[:, None, None], np.asarray(draws, np.float64), np.eye(found.mixing.num_rows))


def of_updates(case: Case) -> np.ndarray:
    """float64[T, r, r]. L_t."""
    found = matrices(case)
    return np.broadcast_to(np.eye(found.shape[1]), found.shape) if known(case.algorithm).combines_first else found


def rows(run: Trajectory) -> np.ndarray:
    """float64[S, T, r, d]. X_t before each step."""
    assert run.local_params is not None
    parts = [run.local_params] if run.other_params is None else [run.local_params, run.other_params]
    return np.concatenate(parts, axis=2)


def grads(run: Trajectory) -> np.ndarray:
    """float64[S, T, r, d]. [G_t; 0]: rows that take no gradients have zeros."""
    num_rows = rows(run).shape[2]
    return np.pad(run.grads, ((0, 0), (0, 0), (0, num_rows - run.num_active), (0, 0)))


def apart(values: np.ndarray) -> np.ndarray:
    """(I - J) of [..., r, d]: each row less the mean of all."""
    return values - values.mean(axis=-2, keepdims=True)


def is_doubly_stochastic(case: Case) -> Hypothesis:
    """Rows and columns of all W_t sum to 1."""
    found = matrices(case)
    worst = max(float(np.abs(found.sum(axis=axis) - 1).max()) for axis in (1, 2))
    return Hypothesis("doubly stochastic", worst <= statistics.ROUNDING, f"off by at most {worst:.1e}")


def starts_equal(case: Case) -> Hypothesis:
    """All rows begin at the same place."""
    off = float(np.abs(apart(rows(case.trajectory)[:, 0])).max())
    return Hypothesis("all rows start equal", off <= statistics.ROUNDING * case.trajectory.scale, f"off by {off:.1e}")


def without_grads(algorithm: Algorithm, start: np.ndarray, keys: Array, *, first: int = 0) -> np.ndarray:
    """float64[S, T + 1, r, d]. The rows of runs in which all gradients are zero: nothing but mixing moves them.

    Args:
        algorithm: any with `local_params`, and with an anchor or auxiliary rows if `start` has more rows than these.
        start: float[r, d]. X_0.
        keys: key[S, T, 2], the pair of each step.
        first: the number of the first step.
    """
    with jax.enable_x64(True):
        begun = jnp.asarray(first, jnp.int32)
        return np.asarray(_over_runs(jnp.asarray(start, jnp.float64), keys, begun, algorithm=algorithm))


def still(algorithm: Algorithm) -> Algorithm:
    """The algorithm with gradients that are all zero."""
    return algorithm._replace(step=partial(algorithm.step, oracle=_no_grads))


def with_rows(state: Any, local_params: PyTree, others: PyTree) -> Any:
    """A state in which the workers, and then the anchor or the auxiliary rows, have these parameters."""
    fields = {"local_params": local_params}
    if hasattr(state, "round_params"):
        fields["round_params"] = local_params
    if hasattr(state, "anchor_params"):
        fields["anchor_params"] = stacked.first(others)
    elif others.shape[0]:
        fields["auxiliary_params"] = others
    return state._replace(**fields)


def rows_of(state: Any) -> Array:
    """[r, d]. The rows of a state whose parameters are one array."""
    if hasattr(state, "anchor_params"):
        return jnp.concatenate([state.local_params, state.anchor_params[None]])
    others = jax.tree.leaves(getattr(state, "auxiliary_params", ()))
    return jnp.concatenate([state.local_params, *others])


@partial(jax.jit, static_argnames="algorithm", compiler_options=trajectory.QUICKLY)
def _over_runs(start: Array, keys: Array, first: Array, *, algorithm: Algorithm) -> Array:
    return jax.vmap(partial(_without_grads, algorithm=still(algorithm)), (None, 0, None))(start, keys, first)


def _without_grads(start: Array, keys: Array, first: Array, *, algorithm: Algorithm) -> Array:
    state = algorithm.init(base.split_key(keys[0]).schedule, start[0])
    n = state.local_params.shape[0]
    state = with_rows(state, start[:n], start[n:])._replace(num_steps=first)

    def advance(state: Any, key: Array) -> tuple[Any, Array]:
        new_state, _ = algorithm.step(key, state, ())
        return new_state, rows_of(new_state)

    _, seen = jax.lax.scan(advance, state, keys)
    return jnp.concatenate([start[None], seen])


def _no_grads(keys: Array, views: PyTree, data: PyTree, workers: Array) -> tuple[Array, PyTree]:
    del keys, data
    return jnp.zeros(workers.shape[0]), jax.tree.map(jnp.zeros_like, views)
