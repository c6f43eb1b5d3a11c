"""What the messages are that a view lacks: pending, on their way, dropped, unheard of the dying, late at a barrier."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import base, stacked
from elastic_jax.base import PyTree
from proofs_check.live import rounding
from proofs_check.live.rounding import Comparison, Step


def lacking(step: Step, lack: PyTree | None, *, drift: Array | float = 0.0) -> Comparison:
    """x_t - v_t^i = `lack` [k, ...] for every slot that somebody uses; None is 0."""
    moment = step.moment
    found = jax.tree.map(lambda one, rows: one[None] - rows, moment.params, moment.info.views)
    found = found if lack is None else stacked.subtract(found, lack)
    num_terms = 0.0 if lack is None else rounding.num_terms(moment)
    return rounding.close(step, rounding.only_used(moment.info.workers, found), num_terms=num_terms, drift=drift)


def weighted(shares: Array, messages: PyTree) -> PyTree:
    """Σ over slots and senders of shares[slot, receiver, sender] · messages[slot, sender]: [n, ...]."""
    num_slots, n, _ = shares.shape
    rows = jax.tree.map(lambda leaf: leaf.reshape(num_slots * n, *leaf.shape[2:]), messages)
    return stacked.weighted_sum(shares.transpose(1, 0, 2).reshape(n, num_slots * n), rows)


def pending(step: Step) -> Comparison:
    """The mean of what is pending, less that of what stands in for it; which grows by the own update where it must."""
    state, new_state = step.moment.state, step.moment.new_state
    lack = jax.vmap(stacked.worker_mean)(state.pendings)
    if not jax.tree.leaves(state.stand_ins):
        return lacking(step, lack, drift=step.drift)
    lack = stacked.subtract(lack, jax.vmap(stacked.worker_mean)(state.stand_ins))
    is_missing = new_state.num_missing > 0

    def more(old: Array, new: Array, update: Array) -> Array:
        return new - jnp.where(is_missing.reshape(*is_missing.shape, *[1] * (old.ndim - 2)), old + update[:, None], 0)

    grown = jax.tree.map(more, state.stand_ins, new_state.stand_ins, step.moment.info.updates)
    return rounding.worst(lacking(step, lack, drift=step.drift), rounding.close(step, grown))


def on_their_way(step: Step, *, substitute: bool) -> Comparison:
    """Σ of the messages due after this step, stand-ins, memories; with losses, for worker 0 whose are kept."""
    moment, state = step.moment, step.moment.state
    is_missing = state.due_steps > moment.num_steps
    shares = jnp.where(is_missing, 1.0 / is_missing.shape[1], 0.0)
    if substitute:
        shares = shares - jax.vmap(jnp.diag)(jnp.sum(shares, axis=2))
    lack = weighted(shares, state.messages)
    if jax.tree.leaves(state.memories):
        mean = stacked.worker_mean(state.memories)
        lack = jax.tree.map(lambda rows, one: rows + one[None], lack, mean)
    if not jax.tree.leaves(state.lost_params):
        return lacking(step, lack, drift=step.drift)
    first = stacked.add(stacked.first(lack), state.lost_params)
    found = stacked.subtract(stacked.subtract(moment.params, stacked.first(moment.info.views)), first)
    return rounding.close(step, found, num_terms=rounding.num_terms(moment), drift=step.drift)


def unheard(step: Step, *, crashes: Any, substitute: bool) -> Comparison:
    """Of survivors: what of the dying they did not hear is added to what they lack, less what stands in for it."""
    moment, is_alive = step.moment, step.moment.state.is_alive
    is_dying, reaches = crashes.draw(_schedule_key(step), moment.num_steps, is_alive)
    is_survivor = is_alive & ~is_dying
    hears = is_survivor[None, :] | (is_alive & is_dying)[None, :] & reaches
    counts = is_alive if substitute else jnp.any(hears & is_survivor[:, None], axis=0)
    added = _added(step, counts[None, :] & ~hears & is_survivor[:, None], substitute=substitute)
    is_alike = jnp.all(is_survivor == moment.new_state.is_alive)
    return rounding.worst(_is_received(step), _grown(step, added, is_survivor), rounding.holds(is_alike))


def dropped(step: Step, *, substitute: bool) -> Comparison:
    """What is lost for ever in this step, by the counts of the state."""
    old, new = step.moment.state.num_missing, step.moment.new_state.num_missing
    added = _added(step, new > old, substitute=substitute)
    return rounding.worst(_is_received(step), _grown(step, added, jnp.ones(old.shape[0], bool)))


def late(step: Step, *, barrier: Any, substitute: bool) -> Comparison:
    """What is late of this round, the barrier being asked anew; nothing of the rounds before it is."""
    moment = step.moment
    is_late = ~barrier.received(_schedule_key(step), moment.num_steps, moment.info.updates)
    if barrier.over == "workers":
        lack = _added(step, is_late, substitute=substitute)
    else:
        lack = _late_layers(is_late, moment.info.updates, substitute=substitute)
    found = jax.tree.map(lambda one, rows: one[None] - rows, moment.new_params, moment.new_state.received_params)
    told = rounding.close(step, stacked.subtract(found, lack), num_terms=rounding.num_terms(moment))
    return rounding.worst(_is_received(step), told)


def _schedule_key(step: Step) -> Array:
    assert step.moment.key is not None
    return base.split_key(step.moment.key).schedule


def _late_layers(is_late: Array, updates: PyTree, *, substitute: bool) -> PyTree:
    """[n, ...]. Of the layers that are late the mean of all, with stand-ins less the own."""
    means = stacked.worker_mean(updates)
    found = []
    for layer, (mean, own) in enumerate(zip(jax.tree.leaves(means), jax.tree.leaves(updates), strict=True)):
        column = is_late[:, layer].reshape(-1, *[1] * mean.ndim)
        found.append(jnp.where(column, mean[None] - (own if substitute else jnp.zeros_like(own)), 0))
    return jax.tree.unflatten(jax.tree.structure(updates), found)


def _added(step: Step, is_missing: Array, *, substitute: bool) -> PyTree:
    """(1/n) Σ_j of the updates of this step that i misses, bool[n, n], with stand-ins of u^j - u^i: [n, ...]."""
    info = step.moment.info
    shares = jnp.where(is_missing, 1.0 / is_missing.shape[0], 0.0)
    if substitute:
        shares = shares - jnp.diag(jnp.sum(shares, axis=1))
    return stacked.weighted_sum(shares, rounding.only_used(info.workers, info.updates))


def _grown(step: Step, added: PyTree, is_meant: Array) -> Comparison:
    """(x_{t+1} - y_{t+1}^i) - (x_t - y_t^i) = `added` [n, ...], for the workers meant: bool[n]."""
    moment = step.moment
    found = jax.tree.map(
        lambda x, new, old, more: x[None] - (new - old) - more,
        stacked.subtract(moment.new_params, moment.params),
        moment.new_state.received_params,
        moment.state.received_params,
        added,
    )
    meant = rounding.only_used(jnp.where(is_meant, 0, -1), found)
    return rounding.close(step, meant, num_terms=rounding.num_terms(moment))


def _is_received(step: Step) -> Comparison:
    """v^i = y^i, in the slots that are used."""
    moment = step.moment
    found = stacked.subtract(moment.info.views, moment.state.received_params)
    return rounding.close(step, rounding.only_used(moment.info.workers, found))
