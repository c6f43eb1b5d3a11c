"""EC:I11. Mass is conserved: what was generated is applied at a worker, on its way to it, or in a memory.

Setting
    Any variant whose updates are -α G (plain SGD, nothing lost for ever), with the weights w_s^j of `Info`: 1/n
    in parallel steps, 1 in single steps, 0 for a gradient that is left out. Why its views differ from x_t is
    read off its state (`lacks`): they are late, or do not see all of a shared memory, or messages are undelivered, or
    something is unsent, or that and one of the others; or workers have parameters of their own. For a variant with
    another reason there is no account of what is on its way, and it is skipped.

Statement (EC:I11, equality)
    x_0 - α Σ_{s<t} Σ_j w_s^j G_s^j  =  applied_t^i + pending_t^i + memory_t        for all t and i, in every run,
    where with s = `staleness`, w = 1/k and the memories e^j that carry the sign of an update
        applied_t^i = v_t^i,    memory_t = w Σ_j e_t^j,
        pending_t^i = Σ_{r=t-s}^{t-1} Σ_j w (u_r^j + e_r^j - e_{r+1}^j)             the messages sent since i read;
    where writes w_s^j = u_s^j + e_s^j - e_{s+1}^j to a shared memory are in part unseen, with w = 1 and D of EC:I6,
        applied_t = v_t,    pending_t = Σ_{s=t-τ}^{t-1} D_{t,s} w_s                 written, and hidden from the read;
    where messages m_s^j = u_s^j + e_s^j - e_{s+1}^j are undelivered, with w = 1/n and Miss_t^i of EC:I2,
        applied_t^i = v_t^i,    pending_t^i = (1/n) Σ_{(s,j) in Miss_t^i} (m_s^j - its stand-in), or EC:I10 over layers;
    and where workers have parameters of their own, x_t^i, beside rows z_t that take no gradients, if there are any,
        applied_t^i = x_t^i,    pending_t^i = Σ_j w^j x_t^j + (1 - Σ_j w^j) z_t - x_t^i     what averaging would bring.

Why
    A message is what a worker has to send minus what it keeps: m = u + e - e'. Summed over s < t every memory
    but the last cancels. What i has not applied are the messages after its read; averaging with a doubly
    stochastic matrix leaves the mean alone. With e = 0 this is EC:I2, with s = 0 EC:I7; with both it is the
    identity of asynchronous error feedback over channels that keep the order. The left side is summed up from
    the gradients, and x_t as the variant computes it is not used: that is EC:I1.

Source
    Nadiradze, Markov, Chatterjee, Kungurtsev, Alistarh, Elastic Consistency, AAAI 2021, arXiv 2001.05918, the
    auxiliary sequence x_t and the systems of Table 1; proved above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, lacks, missing_messages, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.identities import late_layers, unseen_writes
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory

ID = "EC:I11"

ACCOUNTS = (
    {lacks.LATE, lacks.UNSENT},
    {lacks.UNSEEN, lacks.UNSENT},
    {lacks.UNDELIVERED, lacks.SUBSTITUTED, lacks.UNSENT},
    {lacks.UNMIXED, lacks.ANCHORED},
)
"""Reasons that occur together in one of the accounts of what is on its way."""


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting, on gradients that are not linear.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    names = ("rational",)
    exact = cases.exact(names, step_size=step_size, max_tosses=max_tosses)
    dropping = cases.dropping(names, step_size=step_size, max_tosses=max_tosses)
    return [_judge(case) for found in (exact, dropping) for case in found]


def control() -> list[Check]:
    """α applied twice in a memory, a step not accounted for, an averaging that loses mass, the wrong divisor."""
    bugs: dict[str, tuple[str, Callable[[Algorithm], Algorithm]]] = {
        "α applied twice in the memory": (lacks.UNSENT, partial(planted.scaled_memories, factor=cases.STEP_SIZE)),
        "error feedback with flipped sign": (lacks.UNSENT, planted.flipped_memories),
        "views one step older than declared": (lacks.LATE, planted.older_views),
        "a write of age τ + 1 is unseen": (lacks.UNSEEN, planted.older_reads),
        "what is received loses a tenth": (
            lacks.UNDELIVERED,
            partial(planted.scaled_received_params, factor=0.9),
        ),
        "an averaging whose weights sum to 0.9": (lacks.UNMIXED, partial(planted.scaled_local_params, factor=0.9)),
    }
    planted_cases = {
        bug: cases.planted_run(plant, cases.first_setting(partial(_lacks_only, reason)), "rational", bug=bug)
        for bug, (reason, plant) in bugs.items()
    }
    planted_cases["divisor |I_t|"] = next(cases.dropping(("rational",), divisor="present"))
    return [record.planted(_judge(case), bug) for bug, case in planted_cases.items()]


def _lacks_only(reason: str, algorithm: Algorithm) -> bool:
    return lacks.of(algorithm) == {reason}


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size), _has_account(case)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _has_account(case: Case) -> Hypothesis:
    reasons = lacks.of(case.algorithm)
    holds = any(reasons <= account for account in ACCOUNTS)
    return hypotheses.is_declared("account of what is pending", holds, f"views lack what is {sorted(reasons)}")


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    generated = run.generated(case.step_size)
    reasons = lacks.of(case.algorithm)
    if lacks.UNMIXED in reasons:
        found = _of_own_parameters(run)
    elif lacks.UNSEEN in reasons:
        found = _of_writes(case)
    elif lacks.UNDELIVERED in reasons:
        found = _of_undelivered(case)
    else:
        found = _of_messages(run, generated)
    return statistics.equal(
        np.broadcast_to(generated[:, :-1, None], found.shape), found, scale=run.scale, axes=("run", "t", "i")
    )


def _of_messages(run: Trajectory, generated: np.ndarray) -> np.ndarray:
    """[S, T, k, d]. The view, the messages sent since it was read, and the memories."""
    held = np.zeros_like(generated[:, :-1])
    if run.memories is not None:
        held = run.memories.sum(axis=2) / run.num_active
    steps, runs = np.arange(run.num_steps)[None, :, None], np.arange(run.num_runs)[:, None, None]
    read = steps - run.staleness
    sent = generated[:, :-1] - held
    pending = sent[:, :, None] - sent[runs, read]
    return run.views + pending + held[:, :, None]


def _of_writes(case: Case) -> np.ndarray:
    """[S, T, k, d]. The view, what it does not see of the last writes, and the memories of all processes."""
    run = case.trajectory
    held = np.zeros_like(run.views) if run.memories is None else run.memories.sum(axis=2)[:, :, None]
    return run.views + unseen_writes.hidden(case, unseen_writes.writes(run)) + held


def _of_undelivered(case: Case) -> np.ndarray:
    """[S, T, n, d]. The view, the messages that it lacks or the layers of the last round, and the memories."""
    run, updates = case.trajectory, -case.step_size * case.trajectory.grads
    is_substituted = bool(cases.declared(case.algorithm)["substitute"])
    if cases.goes_on_by_layers(case.algorithm):
        late = updates.mean(axis=2, keepdims=True) - (updates if is_substituted else 0.0)
        missing = np.where(late_layers.late_layers(case), late, 0.0)
        return run.views + np.concatenate([np.zeros_like(missing[:, :1]), missing[:, :-1]], axis=1)
    held = np.zeros_like(updates[:, :, :1])
    if run.memories is not None:
        held = run.memories.mean(axis=2, keepdims=True)
        updates[:, :-1] -= np.diff(run.memories, axis=1)  # the message of the last step no view of the run lacks
    missing = missing_messages.total(missing_messages.of(case), updates, is_substituted=is_substituted)
    return run.views + missing + held


def _of_own_parameters(run: Trajectory) -> np.ndarray:
    """[S, T, n, d]. Each worker's parameters, and what averaging would bring to it."""
    applied = run.local_params
    assert applied is not None
    is_all = run.num_active == applied.shape[2]
    weights = run.weights if is_all else np.broadcast_to(run.weights[:, :, :1], applied.shape[:3])
    mean = np.einsum("stn,stnd->std", weights, applied)
    if run.other_params is not None:
        mean += (1 - weights.sum(axis=2))[..., None] * run.other_params.mean(axis=2)
    return applied + (mean[:, :, None] - applied)
