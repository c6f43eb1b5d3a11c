"""PS:I1. Pushing moves neither the sum of the numerators nor that of the weights, and no weight becomes 0.

Setting
    Variants whose state has push weights: P_t column-stochastic with a diagonal above 0, the same or drawn, what is
    pushed arriving d >= 0 steps late. Any optimiser; here plain SGD. Weights are 1 at the start.

Statement (PS:I1)
    weights (equality):     Σ_i w_t^i + in flight = n;
    numerators (equality):  Σ_i x_{t+1}^i + in flight = Σ_i x_t^i + in flight + Σ_i u_t^i, and x_t is 1/n of it;
    pushes (equality):      w_{t+1} = diag(P_t) w_t + (P_{t-d} - diag(P_{t-d})) w_{t-d};
    views (equality):       w_t^i v_t^i = x_t^i;
    positive (tight):       w_t^i >= p^t, p the least share that anybody keeps; attained before anything arrives;
    each for all t and i, in every run.

Why
    1ᵀ P_t = 1ᵀ: of what a worker has after its step, what it keeps and what it sends is all. A worker keeps a share of
    at least p of its weight, and what arrives is not negative.

Source
    Assran, Loizou, Ballas, Rabbat, Stochastic Gradient Push, ICML 2019, arXiv 1811.10792; proved above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import networkx
import numpy as np

from elastic_jax import shares
from elastic_jax.base import Algorithm
from elastic_jax.shares import Shares
from proofs_check import cases, record, statistics
from proofs_check.networks import planted, runs
from proofs_check.networks.runs import Run
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "PS:I1"


def _uneven(num_workers: int) -> Shares:
    """Everybody pushes to the next one, and worker 0 to all."""
    ring = networkx.cycle_graph(num_workers, create_using=networkx.DiGraph)
    ring.add_edges_from((0, other) for other in range(1, num_workers))
    return shares.from_networkx(ring)


PARTS: Mapping[str, Mapping[str, Any]] = {
    "one peer": {},
    "one peer, late": {"delay": 3},
    "uneven": {"shares": _uneven},
    "uneven, late": {"shares": _uneven, "delay": 1},
    "a directed ring, late": {"shares": shares.directed_ring, "delay": 2},
    "random peers": {"shares": shares.random_peers},
    "random peers, late": {"shares": shares.random_peers, "delay": 2},
    "everybody": {"shares": shares.everybody},
}
"""{label: arguments of `build`}."""


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant that pushes, along graphs whose rows sum to 1 and others, at once and late.

    Args:
        step_size: α > 0.
    """
    found = runs.with_gradients("push_weights", PARTS, step_size=step_size)
    return [one for run in found for one in _judge(run)]


def control() -> list[Check]:
    """Weights that are not pushed; a tenth of what is sent, or kept, lost; rows that sum to 1, and not columns."""
    bugs: Mapping[str, tuple[Callable[[Algorithm], Algorithm], str, tuple[str, ...]]] = {
        "weights are not pushed": (planted.weights_stay, "uneven", ("pushes",)),
        "weights are not pushed, and views told as if they were": (planted.weights_told, "uneven", ("views",)),
        "a tenth of what is sent is lost": (
            planted.lossy_pushes,
            "random peers, late",
            ("weights", "numerators", "pushes"),
        ),
        "a tenth of what is kept is lost": (planted.forgetful, "a directed ring, late", ("weights", "positive")),
        "P is row-stochastic": (planted.transposed_shares, "uneven", ("numerators", "pushes")),
    }
    found = []
    for bug, (plant, label, names) in bugs.items():
        run = next(runs.with_gradients("push_weights", {label: PARTS[label]}, plant=plant))
        checks = {one.name: one for one in _judge(run)}
        found += [record.planted(checks[name], bug) for name in names]
    return found


def _judge(run: Run) -> list[Check]:
    return [
        run.judge(ID, "weights", "equality", partial(_weights, run)),
        run.judge(ID, "numerators", "equality", partial(_numerators, run)),
        run.judge(ID, "pushes", "equality", partial(_pushes, run)),
        run.judge(ID, "views", "equality", partial(_views, run)),
        run.judge(ID, "positive", "tight", partial(_positive, run)),
    ]


def _weights(run: Run) -> Comparison:
    total = run.states.push_weights.sum(axis=2)
    if _delay(run):
        total = total + run.states.message_weights.sum(axis=(2, 3))
    return statistics.equal(total, np.full_like(total, run.algorithm.num_workers), axes=("run", "t"))


def _numerators(run: Run) -> Comparison:
    total = runs.flat(run, "pushed_params").sum(axis=2)
    if _delay(run):
        total = total + runs.flat(run, "messages", 4).sum(axis=(2, 3))
    moved = total[:, :-1] + runs.flat(run, "updates").sum(axis=2)
    left = np.concatenate([total[:, 1:], run.algorithm.num_workers * run.params], axis=1)
    right = np.concatenate([moved, total], axis=1)
    return statistics.equal(left, right, scale=run.scale, axes=("run", "t"))


def _pushes(run: Run) -> Comparison:
    """The weights, from matrices drawn anew; what is late is kept as a list of what was sent."""
    matrices, delay = runs.drawn(run, _shares(run)), _delay(run)
    own = np.einsum("stii->sti", matrices)
    weights, sent = [np.ones_like(own[:, 0])], []
    for t in range(matrices.shape[1]):
        kept = own[:, t] * weights[-1]
        sent.append(np.einsum("sij,sj->si", matrices[:, t], weights[-1]) - kept)
        weights.append(kept + (sent[t - delay] if t >= delay else 0.0))
    return statistics.equal(run.states.push_weights, np.stack(weights, axis=1), axes=("run", "t"))


def _views(run: Run) -> Comparison:
    views, numerators = runs.flat(run, "views"), runs.flat(run, "pushed_params")[:, :-1]
    weights = run.states.push_weights[:, :-1, :, None]
    return statistics.equal(weights * views, numerators, scale=run.scale, axes=("run", "t", "i"))


def _positive(run: Run) -> Comparison:
    least = np.einsum("stii->sti", runs.drawn(run, _shares(run))).min()
    weights = run.states.push_weights
    claimed = least ** np.arange(weights.shape[1])[None, :, None]
    # a lower bound, in every run: each run is a place, and both sides change theirs
    return statistics.at_most(
        np.broadcast_to(claimed, weights.shape)[None], weights[None], is_exact=True, axes=("run", "t", "i")
    )


def _shares(run: Run) -> Shares:
    found: Shares = cases.declared(run.algorithm)["shares"]
    return found


def _delay(run: Run) -> int:
    return int(cases.declared(run.algorithm)["delay"])
