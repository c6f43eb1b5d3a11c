"""Where statements are tried: every registered variant, on its defaults and with parts that the theory has.

No variant is asked for its name. What it was built with is read from the arguments bound in the `Algorithm`, and how
many gradients a step uses from `Info`. Runs are kept, so that all statements share them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from elastic_jax import problems
from elastic_jax.base import Algorithm, Constants, Problem
from proofs_check import lacks, planted, settings, two_samples
from proofs_check import trajectory as trajectories
from proofs_check.record import Check, Hypothesis, judge
from proofs_check.statistics import Comparison
from proofs_check.trajectory import Trajectory, norms_sq

STEP_SIZE = 0.0625
"""α of all checks: 1 / (8 L) of the steepest objective here, L = 2; only the caps in c can be below."""

MAX_TOSSES = 10
"""Coins of an exact run: 2^10 paths."""

NUM_SEEDS = 256
NUM_STEPS = 40

NUM_WORKERS_EXACT = 2
NUM_WORKERS_SAMPLED = 4

SAMPLED_PROBLEMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "quadratic": ("quadratic", {"dim": 6}),
    # so well conditioned that the horizon that a strongly convex theorem asks for is short
    "round quadratic": ("quadratic", {"dim": 6, "low_curvature": 0.75}),
    "nonconvex_logistic": ("nonconvex_logistic", {"dim": 4, "num_examples": 32}),
}
"""Problems of the library that are sampled, {label: (name, arguments of `build`)}."""

_is_quick: ContextVar[bool] = ContextVar("is_quick", default=False)


@contextmanager
def sizes(*, is_quick: bool) -> Iterator[None]:
    """How much is tried within.

    Args:
        is_quick: each statement has a few of the settings that it is meant for: two over all paths, one over seeds, and
            one of the hardest instances.
    """
    token = _is_quick.set(is_quick)
    try:
        yield
    finally:
        _is_quick.reset(token)


def few(meant: Iterable[Any], *, number: int) -> Iterator[Any]:
    """All that is meant, or `number` of them, evenly from the middle, where fewer are tried, see `sizes`.

    The first ones are plain variants, on which many bounds are zero.
    """
    if not _is_quick.get():
        return iter(meant)
    everything = list(meant)
    number = min(number, len(everything))
    places = np.linspace(0, len(everything) - 1, number + 2)[1:-1].round().astype(int)
    return (everything[place] for place in places)


class Case(NamedTuple):
    """A run of a setting, with what is known of its problem."""

    setting: str
    """What it is, for the record."""
    algorithm: Algorithm
    trajectory: Trajectory
    constants: Constants
    step_size: float

    def judge(
        self,
        id: str,
        name: str,
        kind: str,
        hypotheses: Sequence[Hypothesis],
        compare: Callable[[Case], Comparison],
    ) -> Check:
        """The record of one statement in this case; see `record.judge`."""
        run = self.trajectory
        return judge(
            id,
            name,
            kind,
            self.setting,
            hypotheses,
            functools.partial(compare, self),
            seeds=run.num_runs,
            is_exact=run.is_exact,
            steps=run.num_steps,
        )

    @property
    def optimum_offsets(self) -> np.ndarray:
        """float64[S, T + 1, d]. x_t - x*."""
        leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(self.constants.optimum)]
        return self.trajectory.params - np.concatenate(leaves)

    @property
    def optimum_distances_sq(self) -> np.ndarray:
        """float64[S, T + 1]. ‖x_t - x*‖²."""
        return norms_sq(self.optimum_offsets)

    def noise_along(self, directions: np.ndarray) -> np.ndarray:
        """⟨directions, Σ_i w_i (G_t^i - ∇f(v_t^i))⟩ for directions [S, T, d] that are known before step t: [S, T].

        Its expectation is zero for unbiased gradients, which is a hypothesis of its own. Adding it back to what is
        measured leaves expectations as they are and takes away most of their statistical error (a control variate).
        """
        run = self.trajectory
        return np.einsum("std,stk,stkd->st", directions, run.weights, run.noises)

    @property
    def is_single(self) -> bool:
        """One gradient a step."""
        return self.trajectory.num_active == 1

    @property
    def is_parallel(self) -> bool:
        """A gradient of every worker in every step, and more than one of them."""
        return self.trajectory.num_active == self.algorithm.num_workers > 1 and self.trajectory.is_each_once

    def known(self, *names: str) -> tuple[float, ...]:
        """Constants of the problem that a hypothesis has found to be known."""
        return _known(self.constants, *names)

    @property
    def known_constant_sq(self) -> float:
        """`consistency_constant_sq`, which a hypothesis has found to be promised."""
        promised = self.consistency_constant_sq
        if promised is None:
            raise ValueError("consistency_bound is None; it must be promised before it is claimed with")
        return promised

    @property
    def consistency_constant_sq(self) -> float | None:
        """B² = consistency_bound / α² as promised, gradient units squared; None if it is not."""
        constants = trajectories.with_exact_moment(self.constants, self.trajectory)
        params = two_samples.layers(self.trajectory.params[0, 0], self.trajectory.num_layers)
        bound = self.algorithm.consistency_bound(constants, params)
        return None if bound is None else float(bound) / self.step_size**2

    def has_bound(self) -> Hypothesis:
        """The variant promises a bound, and not one that is an average over other schedules too."""
        name = "bound declared for this schedule"
        if self.consistency_constant_sq is None:
            return Hypothesis(name, False, "consistency_bound is None")
        averages = averages_over(self.algorithm, int(self.trajectory.staleness.max()))
        return Hypothesis(name, not averages, f"an average over the random schedules of {averages}")


def declared(algorithm: Algorithm) -> dict[str, Any]:
    """The arguments that are bound in an algorithm, whatever they are for."""
    bound: dict[str, Any] = {}
    for function in (algorithm.init, algorithm.global_params, algorithm.consistency_bound, algorithm.step):
        bound |= getattr(function, "keywords", {})
    return bound


def averages_over(algorithm: Algorithm, staleness: int) -> list[str]:
    """The parts over whose random schedules the bound of an algorithm is an average.

    Args:
        algorithm: any.
        staleness: the largest of the schedule at hand, steps.
    """
    return [
        name
        for name, part in declared(algorithm).items()
        if hasattr(part, "covers") and not part.covers(algorithm.num_workers, staleness)
    ]


def exact(
    names: tuple[str, ...],
    *,
    step_size: float = STEP_SIZE,
    max_tosses: int = MAX_TOSSES,
    num_workers: int = NUM_WORKERS_EXACT,
    is_meant: Callable[[Algorithm], bool] = lambda _: True,
) -> Iterator[Case]:
    """Every setting on the objectives `names` of `two_samples`, over all paths.

    Args:
        names: of the objectives.
        step_size: α.
        max_tosses: coins of a run, see `trajectory.every_path`.
        num_workers: n.
        is_meant: chooses by what an algorithm declares.
    """
    # what is declared does not depend on α
    meant = (each for each in settings.every() if is_meant(_built(each.name, STEP_SIZE, num_workers)))
    for setting in few(meant, number=2):
        algorithm = _built(setting.name, step_size, num_workers)
        runs = _exact_runs(setting.name, step_size, max_tosses, num_workers)
        yield from of_runs(setting.name, algorithm, {name: runs[name] for name in names}, step_size)


def of_runs(setting: str, algorithm: Algorithm, runs: Mapping[str, Trajectory], step_size: float) -> Iterator[Case]:
    """The cases of one setting over all paths."""
    objectives = two_samples.objectives()
    for name, run in runs.items():
        text = f"{setting} on {name}, all {run.num_runs} paths"
        yield Case(text, algorithm, run, objectives[name].constants, step_size)


def sampled(
    names: tuple[str, ...],
    *,
    step_size: float = STEP_SIZE,
    num_seeds: int = NUM_SEEDS,
    num_steps: int = NUM_STEPS,
    is_default: bool = True,
    is_meant: Callable[[Algorithm], bool] = lambda _: True,
) -> Iterator[Case]:
    """Settings on problems of the library, all workers identical, over seeds.

    Args:
        names: labels of `SAMPLED_PROBLEMS`.
        step_size: α.
        num_seeds: S.
        num_steps: T.
        is_default: the variants on their defaults alone; else the settings with parts alone.
        is_meant: chooses by what an algorithm declares; it is shown the one built for `two_samples`.
    """
    meant = (
        setting
        for setting in settings.every()
        if bool(setting.arguments) != is_default and is_meant(_built(setting.name, STEP_SIZE))
    )
    for setting in few(meant, number=1):
        for name in names:
            problem, algorithm = _problem(name), _built_for(setting.name, name, step_size)
            run = _sampled_run(setting.name, name, step_size, num_seeds, num_steps)
            text = f"{setting.name} on {name}, {num_seeds} seeds"
            yield Case(text, algorithm, run, problem.constants, step_size)


def sampled_constants(name: str, *constants: str) -> tuple[float, ...]:
    """Constants of a problem of `SAMPLED_PROBLEMS`, from which a theorem prescribes its step size."""
    return _known(_problem(name).constants, *constants)


def sampled_problem(name: str) -> Problem:
    """A problem of `SAMPLED_PROBLEMS`, all workers identical."""
    return _problem(name)


def goes_on_by_layers(algorithm: Algorithm) -> bool:
    """Its barriers wait for layers: the parameters must have some."""
    return any(getattr(part, "over", None) == "layers" for part in declared(algorithm).values())


def takes_one(algorithm: Algorithm) -> bool:
    """One gradient a step and nothing beside it, read off the shapes: chooses before anything is run."""
    return trajectories.num_active(algorithm) == 1 and lacks.CORRECTED not in lacks.of(algorithm)


def takes_all(algorithm: Algorithm) -> bool:
    """As many gradients a step as workers, read off the shapes."""
    return trajectories.num_active(algorithm) == algorithm.num_workers


def dropping(
    names: tuple[str, ...],
    *,
    step_size: float = STEP_SIZE,
    max_tosses: int = MAX_TOSSES,
    divisor: str = "workers",
    is_adaptive: bool = False,
) -> Iterator[Case]:
    """`planted.dropping_sgd` over all paths: half of the gradients never arrive in every other step.

    Args:
        names: of the objectives.
        step_size: α.
        max_tosses: coins of a run.
        divisor: "workers", or "present" as a bug.
        is_adaptive: the schedule looks at the samples, as a bug.
    """
    algorithm, runs = _dropping_runs(step_size, max_tosses, divisor, is_adaptive)
    yield from of_runs("half lost in odd steps", algorithm, {name: runs[name] for name in names}, step_size)


def replicated(build: Callable[..., Problem], *, num_workers: int) -> Problem:
    """A problem whose workers all have the data of a single one: ζ = 0, and f and its constants are unchanged.

    Args:
        build: `build(num_workers=...) -> Problem`.
        num_workers: n >= 1.
    """
    alone = build(num_workers=1)
    return build(num_workers=num_workers)._replace(
        data=jax.tree.map(lambda leaf: jnp.repeat(leaf, num_workers, axis=0), alone.data),
        constants=alone.constants._replace(heterogeneity=0.0),
    )


def planted_run(
    plant: Callable[[Algorithm], Algorithm],
    setting: str,
    objective: str,
    *,
    bug: str,
    step_size: float = STEP_SIZE,
) -> Case:
    """A case whose algorithm has a bug planted.

    Args:
        plant: the algorithm with its bug.
        setting: which of `settings`.
        objective: of `two_samples`.
        bug: in words.
        step_size: α.
    """
    algorithm = plant(_built(setting, step_size))
    chosen = {objective: two_samples.objectives()[objective]}
    runs = trajectories.every_path(algorithm, chosen, max_tosses=MAX_TOSSES)
    return next(of_runs(f"{setting} with {bug}", algorithm, runs, step_size))


def rerun(case: Case, algorithm: Algorithm, objective: str, *, max_tosses: int = MAX_TOSSES) -> Case:
    """The exact case with another algorithm in its place, one with a bug.

    Args:
        case: what is repeated.
        algorithm: what is run instead.
        objective: of `two_samples`.
        max_tosses: coins of a run.
    """
    chosen = {objective: two_samples.objectives()[objective]}
    runs = trajectories.every_path(algorithm, chosen, max_tosses=max_tosses, num_layers=case.trajectory.num_layers)
    return next(of_runs(case.setting, algorithm, runs, case.step_size))


def first_setting(is_meant: Callable[[Algorithm], bool], *, step_size: float = STEP_SIZE) -> str:
    """The first setting whose algorithm declares what is meant: the one that a control plants its bug in."""
    for setting in settings.every():
        if is_meant(_built(setting.name, step_size)):
            return setting.name
    raise LookupError("no registered variant declares what the control needs")


def _known(constants: Constants, *names: str) -> tuple[float, ...]:
    values = tuple(getattr(constants, name) for name in names)
    if None in values:
        raise ValueError(f"constants {names} = {values}; all must be known before they are claimed with")
    return values


@functools.cache
def _built(name: str, step_size: float, num_workers: int = NUM_WORKERS_EXACT) -> Algorithm:
    setting = _setting(name)
    with jax.enable_x64(True):
        return setting.build(two_samples.oracle, num_workers=num_workers, step_size=step_size, **setting.arguments)


@functools.cache
def _built_for(name: str, problem_name: str, step_size: float) -> Algorithm:
    setting, problem = _setting(name), _problem(problem_name)
    with jax.enable_x64(True):
        return setting.build(problem.oracle, num_workers=problem.num_workers, step_size=step_size, **setting.arguments)


@functools.cache
def _exact_runs(name: str, step_size: float, max_tosses: int, num_workers: int) -> dict[str, Trajectory]:
    algorithm = _built(name, step_size, num_workers)
    num_layers = 2 if goes_on_by_layers(algorithm) else 1
    return trajectories.every_path(algorithm, two_samples.objectives(), max_tosses=max_tosses, num_layers=num_layers)


@functools.cache
def _dropping_runs(
    step_size: float, max_tosses: int, divisor: str, is_adaptive: bool
) -> tuple[Algorithm, dict[str, Trajectory]]:
    algorithm = planted.dropping_sgd(
        two_samples.oracle,
        num_workers=NUM_WORKERS_EXACT,
        step_size=step_size,
        divisor=divisor,
        is_adaptive=is_adaptive,
    )
    return algorithm, trajectories.every_path(algorithm, two_samples.objectives(), max_tosses=max_tosses)


@functools.cache
def _sampled_run(name: str, problem_name: str, step_size: float, num_seeds: int, num_steps: int) -> Trajectory:
    problem = _problem(problem_name)
    algorithm = _built_for(name, problem_name, step_size)
    return trajectories.sampled(algorithm, problem, num_steps=num_steps, num_seeds=num_seeds)


@functools.cache
def _problem(name: str) -> Problem:
    with jax.enable_x64(True):
        registered, given = SAMPLED_PROBLEMS[name]
        build = functools.partial(problems.problem(registered).build, **given)
        return replicated(build, num_workers=NUM_WORKERS_SAMPLED)


def _setting(name: str) -> settings.Setting:
    return next(setting for setting in settings.every() if setting.name == name)
