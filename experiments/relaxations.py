"""The relaxations of the paper's table (arXiv 2001.05918, Table 1), one of each, and two that have no bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from elastic_jax import barriers, compressors, crashes, delays, drops, reads
from elastic_jax.algorithms import (
    asynchronous_sgd,
    crash_sgd,
    elastic_scheduling_sgd,
    lossy_sgd,
    shared_memory_sgd,
    synchronous_sgd,
)
from elastic_jax.base import Algorithm, Constants, Oracle
from experiments import full_gradients


@dataclass(frozen=True)
class Relaxation:
    """One variant with its part."""

    name: str
    title: str
    module: ModuleType
    arguments: Callable[[], dict[str, Any]]
    """What `module.build` is given beside the oracle, the workers and the step size."""
    grows: bool = False
    """True if no constant B exists."""
    is_single_step: bool = False
    """True if a step applies one gradient and has no 1/n: its α is 1/n of the others'."""
    loses: bool = False
    """True if it is measured against the sequence of full gradients, for what it loses for ever."""
    needs_variance: bool = False
    """True if the paper's bound is one by σ, for step sizes small enough against L, which is unknown here."""

    def build(self, oracle: Oracle, *, num_workers: int, step_size: float) -> Algorithm:
        """The algorithm, `step_size` being that of a step of all workers."""
        size = self.step_size(step_size, num_workers)
        algorithm: Algorithm = self.module.build(oracle, num_workers=num_workers, step_size=size, **self.arguments())
        return full_gradients.tracked(algorithm, step_size=size) if self.loses else algorithm

    def step_size(self, step_size: float, num_workers: int) -> float:
        """α of one step."""
        return step_size / num_workers if self.is_single_step else step_size

    def bound_by_variance(self, constants: Constants, algorithm: Algorithm) -> float | None:
        """The paper's bound by σ², granted its condition on α: as the variant declares it where L is next to 0."""
        if not self.needs_variance:
            return None
        granted = Constants(smoothness=1e-9, grad_variance=constants.grad_variance, heterogeneity=0.0)
        return algorithm.consistency_bound(granted, {})


def relaxations() -> tuple[Relaxation, ...]:
    """All of them, in the order of the figure."""
    return (
        Relaxation("shared_memory", "shared memory, τ = 8", shared_memory_sgd, _shared_memory, is_single_step=True),
        Relaxation("late", "messages late, τ = 4", asynchronous_sgd, _late),
        Relaxation("late_stand_ins", "messages late, stand-ins", asynchronous_sgd, _stand_ins, needs_variance=True),
        Relaxation("crashes", "crashes, f = 2", crash_sgd, _crashes),
        Relaxation("drops", "drops sent again, q = 0.2", lossy_sgd, _drops),
        Relaxation("top_k", "top 5 %, error feedback", synchronous_sgd, _top_k),
        Relaxation("sign", "scaled sign, error feedback", synchronous_sgd, _sign),
        Relaxation("norm_bounded", "scheduler, norm-bounded", elastic_scheduling_sgd, _norm_bounded),
        Relaxation(
            "variance_bounded",
            "scheduler, variance-bounded",
            elastic_scheduling_sgd,
            _variance_bounded,
            needs_variance=True,
        ),
        Relaxation("lost", "drops lost, q = 0.2", lossy_sgd, _lost, grows=True),
        Relaxation("top_k_forgets", "top 5 %, no memory", synchronous_sgd, _top_k_forgets, grows=True, loses=True),
    )


def _shared_memory() -> dict[str, Any]:
    return {"reads": reads.ages(8)}


def _late() -> dict[str, Any]:
    return {"delays": delays.uniform(4)}


def _stand_ins() -> dict[str, Any]:
    return {"delays": delays.uniform(4), "substitute": True}


def _crashes() -> dict[str, Any]:
    return {"crashes": crashes.random(2, rate=0.05)}


def _drops() -> dict[str, Any]:
    return {"drops": drops.random(0.2)}


def _top_k() -> dict[str, Any]:
    return {"compressor": compressors.top_k(0.05), "error_feedback": True}


def _sign() -> dict[str, Any]:
    return {"compressor": compressors.scaled_sign(), "error_feedback": True}


def _norm_bounded() -> dict[str, Any]:
    return {"barrier": barriers.own_norm_squared(0.5)}


def _variance_bounded() -> dict[str, Any]:
    return {"barrier": barriers.own_norm_squared(0.5), "substitute": True}


def _lost() -> dict[str, Any]:
    return {"drops": drops.random(0.2), "piggyback": False}


def _top_k_forgets() -> dict[str, Any]:
    return {"compressor": compressors.top_k(0.05)}
