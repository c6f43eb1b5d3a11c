"""Objectives: one file per problem; `names()` and `problem(name)` are the registry that tests and tools read.

A problem is registered by the one line that imports it here. Its `build(*, num_workers, ...) -> base.Problem`
works on defaults for everything but the number of workers. `supervised.build` makes one from a user's own
loss and data.
"""

from __future__ import annotations

import inspect
from types import ModuleType

from elastic_jax import arguments
from elastic_jax.problems import cnn as cnn
from elastic_jax.problems import log_cosh as log_cosh
from elastic_jax.problems import logistic as logistic
from elastic_jax.problems import mlp as mlp
from elastic_jax.problems import nonconvex_logistic as nonconvex_logistic
from elastic_jax.problems import quadratic as quadratic
from elastic_jax.problems import resnet as resnet
from elastic_jax.problems import transformer as transformer
from elastic_jax.problems import wide_resnet as wide_resnet


def problems() -> dict[str, ModuleType]:
    """{name: module}: the modules here whose `build` needs the number of workers and nothing else."""
    return {
        name: module
        for name, module in globals().items()
        if isinstance(module, ModuleType) and _needed(module) == ["num_workers"]
    }


def names() -> list[str]:
    """The names of all problems, in the order in which they are registered."""
    return list(problems())


def problem(name: str) -> ModuleType:
    """The module of a problem by its name; an unknown name is a `ValueError` that proposes the closest."""
    known = problems()
    return known[arguments.one_of("problem", name, known)]


def _needed(module: ModuleType) -> list[str]:
    if not hasattr(module, "build"):
        return []
    parameters = inspect.signature(module.build).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]
