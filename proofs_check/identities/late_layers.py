"""EC:I10. Over layers, a view lacks those layers of the last round that had not come when its barrier opened.

Setting
    Variants whose barriers wait for layers of the mean over all workers; P_t^i keeps the layers that are late for
    worker i in round t. The rule is asked again, with the recorded updates, which layers those are.

Statement (EC:I10, equality)
    norm-bounded:      x_{t+1} - v_{t+1}^i = -α P_t^i ḡ_t,                        ḡ_t = (1/n) Σ_j G_t^j,
    variance-bounded:  x_{t+1} - v_{t+1}^i = -α P_t^i (ḡ_t - G_t^i)               for all t and i, in every run.

Why
    The view is x_{t+1} without its late layers, or with the worker's own update in them; what was late in an earlier
    round has come. x_{t+1} is summed up from the gradients.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the elastic scheduler; over layers as in the
    authors' public code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from proofs_check import cases, hypotheses, missing_messages, planted, record, statistics, trajectory, two_samples
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I10"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting with barriers over layers.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("rational",), step_size=step_size, max_tosses=max_tosses, is_meant=cases.goes_on_by_layers)
    return [_judge(case) for case in found]


def control() -> list[Check]:
    """In each setting what is received loses a tenth; the other form of the scheduler."""
    found = list(cases.exact(("rational",), is_meant=cases.goes_on_by_layers))
    shrunk = cases.rerun(found[0], planted.scaled_received_params(found[0].algorithm, factor=0.9), "rational")
    return [
        record.planted(_judge(shrunk), "what is received loses a tenth"),
        *[
            record.planted(
                _judge(case, is_mistaken=True), f"{case.setting}: stand-ins mistaken for none, or none for them"
            )
            for case in found
        ],
    ]


def late_layers(case: Case) -> np.ndarray:
    """bool[S, T, n, d]: which coordinates of the round of step t were late for worker i."""
    run, barrier = case.trajectory, cases.declared(case.algorithm)["barrier"]
    with jax.enable_x64(True):
        keys = missing_messages.schedule_keys(trajectory.run_key(is_exact=run.is_exact), run.num_steps)
        layers = jax.tree.map(jnp.asarray, two_samples.layers(run.updates, run.num_layers))
        over_steps = jax.vmap(barrier.received)
        steps = jnp.arange(run.num_steps, dtype=jnp.int32)
        over_runs = jax.jit(jax.vmap(over_steps, (None, None, 0)), compiler_options=trajectory.QUICKLY)
        received = np.asarray(over_runs(keys, steps, layers))
    return np.repeat(~received, run.params.shape[-1] // run.num_layers, axis=-1)


def _judge(case: Case, *, is_mistaken: bool = False) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare_mistaken if is_mistaken else _compare)


def _compare(case: Case, *, is_mistaken: bool = False) -> Comparison:
    run = case.trajectory
    mean = run.grads.mean(axis=2, keepdims=True)
    has_stand_ins = cases.declared(case.algorithm)["substitute"] != is_mistaken
    late = np.where(late_layers(case), mean - run.grads if has_stand_ins else mean, 0.0)
    lacking = run.generated(case.step_size)[:, 1:-1, None] - run.views[:, 1:]
    return statistics.equal(lacking, -case.step_size * late[:, :-1], scale=run.scale, axes=("run", "t", "i"))


def _compare_mistaken(case: Case) -> Comparison:
    return _compare(case, is_mistaken=True)
