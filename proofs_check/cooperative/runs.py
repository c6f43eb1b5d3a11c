"""Where the statements on mixed rows are tried: every variant whose arguments say by which matrices, and with parts.

Identities that hold in every run need no expectation: few seeds of four workers, for longer. Where expectations are
exact, two workers take all paths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from elastic_jax import mixings, topologies
from elastic_jax.base import Algorithm
from elastic_jax.mixings import Mixing
from proofs_check import cases, mixed, settings, trajectory, two_samples
from proofs_check.cases import Case
from proofs_check.settings import Setting
from proofs_check.trajectory import Trajectory

PROBLEM = "nonconvex_logistic"
NUM_SEEDS = 8
NUM_STEPS = 13
"""More than three periods of the longest default, and no multiple of any."""


def pairs(num_rows: int) -> Mixing:
    """A random pair of all rows."""
    return mixings.pairs(topologies.complete(num_rows))


def matchings(num_rows: int) -> Mixing:
    """A random perfect matching of all rows, or of all but one."""
    return mixings.matchings(topologies.complete(num_rows))


def with_anchor(num_rows: int) -> Mixing:
    """The last row is the anchor of all others."""
    return mixings.elastic(num_rows - 1)


def identity(num_rows: int) -> Mixing:
    """W = I: nobody meets anybody."""
    return mixings.cycle([[[float(i == j) for j in range(num_rows)] for i in range(num_rows)]])


PARTS: Mapping[str, Mapping[str, Any]] = {
    "pairs": {"mixing": pairs, "period": 1},
    "one peer, in every second step": {"mixing": mixings.one_peer_exponential, "period": 2},
    "matchings, combined first": {"mixing": matchings, "combine_first": True, "period": 1},
    "an anchor": {"mixing": with_anchor, "num_auxiliary": 1, "period": 2},
    "two auxiliary rows": {"mixing": mixings.around_ring, "num_auxiliary": 2, "period": 1},
    "weak springs": {"elasticity": 0.2, "period": 1},
    "a sample of two": {"num_sampled": 2, "period": 2},
}
"""{label: arguments that are added where `build` takes all of them}."""


def every(*, num_workers: int = cases.NUM_WORKERS_SAMPLED) -> list[tuple[Setting, Algorithm]]:
    """All settings whose arguments say how rows are mixed, built for `two_samples` at the step size of all checks."""
    return _meant(_is_mixed, PARTS, num_workers)


def pathwise(
    *,
    step_size: float = cases.STEP_SIZE,
    is_meant: Callable[[Algorithm], bool] | None = None,
    parts: Mapping[str, Mapping[str, Any]] = PARTS,
) -> Iterator[Case]:
    """Four workers, a few seeds: for what holds in every run.

    Args:
        step_size: α.
        is_meant: chooses by what an algorithm declares; default those whose rows are mixed.
        parts: {label: arguments that are added where `build` takes all of them}.
    """
    for setting, _ in cases.few(_meant(is_meant or _is_mixed, parts), number=1):
        yield _case(setting.name, *_run(Given(setting), step_size), step_size)


def exact(
    objective: str, *, step_size: float = cases.STEP_SIZE, is_meant: Callable[[Algorithm], bool] = lambda _: True
) -> Iterator[Case]:
    """Two workers on an objective of `two_samples`, all paths.

    Args:
        objective: of `two_samples`.
        step_size: α.
        is_meant: chooses by what an algorithm declares.
    """
    meant = [setting for setting, algorithm in every(num_workers=2) if is_meant(algorithm)]
    for setting in cases.few(meant, number=1):
        algorithm, run = _exact_run(Given(setting), objective, step_size)
        yield next(cases.of_runs(setting.name, algorithm, {objective: run}, step_size))


def with_bug(
    plant: Callable[[Algorithm], Algorithm],
    *,
    is_meant: Callable[[Algorithm], bool],
    parts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Case:
    """The first case of `pathwise` that is meant, with a bug planted in its algorithm."""
    found = every() if parts is None else _meant(is_meant, parts)
    setting = next(setting for setting, algorithm in found if is_meant(algorithm))
    planted = plant(_for_problem(Given(setting), cases.STEP_SIZE))
    return _case(setting.name, planted, _sampled(planted), cases.STEP_SIZE)


def has_auxiliary(algorithm: Algorithm) -> bool:
    """It has an anchor, or rows without gradients."""
    return mixed.known(algorithm).num_auxiliary > 0


def is_average(algorithm: Algorithm) -> bool:
    """W = J in every mixing, of workers alone."""
    found = mixed.known(algorithm)
    return found.num_auxiliary == 0 and found.mixing.contraction == 1.0 and found.mixing.block == 1


def is_late_average(algorithm: Algorithm) -> bool:
    """The same, but not in every step."""
    return is_average(algorithm) and waits(algorithm)


def waits(algorithm: Algorithm) -> bool:
    """Not every step mixes."""
    return mixed.known(algorithm).period > 1


def has_mixing(algorithm: Algorithm) -> bool:
    """The matrices are an argument."""
    return "mixing" in cases.declared(algorithm)


def is_gossip(algorithm: Algorithm) -> bool:
    """The matrices are an argument, and leave workers different."""
    return has_mixing(algorithm) and not is_average(algorithm)


def has_springs(algorithm: Algorithm) -> bool:
    """Workers are tied to an anchor, by an elasticity of its own."""
    return "elasticity" in cases.declared(algorithm)


def _is_mixed(algorithm: Algorithm) -> bool:
    return mixed.of(algorithm) is not None


def _case(name: str, algorithm: Algorithm, run: Trajectory, step_size: float) -> Case:
    constants = cases.sampled_problem(PROBLEM).constants
    return Case(f"{name} on {PROBLEM}, {run.num_runs} seeds", algorithm, run, constants, step_size)


class Given:
    """A setting by its name, as a key of what is kept."""

    def __init__(self, setting: Setting):
        """The setting that is kept."""
        self.setting = setting

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and other.setting.name == self.setting.name

    def __hash__(self) -> int:
        return hash(self.setting.name)


def _meant(
    is_meant: Callable[[Algorithm], bool],
    parts: Mapping[str, Mapping[str, Any]],
    num_workers: int = cases.NUM_WORKERS_SAMPLED,
) -> list[tuple[Setting, Algorithm]]:
    """Settings that are meant, with what is built of each for `two_samples`."""
    found = [(setting, _built(Given(setting), num_workers)) for setting in settings.every(parts)]
    return [(setting, algorithm) for setting, algorithm in found if is_meant(algorithm)]


@functools.cache
def _built(given: Given, num_workers: int, step_size: float = cases.STEP_SIZE) -> Algorithm:
    setting = given.setting
    with jax.enable_x64(True):
        return setting.build(two_samples.oracle, num_workers=num_workers, step_size=step_size, **setting.arguments)


@functools.cache
def _for_problem(given: Given, step_size: float) -> Algorithm:
    setting, problem = given.setting, cases.sampled_problem(PROBLEM)
    with jax.enable_x64(True):
        return setting.build(problem.oracle, num_workers=problem.num_workers, step_size=step_size, **setting.arguments)


@functools.cache
def _run(given: Given, step_size: float) -> tuple[Algorithm, Trajectory]:
    algorithm = _for_problem(given, step_size)
    return algorithm, _sampled(algorithm)


def _sampled(algorithm: Algorithm) -> Trajectory:
    problem = cases.sampled_problem(PROBLEM)
    return trajectory.sampled(algorithm, problem, num_steps=NUM_STEPS, num_seeds=NUM_SEEDS)


@functools.cache
def _exact_run(given: Given, objective: str, step_size: float) -> tuple[Algorithm, Trajectory]:
    algorithm, chosen = _built(given, 2, step_size), {objective: two_samples.objectives()[objective]}
    return algorithm, trajectory.every_path(algorithm, chosen, max_tosses=cases.MAX_TOSSES)[objective]
