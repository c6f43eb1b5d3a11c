"""Runs of the variants whose rows are mixed by W_k every H steps, with what their arguments say of W and H."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from elastic_jax.base import Algorithm, Oracle
from proofs_check import cases, hypotheses, mixed, settings, trajectory, two_samples
from proofs_check.cases import Case
from proofs_check.cooperative_rates import instances, network
from proofs_check.mixed import Mixed
from proofs_check.record import Check, Hypothesis
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory, norms_sq

STEP_SIZE = 0.03125
"""α of the exact runs: 1/(16 L) of the steepest objective."""

MAX_TOSSES = 12
"""Six steps of two workers: a multiple of every period there."""

SAMPLED_STEP_SIZE = 0.02
NUM_STEPS = 24
NUM_SEEDS = 200


class Run(NamedTuple):
    """A case, and the mixing that its variant declares, which a planted bug leaves as it is."""

    case: Case
    mixed: Mixed
    has_own_schedules: bool = False
    """Each of the runs has a schedule of its own, so that means are over what is drawn, too."""

    @property
    def num_workers(self) -> int:
        """How many of the rows take gradients."""
        return self.case.algorithm.num_workers

    @property
    def effective_step_size(self) -> float:
        """η = α n/(n + v), by which x moves along the mean gradient."""
        return self.case.step_size * self.num_workers / self.mixed.mixing.num_rows

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean over the workers: [S, T, n, ...] -> [S, T, ...]."""
        del self
        return np.asarray(values.mean(axis=2))

    def judge(
        self,
        id: str,
        name: str,
        kind: str,
        hypotheses: Sequence[Hypothesis],
        compare: Callable[[Run], Comparison],
    ) -> Check:
        """The record of one statement in this run; see `record.judge`."""
        return self.case.judge(id, name, kind, hypotheses, lambda _: compare(self))

    def consensus(self) -> np.ndarray:
        """float64[S, T]. (1/n) ‖(I - J) X_t‖² over all rows."""
        apart = mixed.apart(mixed.rows(self.case.trajectory))
        return np.asarray(norms_sq(apart).sum(axis=2) / self.num_workers)

    def assumed(self) -> list[Hypothesis]:
        """What is assumed of a run, whether workers differ or not."""
        run, num_rows = self.case.trajectory, self.mixed.mixing.num_rows
        equal = self.case.is_parallel and bool(np.allclose(run.weights, 1 / num_rows, rtol=1e-6))
        return [
            hypotheses.is_declared("updates enter with 1/(n + v)", equal, f"{num_rows} rows"),
            hypotheses.is_model(run, self.case.step_size),
            hypotheses.is_oblivious(run),
        ]

    def is_identical(self) -> list[Hypothesis]:
        """Workers draw the same samples without bias, and how smooth f is and how noisy they are is known."""
        constants = self.case.constants
        return [
            hypotheses.is_unbiased(self.case.trajectory),
            hypotheses.is_homogeneous(constants),
            hypotheses.is_known(constants, "smoothness", "grad_variance"),
        ]

    def with_constants(self, **others: float) -> Run:
        """The same run with other constants of the problem believed."""
        return self._replace(case=self.case._replace(constants=self.case.constants._replace(**others)))

    def comes_together(self) -> Hypothesis:
        """What is mixed after the step brings rows together: one W, or W that is drawn in the mean over draws."""
        found, p = network.zeta(self.mixed), self.mixed.mixing.contraction
        if found is None:
            holds = p > 0 and self.has_own_schedules and not self.mixed.combines_first
            return hypotheses.is_declared("W drawn after the step, in each run by itself, p > 0", holds, f"p = {p}")
        holds = found < 1 - 1e-9 and not self.mixed.combines_first
        return hypotheses.is_declared("one W after the step, ζ < 1", holds, f"ζ = {found}")

    def is_whole(self) -> Hypothesis:
        """T is a multiple of H."""
        T, H = self.case.trajectory.num_steps, self.mixed.period
        return hypotheses.is_declared("T is a multiple of H", T % H == 0, f"T = {T}, H = {H}")


def exact(
    names: tuple[str, ...],
    *,
    step_size: float = STEP_SIZE,
    is_tilted: bool = False,
    is_meant: Callable[[Mixed], bool] = network.is_everything,
) -> Iterator[Run]:
    """Two workers on `instances.objectives`, over all paths.

    Args:
        names: of the objectives.
        step_size: α.
        is_tilted: workers differ by `instances.TILT`.
        is_meant: chooses by the mixing declared.
    """
    meant = (each.name for each in _exact_settings() if is_meant(_declared_exactly(each.name)))
    for name in cases.few(meant, number=1):
        yield from _exact_at(name, names, step_size, is_tilted)


