"""The relaxations whose elastic constant is a law in one parameter, each as a sweep of that parameter.

B is in gradient units, M² >= E‖g‖², σ² the variance of g, n workers, d dimensions, γ the fraction that compression
loses, b(γ) = √γ / (1 - √γ). The laws are those that the variants declare; where the paper (arXiv 2001.05918, Table 1)
has a larger constant, that one is given beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from elastic_jax import barriers, clocks, compressors, crashes, delays, drops, reads
from elastic_jax.algorithms import (
    asynchronous_sgd,
    crash_sgd,
    elastic_scheduling_sgd,
    lossy_sgd,
    parameter_server_sgd,
    shared_memory_sgd,
    synchronous_sgd,
)
from elastic_jax.base import Algorithm, Oracle

LATE = 2
"""τ of the sweeps of something else."""
KEPT = 0.1
"""1 - γ of the sweeps of something else, by top-k."""


@dataclass(frozen=True)
class Sweep:
    """One relaxation under growing strength."""

    name: str
    title: str
    law: str
    """The declared B, in words of the theory."""
    symbol: str
    """Of the parameter."""
    values: tuple[float, ...]
    build: Callable[[Oracle, float, int, float], Algorithm]
    """`build(oracle, value, num_workers, step_size)`."""
    paper: Callable[[float, int, int], float] | None = None
    """`paper(value, n, d)`: the paper's constant over M, where it is another one."""
    is_over_workers: bool = False
    """True if the parameter is n."""
    is_linear: bool = False
    """True if equal gradients attain the law, and independent ones its square root."""
    looks: bool = False
    """True if the schedule looks at norms, so that problems cannot stand side by side."""

    def num_workers(self, value: float, default: int) -> int:
        """How many workers there are at this value."""
        return int(value) if self.is_over_workers else default


def sweeps() -> tuple[Sweep, ...]:
    """All of them, in the order of the table."""
    return (
        Sweep("messages", "messages late", "(n − 1) τ M / n", "τ", (1, 2, 4, 8, 16), _messages, is_linear=True),
        Sweep("stand_ins", "messages late, stand-ins", "1.5 (n − 1) τ σ / n", "τ", (1, 2, 4, 8, 16), _stand_ins),
        Sweep(
            "server",
            "server, one gradient a step",
            "(n − 1) M",
            "n",
            (2, 4, 8, 16, 32),
            _server,
            is_over_workers=True,
            is_linear=True,
        ),
        Sweep("shared_memory", "shared memory", "τ M", "τ", (1, 2, 4, 8, 16), _shared_memory, paper=_shared_memory_law),
        Sweep("crashes", "crashes", "f M / n", "f", (1, 2, 3, 4, 6), _crashes, is_linear=True),
        Sweep("budget", "at most f missing", "f M / n", "f", (1, 2, 4, 8, 16), _budget),
        Sweep(
            "drops", "drops, sent again", "M √((n−1)q + (n−1)²q²) / (n(1−q))", "q", (0.05, 0.1, 0.2, 0.4, 0.8), _drops
        ),
        Sweep("late_and_lost", "messages late and lost", "((n − 1) τ + f) M / n", "f", (1, 4, 16, 64), _late_and_lost),
        Sweep(
            "memory",
            "error feedback",
            "b(γ) M",
            "1 − γ",
            (0.5, 0.2, 0.1, 0.04, 0.02),
            _memory,
            paper=_memory_law,
        ),
        Sweep("memory_late", "error feedback, late", "((n − 1) τ / n + b(γ)) M", "τ", (1, 4, 16, 64), _memory_late),
        Sweep(
            "memory_shared",
            "error feedback, shared memory",
            "(n b(γ) + τ (1 + b(γ))) M",
            "n",
            (1, 2, 4, 8, 16),
            _memory_shared,
            is_over_workers=True,
        ),
        Sweep(
            "norm_bounded",
            "scheduler, norm-bounded",
            "β M",
            "β",
            (0.13, 0.26, 0.38, 0.51, 0.63, 0.76),
            _norm_bounded,
            looks=True,
        ),
        Sweep(
            "variance_bounded",
            "scheduler, variance-bounded",
            "1.5 (n − 1) σ / n",
            "late fraction",
            (0.125, 0.25, 0.5, 0.75),
            _variance_bounded,
        ),
    )


def _messages(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return asynchronous_sgd.build(
        oracle, num_workers=num_workers, step_size=step_size, delays=delays.constant(int(value))
    )


def _stand_ins(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    late = delays.constant(int(value))
    return asynchronous_sgd.build(oracle, num_workers=num_workers, step_size=step_size, delays=late, substitute=True)


def _server(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    del value
    return parameter_server_sgd.build(oracle, num_workers=num_workers, step_size=step_size, clock=clocks.constant())


def _shared_memory(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return shared_memory_sgd.build(oracle, num_workers=num_workers, step_size=step_size, reads=reads.ages(int(value)))


def _crashes(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return crash_sgd.build(oracle, num_workers=num_workers, step_size=step_size, crashes=crashes.worst(int(value)))


def _budget(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return lossy_sgd.build(
        oracle, num_workers=num_workers, step_size=step_size, drops=drops.random(0.5), max_missing=int(value)
    )


def _drops(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return lossy_sgd.build(oracle, num_workers=num_workers, step_size=step_size, drops=drops.random(value))


def _late_and_lost(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return asynchronous_sgd.build(
        oracle,
        num_workers=num_workers,
        step_size=step_size,
        delays=delays.constant(LATE),
        drops=drops.random(0.5),
        max_lost=int(value),
    )


def _memory(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return synchronous_sgd.build(
        oracle,
        num_workers=num_workers,
        step_size=step_size,
        compressor=compressors.top_k(value),
        error_feedback=True,
    )


def _memory_late(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return asynchronous_sgd.build(
        oracle,
        num_workers=num_workers,
        step_size=step_size,
        delays=delays.constant(int(value)),
        compressor=compressors.top_k(KEPT),
        error_feedback=True,
    )


def _memory_shared(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    del value
    return shared_memory_sgd.build(
        oracle,
        num_workers=num_workers,
        step_size=step_size,
        reads=reads.ages(LATE),
        compressor=compressors.top_k(KEPT),
        error_feedback=True,
    )


def _norm_bounded(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    return elastic_scheduling_sgd.build(
        oracle, num_workers=num_workers, step_size=step_size, barrier=barriers.missing_norm(value)
    )


def _variance_bounded(oracle: Oracle, value: float, num_workers: int, step_size: float) -> Algorithm:
    barrier = barriers.number(1 - value)
    return elastic_scheduling_sgd.build(
        oracle, num_workers=num_workers, step_size=step_size, barrier=barrier, substitute=True
    )


def _shared_memory_law(value: float, num_workers: int, dim: int) -> float:
    """√d τ."""
    del num_workers
    return float(dim**0.5 * value)


def _memory_law(value: float, num_workers: int, dim: int) -> float:
    """√((2 - γ) γ / (1 - γ)³)."""
    del num_workers, dim
    return float(((1 + value) * (1 - value) / value**3) ** 0.5)
