"""EC:P8. At most K messages are missing from a view, and nothing is older than the delay that is declared.

Setting
    Variants whose views lack single messages, or are late, as they declare it: K by `missing_messages.most`, τ by the
    delay model. Where a clock leaves the staleness without a limit there is nothing to claim.

Statement (EC:P8)
    number (tight):   |Miss_t^i| <= K                                               for all t and i, in every run,
    age (tight):      staleness_t^i <= τ.

Why
    By the rules of the schedule: a message is at most τ steps late, of n - 1 senders; at most f workers die; at most f
    messages are lost. A delay of 0 is none.

Source
    Nadiradze et al., Elastic Consistency, AAAI 2021, arXiv 2001.05918, the assumptions behind Table 1.
"""

from __future__ import annotations

from functools import partial

from elastic_jax.base import Algorithm
from proofs_check import cases, hypotheses, missing_messages, planted, record, statistics
from proofs_check.cases import Case
from proofs_check.record import Check
from proofs_check.statistics import Comparison

ID = "EC:P8"


def check(*, step_size: float = cases.STEP_SIZE, max_tosses: int = cases.MAX_TOSSES) -> list[Check]:
    """Every setting that declares a limit.

    Args:
        step_size: α > 0.
        max_tosses: coins of one run.
    """
    found = cases.exact(("linear",), step_size=step_size, max_tosses=max_tosses, is_meant=_is_limited)
    return [one for case in found for one in _judge(case)]


def control() -> list[Check]:
    """A delay of τ + 1 where τ is declared; K understated by one."""
    found = cases.exact(("linear",), is_meant=missing_messages.can_be_late)
    case = next(case for case in found if _delay(case.algorithm) == 2 and missing_messages.of(case).any())
    later = cases.rerun(case, planted.later_delays(case.algorithm), "linear")
    return [
        record.planted(_judge(later)[-1], "a delay of τ + 1"),
        record.planted(_judge(case, error=-1)[0], "K understated by one"),
    ]


def _is_limited(algorithm: Algorithm) -> bool:
    return missing_messages.are_known(algorithm) or _delay(algorithm) is not None


def _delay(algorithm: Algorithm) -> int | None:
    """τ of the delay model or of the read model; 1 behind a barrier; None if none is declared."""
    bound = cases.declared(algorithm)
    if "barrier" in bound:
        return 1
    model = bound.get("delays") or bound.get("reads")
    return None if model is None else int(model.max_delay)


def _judge(case: Case, error: int = 0) -> list[Check]:
    checks, delay = [], _delay(case.algorithm)
    if missing_messages.are_known(case.algorithm):
        most = missing_messages.most(case.algorithm)
        limited = hypotheses.is_declared("a limit K of what is missing", most is not None, f"K = {most}")
        claimed = 0.0 if most is None else float(most + error)
        checks.append(case.judge(ID, "number", "tight", [limited], partial(_count, claimed=claimed)))
    if delay is not None:
        checks.append(case.judge(ID, "age", "tight", [], partial(_age, claimed=float(delay))))
    return checks


def _count(case: Case, claimed: float) -> Comparison:
    counts = missing_messages.of(case).sum(axis=(3, 4))
    return statistics.at_most(counts[None], claimed, is_exact=True, axes=("run", "t", "i"))


def _age(case: Case, claimed: float) -> Comparison:
    return statistics.at_most(case.trajectory.staleness[None], claimed, is_exact=True, axes=("run", "t", "i"))
