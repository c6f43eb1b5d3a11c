"""EC:I6. A read of shared memory lacks exactly the unseen coordinates of recent writes.

Setting
    Variants whose views lack parts of the last τ writes to a shared memory, and nothing else (`lacks`). D_{t,s}, a
    diagonal matrix of 0 and 1, keeps the coordinates of write s that the read of step t does not see.

Statement (EC:I6, equality)
    x_t - v_t = -α Σ_{s=t-τ}^{t-1} D_{t,s} G_s                                      for all t, in every run.

Why
    Write s is -α G_s, whole; v_t is the sum of all writes but for what D hides of the last τ. D is drawn anew here
    from the schedule's key through the read model that the variant declares, and the gradients are those recorded:
    a coordinate that misses a write of age τ + 1, or sees what is hidden, shows. x_t is summed up from the gradients.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, Table 1, row of shared memory.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax.base import Algorithm
from elastic_jax.reads import ReadModel
from proofs_check import cases, hypotheses, lacks, missing_messages, planted, record, statistics
from proofs_check import trajectory as trajectories
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory

ID = "EC:I6"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with unseen writes.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=writes_are_unseen)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """Coordinates that miss a write of age τ + 1."""
    setting, bug = cases.first_setting(writes_are_unseen), "a write of age τ + 1 is unseen"
    case = cases.planted_run(planted.older_reads, setting, "rational", bug=bug)
    return [record.planted(_judge(case), bug)]


def writes_are_unseen(algorithm: Algorithm) -> bool:
    """Views lack parts of the last writes, and differ from x_t for no other reason."""
    return lacks.of(algorithm) == {lacks.UNSEEN}


def writes(run: Trajectory) -> np.ndarray:
    """float64[S, T - 1, d], parameter units. What was written in each step: the update, and what memories gave for it.

    The last step's is not known, since memories are recorded before each step; no view of the run lacks it.
    """
    written = run.updates[:, :-1, 0]
    return written if run.memories is None else written - np.diff(run.memories, axis=1).sum(axis=2)


def hidden(case: Case, written: np.ndarray) -> np.ndarray:
    """float64[S, T, 1, d]. Σ_s D_{t,s} w_s for w = `written` [S, T - 1 or more, d], D from the key of the schedule."""
    run = case.trajectory
    past = _by_age(writes(run), run.num_steps, _model(case).max_delay)
    of_interest = _by_age(written, run.num_steps, _model(case).max_delay)
    return np.where(_unseen(case, past), of_interest, 0.0).sum(axis=2)[:, :, None]


def max_delay(case: Case) -> int:
    """τ, as the variant declares it."""
    return _model(case).max_delay


def _model(case: Case) -> ReadModel:
    model: ReadModel = cases.declared(case.algorithm)["reads"]
    return model


def _by_age(written: np.ndarray, num_steps: int, window: int) -> np.ndarray:
    """[S, T, τ, d]: of step t and age a the write of step t - a, 0 before the first one."""
    shape = (written.shape[0], num_steps, window, written.shape[2])
    found = np.zeros(shape)
    for age in range(1, window + 1):
        found[:, age:, age - 1] = written[:, : num_steps - age]
    return found


def _unseen(case: Case, past: np.ndarray) -> np.ndarray:
    """bool[S or 1, T, τ, d]: the draws of the read model; those of one that looks at writes differ from run to run."""
    run, model = case.trajectory, _model(case)
    steps = jnp.arange(run.num_steps, dtype=jnp.int32)
    with jax.enable_x64(True):
        keys = missing_messages.schedule_keys(trajectories.run_key(is_exact=run.is_exact), run.num_steps)
        over_runs = jax.vmap(jax.vmap(model.draw), (None, None, 0))
        shown = jnp.asarray(past if model.is_adaptive else past[:1])
        return np.asarray(jax.jit(over_runs, compiler_options=trajectories.QUICKLY)(keys, steps, shown))


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_single(case.trajectory), hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    lacking = run.generated(case.step_size)[:, :-1, None] - run.views
    missing = hidden(case, -case.step_size * run.grads[:, :, 0])
    return statistics.equal(lacking, missing, scale=run.scale, axes=("run", "t", "i"))
