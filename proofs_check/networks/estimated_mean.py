"""CH:I1. Gossip between estimates does not move the mean, whatever the messages lose.

Setting
    Variants whose state has estimates x̂^i of the workers' parameters, the same at all who hold one: W symmetric, any
    compressor, any γ, either order. Plain SGD.

Statement (CH:I1, equality)
    (1/n) Σ_i x_{t+1}^i = (1/n) Σ_i x_t^i + (1/n) Σ_i u_t^i                 for all t, in every run,
    each mixing (equality): the mean is the same after a mixing without gradients as before it, from any estimates.

Why
    Σ_i Σ_j W_ij (x̂^j - x̂^i) = Σ_j x̂^j (Σ_i W_ij) - Σ_i x̂^i (Σ_j W_ij) = 0, as rows and columns of W sum to 1. It needs
    nothing of what x̂^i is, but that it is one.

Source
    Koloskova, Stich, Jaggi, Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication,
    ICML 2019, arXiv 1902.00340; proved above.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from elastic_jax import compressors, topologies
from proofs_check import cases, record, statistics
from proofs_check.networks import planted, runs
from proofs_check.networks.runs import Run
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CH:I1"

PARTS: Mapping[str, Mapping[str, Any]] = {
    "everything sent": {},
    "top-k": {"compressor": compressors.top_k(0.25), "consensus_step_size": 0.4},
    "top-k, mixing first": {
        "compressor": compressors.top_k(0.25),
        "consensus_step_size": 0.4,
        "quantize_first": False,
    },
    "random-k on a star": {"compressor": compressors.random_k(0.5), "topology": topologies.star},
    "signs, complete": {"compressor": compressors.scaled_sign(), "topology": topologies.complete},
    "no contraction, mixing first": {
        "compressor": compressors.terngrad(),
        "consensus_step_size": 0.1,
        "quantize_first": False,
    },
}
"""{label: arguments of `build`}."""


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant with estimates, with compressors, graphs and orders.

    Args:
        step_size: α > 0.
    """
    found = [_of_steps(run) for run in runs.with_gradients("estimates", PARTS, step_size=step_size)]
    return found + [_of_mixings(run) for run in runs.far_apart(PARTS, num_steps=runs.NUM_STEPS)]


def control() -> list[Check]:
    """Receivers who decode something else than senders believe."""
    bug, chosen = "receivers decode half of a message", {"top-k": PARTS["top-k"]}
    steps = next(runs.with_gradients("estimates", chosen, plant=planted.differing_copies))
    mixings = next(runs.far_apart(chosen, num_steps=runs.NUM_STEPS, plant=planted.differing_copies))
    return [record.planted(_of_steps(steps), bug), record.planted(_of_mixings(mixings), bug)]


def _of_steps(run: Run) -> Check:
    return run.judge(ID, "at every step", "equality", partial(_with_updates, run))


def _of_mixings(run: Run) -> Check:
    return run.judge(ID, "each mixing", "equality", partial(_alone, run))


def _with_updates(run: Run) -> Comparison:
    means = runs.flat(run, "local_params").mean(axis=2)
    moved = means[:, :-1] + runs.flat(run, "updates").mean(axis=2)
    left, right = np.concatenate([means[:, 1:], run.params], axis=1), np.concatenate([moved, means], axis=1)
    return statistics.equal(left, right, scale=run.scale, axes=("run", "t"))


def _alone(run: Run) -> Comparison:
    means = runs.flat(run, "local_params").mean(axis=2)
    first = np.broadcast_to(means[:, :1], means[:, 1:].shape)
    return statistics.equal(means[:, 1:], first, scale=run.scale, axes=("run", "t"))
