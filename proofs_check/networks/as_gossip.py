"""CH:I2. Where nothing is lost, gossip between estimates is gossip.

Setting
    Variants whose state has estimates x̂^i, with the identity compressor. Plain SGD; W symmetric.

Statement (CH:I2, equality), row by row and step by step, in every run
    quantising first, γ = 1:    X_{t+1} = W (X_t + U_t): adapt, then combine;
    mixing first, γ = 1:        X_{t+1} = W X_t + U_t: combine, then adapt;
    slower:                     the same with γ W + (1 - γ) I for W.

Why
    Quantising first, x̂_{t+1} = x_t + u_t, and h + γ (W - I) h is W_γ h. Mixing first, x̂_t = x_t since the step before,
    so that x + u + γ (W - I) x is W_γ x + u. The right sides are written out again, not run by the library.

Source
    Koloskova, Stich, Jaggi, ICML 2019, arXiv 1902.00340, where CHOCO-SGD generalises D-PSGD; proved above.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from elastic_jax import topologies
from proofs_check import cases, record, statistics
from proofs_check.networks import runs
from proofs_check.networks.runs import Run
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "CH:I2"

FIRST, SECOND = {"consensus_step_size": 1.0}, {"consensus_step_size": 1.0, "quantize_first": False}

PARTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "quantising first": {"ring": FIRST, "star": {**FIRST, "topology": topologies.star}},
    "mixing first": {"ring": SECOND, "star": {**SECOND, "topology": topologies.star}},
    "slower": {"ring": {"consensus_step_size": 0.3}, "ring, mixing first": {**SECOND, "consensus_step_size": 0.3}},
}
"""{form: {label: arguments of `build`}}."""


def check(*, step_size: float = cases.STEP_SIZE) -> list[Check]:
    """Every variant with estimates, in both orders.

    Args:
        step_size: α > 0.
    """
    return [
        _judge(run, form)
        for form, parts in PARTS.items()
        for run in runs.with_gradients("estimates", parts, step_size=step_size)
    ]


def control() -> list[Check]:
    """Each order taken for the other; a γ that is not the one declared."""
    found = []
    for form in ("quantising first", "mixing first"):
        run = next(runs.with_gradients("estimates", PARTS[form]))
        bugs = {
            "the order is off by one": partial(_compare, run, is_first=form == "mixing first"),
            "γ is 0.99": partial(_compare, run, factor=0.99),
        }
        found += [record.planted(run.judge(ID, form, "equality", compare), bug) for bug, compare in bugs.items()]
    return found


def _judge(run: Run, form: str) -> Check:
    return run.judge(ID, form, "equality", partial(_compare, run))


def _compare(run: Run, *, is_first: bool | None = None, factor: float = 1.0) -> Comparison:
    declared = cases.declared(run.algorithm)
    size = factor * declared["consensus_step_size"]
    matrix = (1 - size) * np.eye(run.algorithm.num_workers) + size * declared["topology"].mixing_matrix
    is_first = declared["quantize_first"] if is_first is None else is_first
    rows, updates = runs.flat(run, "local_params"), runs.flat(run, "updates")
    claimed = matrix @ (rows[:, :-1] + updates) if is_first else matrix @ rows[:, :-1] + updates
    return statistics.equal(rows[:, 1:], claimed, scale=run.scale, axes=("run", "t", "i"))
