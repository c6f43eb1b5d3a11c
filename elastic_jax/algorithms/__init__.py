"""Every variant, one file each, in four families; `variants()` is the registry that tests, tables and tools read.

A variant is registered by the one line that imports it in its family's `__init__`; the first one there represents
the family where one is shown for each.
"""

from __future__ import annotations

from types import ModuleType

from elastic_jax import arguments
from elastic_jax.algorithms import asynchronous, decentralized, local, synchronous

# every variant can be imported from here, whatever its family
from elastic_jax.algorithms.asynchronous import *  # noqa: F403
from elastic_jax.algorithms.decentralized import *  # noqa: F403
from elastic_jax.algorithms.local import *  # noqa: F403
from elastic_jax.algorithms.synchronous import *  # noqa: F403

FAMILIES = (synchronous, asynchronous, local, decentralized)


def families() -> dict[str, dict[str, ModuleType]]:
    """{family: {variant: module}}, in the order in which they are registered."""
    return {
        _bare_name(family): {
            name: module
            for name, module in vars(family).items()
            if isinstance(module, ModuleType) and hasattr(module, "SGD_LIMIT")
        }
        for family in FAMILIES
    }


def variants() -> dict[str, ModuleType]:
    """{variant: module} over all families."""
    return {name: module for members in families().values() for name, module in members.items()}


def variant(name: str) -> ModuleType:
    """The module of a variant by its name; an unknown name is a `ValueError` that proposes the closest."""
    known = variants()
    return known[arguments.one_of("algorithm", name, known)]


def _bare_name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]
