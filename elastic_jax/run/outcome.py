"""What a run comes to: a result, a divergence, an interruption; each carries the run so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elastic_jax.base import Params, PyTree
from elastic_jax.run.loop import Divergence


class Result(NamedTuple):
    """What a run leaves. With seeds, `state`, `params` and the values in `history` have a seed axis first."""

    state: PyTree
    """The algorithm's state after the last step."""
    params: Params
    """[...] or [S, ...]. x: its global parameters."""
    history: dict[str, tuple[np.ndarray, PyTree]]
    """{metric: (steps int64[m], values [m, ...] or [S, m, ...])}."""
    num_steps: int
    """Steps taken since the start, those before a resumption too."""
    seconds: float
    """Wall-clock seconds of this call's steps, without compilation."""
    compile_seconds: float
    """Wall-clock seconds of compilation; near 0 where an earlier run compiled the same."""
    divergence: Divergence | None
    """The first loss that was not finite, if any was seen."""
    seed_strategy: str | None
    """"vmap" or "loop"; None without seeds."""
    num_failures: int
    """Messages that were decoded into something else than was sent, `Info.num_failures` of all steps and seeds."""


class Diverged(FloatingPointError):  # noqa: N818  (it names what happened, as KeyboardInterrupt does)
    """A loss was not finite. `divergence` says where; `result` is the run up to and with that step."""

    def __init__(self, divergence: Divergence, result: Result) -> None:
        """The message names step, worker and seed."""
        seed = "" if divergence.seed is None else f" of seed {divergence.seed}"
        super().__init__(
            f"the loss of worker {divergence.worker}{seed} is not finite at step {divergence.step}; a smaller "
            "step size may help. The run up to there is in .result"
        )
        self.divergence, self.result = divergence, result


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. `result` is the run so far; the message says what was saved where."""

    def __init__(self, message: str, result: Result) -> None:
        """Carries the run so far."""
        super().__init__(message)
        self.result = result
