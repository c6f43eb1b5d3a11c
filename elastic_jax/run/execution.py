"""A run from its first chunk, or its newest checkpoint, to its result: what is saved when, and what ends it early."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp

from elastic_jax import console
from elastic_jax.base import PyTree
from elastic_jax.run.checkpoints import Checkpoints
from elastic_jax.run.loop import Loop
from elastic_jax.run.outcome import Diverged, Interrupted, Result


def execute(
    loop: Loop,
    checkpoints: Checkpoints | None,
    checkpoint_every: int | None,
    on_divergence: str,
    progress: bool,
    strategy: str | None,
    watch: Callable[[int, dict[str, PyTree]], None] | None = None,
) -> Result:
    """Chunk after chunk to the end, a divergence or an interruption; then all is saved."""
    every = checkpoint_every or loop.num_steps
    with console.interrupts() as found, console.Bar(loop.num_steps, loop.done, is_shown=progress) as bar:
        compile_seconds = loop.compile()
        start = time.perf_counter()
        while loop.done < loop.num_steps and loop.divergence is None and found.name is None:
            loop.proceed(limit=(loop.done // every + 1) * every)
            loop.drain()
            loop.history.flush()
            bar.update(loop.done)
            if watch is not None:
                watch(loop.done, loop.carried())
            is_due = loop.done == loop.num_steps or loop.done % every == 0 or found.name is not None
            # what has diverged is not worth resuming: started again, the run comes to the same end
            if checkpoints is not None and loop.divergence is None and is_due:
                checkpoints.save(loop.done, loop.cores())
        seconds = time.perf_counter() - start
        if checkpoints is not None:
            checkpoints.wait()
    result = _result(loop, seconds, compile_seconds, strategy)
    if result.num_failures:
        warnings.warn(
            f"{result.num_failures} messages were decoded into something else than was sent: the two ends were farther "
            "apart than the quantiser allows. A larger distance or margin, more levels or a smaller step size helps",
            RuntimeWarning,
            stacklevel=3,
        )
    if loop.divergence is not None and on_divergence == "raise":
        raise Diverged(loop.divergence, result)
    if found.name is not None and loop.done < loop.num_steps and loop.divergence is None:
        saved = "nothing is saved, since there is no run_dir; the run so far is in .result"
        if checkpoints is not None:
            saved = f"saved in {checkpoints.folder}; started again with the same run_dir it goes on from there"
        raise Interrupted(f"{found.name} after {loop.done} of {loop.num_steps} steps: {saved}", result)
    return result


def resume(loop: Loop, checkpoints: Checkpoints) -> None:
    """Go back to the newest checkpoint, if there is one, and drop what was measured after it."""
    found = checkpoints.restore(loop.cores())
    done = 0 if found is None else found[0]
    if done > loop.num_steps:
        raise ValueError(
            f"num_steps = {loop.num_steps} is less than the {done} steps that the run in {checkpoints.folder} "
            "has taken; it must be at least that"
        )
    loop.history.load(done, loop.num_steps - 1)
    if found is not None:
        loop.go_to(*found)


def _result(loop: Loop, seconds: float, compile_seconds: float, strategy: str | None) -> Result:
    states = [core.state for core in loop.cores()]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states) if strategy == "loop" else states[0]
    read = loop.program.algorithm.global_params
    return Result(
        state=state,
        params=read(state) if strategy is None else jax.vmap(read)(state),
        history=loop.history.read(),
        num_steps=loop.done,
        seconds=seconds,
        compile_seconds=compile_seconds,
        divergence=loop.divergence,
        seed_strategy=strategy,
        num_failures=sum(int(core.num_failures) for core in loop.cores()),
    )