def one(
    objective: str,
    is_meant: Callable[[Mixed], bool],
    *,
    step_size: float = STEP_SIZE,
    is_tilted: bool = False,
) -> Run:
    """The first of the exact runs whose mixing is what is meant: what a control plants its bug in."""
    name = next(each.name for each in _exact_settings() if is_meant(_declared_exactly(each.name)))
    return next(_exact_at(name, (objective,), step_size, is_tilted))


def sampled(
    name: str,
    *,
    parts: Mapping[str, Mapping[str, Any]] = instances.SAMPLED,
    step_size: float = SAMPLED_STEP_SIZE,
    num_seeds: int = NUM_SEEDS,
    num_steps: int = NUM_STEPS,
    has_own_schedules: bool = False,
) -> Iterator[Run]:
    """Eight workers on a problem of `instances.PROBLEMS`, over seeds.

    Args:
        name: of the problem.
        parts: settings; each is tried with every variant that takes it.
        step_size: α.
        num_seeds: S.
        num_steps: T.
        has_own_schedules: each run draws its mixings by itself.
    """
    meant = [each for each in settings.every(parts) if each.arguments and _is_mixed(each, instances.NUM_WORKERS)]
    for setting in cases.few(meant, number=1):
        key = (setting.name, name, step_size, num_seeds, num_steps, has_own_schedules)
        if key not in _SAMPLED_RUNS:
            _SAMPLED_RUNS[key] = _sample(setting, name, step_size, num_seeds, num_steps, has_own_schedules)
        yield _SAMPLED_RUNS[key]


def build(arguments: Mapping[str, Any], oracle: Oracle, *, num_workers: int, step_size: float) -> Algorithm:
    """The first variant that takes all of the arguments and mixes its rows."""
    for setting in settings.every({"": arguments}):
        if setting.arguments:
            algorithm = _build(setting, oracle, num_workers, step_size)
            if mixed.of(algorithm) is not None:
                return algorithm
    raise LookupError(f"no registered variant takes {sorted(arguments)} and mixes its rows")


_SAMPLED_RUNS: dict[tuple[Any, ...], Run] = {}


def _sample(
    setting: settings.Setting, name: str, step_size: float, num_seeds: int, num_steps: int, has_own_schedules: bool
) -> Run:
    problem = instances.problem(name)
    algorithm = _build(setting, problem.oracle, instances.NUM_WORKERS, step_size)
    found = trajectory.sampled(
        algorithm, problem, num_steps=num_steps, num_seeds=num_seeds, has_own_schedules=has_own_schedules
    )
    text = f"{setting.name} on {name}, {num_seeds} seeds{' and schedules' if has_own_schedules else ''}"
    return Run(Case(text, algorithm, found, problem.constants, step_size), mixed.known(algorithm), has_own_schedules)


@functools.cache
def _exact_settings() -> tuple[settings.Setting, ...]:
    found = settings.every(instances.EXACT)
    return tuple(each for each in found if each.arguments and _is_mixed(each, 2))


def _is_mixed(setting: settings.Setting, num_workers: int) -> bool:
    return mixed.of(_build(setting, two_samples.oracle, num_workers, STEP_SIZE)) is not None


@functools.cache
def _declared_exactly(name: str) -> Mixed:
    return mixed.known(_build(_exact_setting(name), two_samples.oracle, 2, STEP_SIZE))


def _exact_setting(name: str) -> settings.Setting:
    return next(each for each in _exact_settings() if each.name == name)


def _build(setting: settings.Setting, oracle: Oracle, num_workers: int, step_size: float) -> Algorithm:
    with jax.enable_x64(True):
        return setting.build(oracle, num_workers=num_workers, step_size=step_size, **setting.arguments)


def _exact_at(name: str, names: tuple[str, ...], step_size: float, is_tilted: bool) -> Iterator[Run]:
    algorithm, runs = _exact_runs(name, step_size, is_tilted)
    which = ", different workers" if is_tilted else ""
    for objective in names:
        run, constants = runs[objective], instances.objectives()[objective].constants
        if is_tilted:
            tilt_sq = float(np.dot(instances.TILT, instances.TILT))
            constants = constants._replace(heterogeneity=tilt_sq, grad_second_moment=None)
        text = f"{name} on {objective}{which}, all {run.num_runs} paths"
        yield Run(Case(text, algorithm, run, constants, step_size), mixed.known(algorithm))


@functools.cache
def _exact_runs(name: str, step_size: float, is_tilted: bool) -> tuple[Algorithm, dict[str, Trajectory]]:
    oracle = instances.tilted_oracle if is_tilted else two_samples.oracle
    algorithm = _build(_exact_setting(name), oracle, 2, step_size)
    return algorithm, trajectory.every_path(algorithm, instances.objectives(), max_tosses=MAX_TOSSES)
