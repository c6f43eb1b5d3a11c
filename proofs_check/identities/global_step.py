"""EC:I1. The global parameters are the starting point minus everything generated.

Setting
    Any variant whose updates are -α G (plain SGD, nothing lost for ever); weights w_s^i = 1/n in parallel
    steps, whatever the number |I_s| that arrive, and 1 in single steps.

Statement (EC:I1, equality)
    x_t = x_0 - α Σ_{s<t} Σ_{i in I_s} w_s^i G_s^i                                  for all t, in every run.

Why
    It is the definition of the auxiliary sequence x_t. What is checked is that `global_params`, which a
    variant computes from its state, is that sequence.

Source
    Nadiradze, Markov, Chatterjee, Kungurtsev, Alistarh, Elastic Consistency, AAAI 2021, arXiv 2001.05918, the
    update models of section 2.
"""

from __future__ import annotations

from proofs_check import cases, hypotheses, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:I1"


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
    """Averaging over the gradients that arrived, where the divisor must stay n."""
    found = cases.dropping(("rational",), divisor="present")
    return [record.planted(_judge(case), "divisor |I_t|") for case in found]


def _judge(case: Case) -> Check:
    assumed = [hypotheses.is_plain(case.trajectory, case.step_size)]
    return case.judge(ID, "at every step", "equality", assumed, _compare)


def _compare(case: Case) -> Comparison:
    run = case.trajectory
    return statistics.equal(run.params, run.generated(case.step_size), scale=run.scale, axes=("run", "t"))
