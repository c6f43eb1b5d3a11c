"""The theory's identities and pathwise inequalities, checked in every step of any run, on any model.

    checks = live.checks(algorithm, params)
    measured = {live.NAME: live.metric(checks, 10)}
    result = run.run(algorithm, params, data, ..., metrics=measured, watch=live.Watch(checks))
    found = live.verdicts(checks, result.history[live.NAME][1])

Nothing is stored but, for each check, the worst step so far: each compares two sides within one step, from x_t,
x_{t+1}, both states, what the step says of itself and its key. Which apply is read off the state and off what the
variant declares; what does not is told with the reason. The statements that need many runs, or ∇f on all data at every
view, are those of `elastic-jax prove`.

Cost: a few passes over the state, less than one more gradient. On the CNN with CIFAR-10, 8 workers of 32 images,
`asynchronous_sgd`, the processor time of a step grew from 86 to 105 ms, 1.22 times (medians of 12 interleaved chunks of
one process on two busy cores; wall clock 1.30 times, of the fastest chunks 1.16), that of compilation from 18 to 22 s.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from elastic_jax import metrics
from elastic_jax.base import Algorithm, Params, Problem, PyTree
from elastic_jax.metrics import Metric, Running
from proofs_check.live import carried as carry
from proofs_check.live import verdict as judged
from proofs_check.live.carried import Record as Record
from proofs_check.live.chosen import Check as Check
from proofs_check.live.chosen import chosen
from proofs_check.live.verdict import Verdict as Verdict
from proofs_check.live.verdict import as_json as as_json
from proofs_check.live.verdict import exit_status as exit_status
from proofs_check.live.verdict import table as table

NAME = "proofs"
"""What the metric is called where `Watch` looks for it."""


def checks(algorithm: Algorithm, params: Params, problem: Problem | None = None) -> tuple[Check, ...]:
    """What is checked in a run of `algorithm`, and what is skipped, with the reason.

    Args:
        algorithm: of a variant's `build`.
        params: [...], the parameters of the run; only shapes matter.
        problem: if given, its smoothness L known and its training data small, the descent lemma is checked too.
    """
    return chosen(algorithm, params, problem)


def metric(checks: Sequence[Check], every: int = 1) -> Metric:
    """What carries the checks through a run: they are made in every step, and read every `every` steps."""
    measures = {check.label: check.measure for check in checks if check.measure is not None}
    return metrics.metric(
        Running(partial(carry.start, measures=measures), partial(carry.update, measures=measures)), every
    )


class Watch:
    """Tells of each check that is violated, once, as soon as a chunk of steps is done: `run.run(..., watch=...)`."""

    def __init__(self, checks: Sequence[Check], tell: Callable[[str], None] | None = None) -> None:
        """`tell(text)`; None warns."""
        self._tell = partial(warnings.warn, stacklevel=2) if tell is None else tell
        self._checks, self._told = tuple(checks), set[str]()

    def __call__(self, num_steps: int, carried: dict[str, PyTree]) -> None:
        """Look at what the metric of this name carries after `num_steps` steps."""
        del num_steps
        for check in self._checks:
            record = carried[NAME].get(check.label) if check.label not in self._told else None
            if record is not None and np.any(np.asarray(record.first_violated) >= 0):
                self._told.add(check.label)
                self._tell(judged.told(judged.verdict(check, record)))


def verdicts(checks: Sequence[Check], values: PyTree) -> list[Verdict]:
    """What came of the checks, from the measurements of `metric` in a run: {label: `Record` of [m] or [S, m]}."""

    def last(label: str) -> Record:
        return Record(*(np.asarray(part)[..., -1] for part in values[label]))  # type: ignore[arg-type]

    return [judged.verdict(check, None if check.measure is None else last(check.label)) for check in checks]
