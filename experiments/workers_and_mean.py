"""What mixing workers have and what their mean has, measured side by side on the same samples.

Workers take their gradients where they are, the theory speaks of x, the mean of all rows, and nobody is there. What
lies between the two is the price of being apart. The problem for both, where no quadratic will do, is a small
convolutional network on images of CIFAR-10 reduced to fewer pixels.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from elastic_jax import base, data, metrics, stacked
from elastic_jax.problems import cnn
from experiments import elastic_scheduler


def network(*, dataset: str, reduce: int, channels: tuple[int, ...], num_workers: int, batch_size: int) -> base.Problem:
    """The network; images lose a factor `reduce` in both directions."""
    images = elastic_scheduler.reduced(data.load(dataset), reduce)
    return cnn.build(num_workers=num_workers, dataset=images, batch_size=batch_size, channels=channels)


def losses(problem: base.Problem, every: int) -> metrics.Metric:
    """float[2]: the mean loss of workers at their own parameters, and at x, both on the samples of this step."""
    return metrics.metric(partial(_losses, problem=problem), every)


def grad_norms_sq(problem: base.Problem, every: int) -> metrics.Metric:
    """float[2]: (1/n) Σ_i ‖∇f(x^i)‖² and ‖∇f(x)‖², on all training data; workers are all active."""
    return metrics.metric(partial(_grad_norms_sq, problem=problem), every)


def _losses(moment: metrics.Moment, *, problem: base.Problem) -> Array:
    assert moment.key is not None
    workers = moment.info.workers
    keys = stacked.worker_keys(base.split_key(moment.key).samples, workers)
    at_mean = problem.oracle(keys, stacked.broadcast(moment.params, workers.shape[0]), moment.data, workers)[0]
    return jnp.stack([jnp.mean(moment.info.losses), jnp.mean(at_mean)])


def _grad_norms_sq(moment: metrics.Moment, *, problem: base.Problem) -> Array:
    def norm_sq(params: base.Params) -> Array:
        return stacked.norm_sq(jax.grad(problem.objective)(params, moment.data))

    return jnp.stack([jnp.mean(jax.vmap(norm_sq)(moment.info.views)), norm_sq(moment.params)])
