"""What the steps of a run are given: data that stay on the device, or batches that the host hands over one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from elastic_jax import arguments, devices
from elastic_jax.base import PyTree


class Feed:
    """The data of the next step, in `data`."""

    def __init__(self, data: Any, mesh: Mesh | None) -> None:
        """`data` is a tree of arrays, or an iterator, or an iterable that is no tree (a loader) of such trees.

        Raises:
            TypeError, ValueError: if a leaf is no array of numbers, or an iterator is empty.
        """
        self._mesh = mesh
        self.is_host_fed = _is_host_fed(data)
        self._batches: Iterator[PyTree] = iter(data) if self.is_host_fed else iter(())
        self._num_given = 0
        self.data: PyTree = None
        self._shapes: PyTree = None
        if self.is_host_fed:
            self.proceed()
        else:
            arguments.arrays("data", data)
            self.data = jax.tree.map(jnp.asarray, data) if mesh is None else devices.place_data(data, mesh)

    def proceed(self, num_batches: int = 1) -> None:
        """Drop batches up to the next but `num_batches` - 1, and send that one on its way to the device.

        Raises:
            TypeError: if that one has not the structure, shapes and dtypes of the first.
            ValueError: if there are no more.
        """
        for _ in range(num_batches):
            try:
                batch = next(self._batches)
            except StopIteration:
                raise ValueError(
                    f"data ended after {self._num_given} batches; it must have one for each step"
                ) from None
            self._num_given += 1
        name = f"data, batch {self._num_given - 1}"
        # a copy made now: a loader may fill the same memory again while the transfer or the step runs
        batch = jax.tree.map(np.array, arguments.arrays(name, batch))
        if self._num_given == 1:
            self._shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
        arguments.like(name, batch, self._shapes, "batch 0")
        self.data = jax.device_put(batch) if self._mesh is None else devices.place_data(batch, self._mesh)


def _is_host_fed(data: Any) -> bool:
    """Whether `data` is handed over batch by batch: it can be iterated over, and is neither an array nor a tree."""
    if isinstance(data, Iterator):
        return True
    return hasattr(data, "__iter__") and not hasattr(data, "shape") and jax.tree_util.all_leaves([data])
