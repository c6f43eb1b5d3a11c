"""The loop to be measured against: n hand-written, jitted, donated optax steps, called from one or two threads."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import jax
import optax
from jax import Array

from elastic_jax import base
from elastic_jax.benchmarks.workloads import Workload


class HandLoop:
    """n independent workers, each with its own parameters, optimiser state, key and data."""

    def __init__(self, workload: Workload, optimizer: optax.GradientTransformation, num_workers: int) -> None:
        """Gives every worker a copy of the parameters and its own part of the data."""
        self._step = jax.jit(
            partial(
                _step,
                value_and_grad=workload.value_and_grad,
                optimizer=optimizer,
                batch_size=workload.batch_size,
                takes_key=workload.takes_key,
            ),
            donate_argnums=(0, 1, 2),
        )
        params = workload.problem.init(jax.random.key(0))
        self._workers = [
            [jax.tree.map(lambda leaf: leaf.copy(), params), optimizer.init(params), jax.random.key(worker)]
            for worker in range(num_workers)
        ]
        self._data = [
            jax.tree.map(lambda leaf, i=worker: leaf[i], workload.problem.data) for worker in range(num_workers)
        ]

    def seconds(self, num_steps: int, num_threads: int) -> float:
        """Wall seconds of `num_steps` steps of all workers, which `num_threads` threads share evenly."""
        threads = [
            threading.Thread(target=self._run, args=(range(first, len(self._workers), num_threads), num_steps))
            for first in range(num_threads)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def _run(self, workers: range, num_steps: int) -> None:
        for _ in range(num_steps):
            for worker in workers:
                self._workers[worker] = self._step(*self._workers[worker], self._data[worker])
        jax.block_until_ready([self._workers[worker] for worker in workers])


def _step(
    params: Any,
    opt_state: Any,
    key: Array,
    data: Any,
    *,
    value_and_grad: Any,
    optimizer: optax.GradientTransformation,
    batch_size: int | None,
    takes_key: bool,
) -> list[Any]:
    key, key_batch, key_loss = jax.random.split(key, 3) if takes_key and batch_size else (*jax.random.split(key), key)
    if isinstance(data, base.Shards) and batch_size is not None:
        rows = jax.random.randint(key_batch, (batch_size,), 0, data.sizes)
        batch = jax.tree.map(lambda leaf: leaf[rows], data.examples)
    else:
        batch, key_loss = data, key_batch
    _, grad = value_and_grad(params, batch, key_loss) if takes_key else value_and_grad(params, batch)
    updates, opt_state = optimizer.update(grad, opt_state, params)
    return [optax.apply_updates(params, updates), opt_state, key]
