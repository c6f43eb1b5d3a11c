"""Meshes and placement: the same step on one device, on many, or in several processes.

    mesh = devices.make_mesh()
    state = devices.place(algorithm.init(key, params), mesh)
    data = devices.place_data(data, mesh)
    step = jax.jit(algorithm.step, donate_argnums=1, out_shardings=(devices.shardings(state, mesh), None))
    state, info = step(devices.replicate(key, mesh), state, data)

Workers are split evenly over the devices; what is not stacked over workers is on every device. Place
*everything* before the first step, the key too: a leaf left on the default device costs a second compilation.
With `out_shardings` as above it stays where it was placed, so that there is exactly one.

In several processes each calls all of this with the same values, after `jax.distributed.initialize`; on CPUs
they need `jax.config.update("jax_cpu_collectives_implementation", "gloo")` before it. `gather` reads the
results.
"""

from __future__ import annotations

import sys
import types
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from elastic_jax import arguments
from elastic_jax.base import PyTree, Stacked, StackedSlots

AXIS = "workers"
"""The name of the one mesh axis."""

_WORKER_AXES = {Stacked: 0, StackedSlots: 1}


def request_cpu_devices(num_devices: int) -> None:
    """Let the CPU count as `num_devices` >= 1 devices; call it before anything asks JAX for a device.

    Two devices on two cores are the way to keep both busy with heavy models.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.
        RuntimeError: if JAX has already started with another number.
    """
    num_devices = arguments.integer("num_devices", num_devices, low=1)
    try:
        jax.config.update("jax_num_cpu_devices", num_devices)
    except RuntimeError as error:
        if jax.local_device_count("cpu") != num_devices:
            raise RuntimeError(
                f"num_devices = {num_devices} cannot be had: JAX has already started with "
                f"{jax.local_device_count('cpu')} CPU devices; call request_cpu_devices before anything else"
            ) from error


def make_mesh(num_devices: int | None = None) -> Mesh:
    """A mesh with the one axis `workers`, partitioned automatically.

    Args:
        num_devices: in [1, devices there are, of all processes]; None: all.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.
    """
    available = jax.devices()
    if num_devices is None:
        num_devices = len(available)
    elif arguments.integer("num_devices", num_devices, low=1) > len(available):
        raise ValueError(
            f"num_devices = {num_devices} is out of range; it must be an integer in [1, {len(available)}], "
            "the devices there are (request_cpu_devices makes more of the CPU)"
        )
    # JAX's own default, Explicit axes, refuses rows read at traced positions and rolls over workers
    return jax.make_mesh((num_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=available[:num_devices])


def check_mesh(name: str, mesh: Any) -> Mesh:
    """`mesh`, which must be such as `make_mesh` makes; raises `TypeError` or `ValueError`."""
    hint = "make one with devices.make_mesh()"
    arguments.instance(name, mesh, Mesh, hint)
    if mesh.axis_names != (AXIS,):
        raise ValueError(f"{name} has the axes {mesh.axis_names}; it must have the one axis {AXIS!r}: {hint}")
    if mesh.axis_types != (AxisType.Auto,):
        raise ValueError(f"{name} has {mesh.axis_types[0]} axes; they must be of type Auto: {hint}")
    return mesh


def check_divisible(name: str, num_workers: int, mesh: Mesh) -> None:
    """Raise `ValueError` unless the workers can be split evenly over the devices of the mesh."""
    if num_workers % mesh.size:
        raise ValueError(
            f"{name} = {num_workers} cannot be split evenly over the {mesh.size} devices of the mesh; "
            f"it must be a multiple of {mesh.size}, or the mesh smaller: "
            f"make_mesh({np.gcd(num_workers, mesh.size)})"
        )


def shardings(state: PyTree, mesh: Mesh) -> PyTree:
    """Where `place` puts each leaf: a tree like `state` of `NamedSharding`s.

    Args:
        state: the `State` of an algorithm, or any tree; only shapes matter, so `jax.eval_shape(init, ...)`
            will do.
        mesh: of `make_mesh`.

    Returns:
        fields annotated `Stacked` are split on their first axis, those annotated `StackedSlots` on their second, and
        everything else is on all devices.

    Raises:
        TypeError: naming a leaf that is no array of numbers.
        ValueError: naming a field whose worker axis the devices do not divide, and both numbers.
    """
    check_mesh("mesh", mesh)
    return _shardings(arguments.arrays("state", state), mesh, type(state).__name__)


def place(state: PyTree, mesh: Mesh) -> PyTree:
    """A `State` on the devices of a mesh: its stacked fields split over them, the others on every one.

    Args:
        state: the `State` of an algorithm, or any tree.
        mesh: of `make_mesh`; it may span processes, which then all pass the same values.

    Returns:
        the same values in memory of their own, so that donating them leaves `state` alone.

    Raises:
        TypeError, ValueError: as `shardings`.
    """
    return jax.tree.map(_put, state, shardings(state, mesh))


def place_data(data: PyTree, mesh: Mesh) -> PyTree:
    """Data whose leaves are [n, ...] (as in `base.Shards`), split over the devices of a mesh by worker.

    Raises:
        TypeError, ValueError: naming a leaf that is no array of numbers, or whose first axis the devices do not
            divide, and both numbers.
    """
    check_mesh("mesh", mesh)
    return jax.tree.map(_put, data, _split(arguments.arrays("data", data), mesh, "data"))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """A tree (a key, a set of parameters) on every device of a mesh."""
    check_mesh("mesh", mesh)
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: _put(leaf, everywhere), arguments.arrays("tree", tree))


def gather(tree: PyTree) -> PyTree:
    """The values of a tree, wherever they are, as numpy arrays in every process (keys as their key data).

    In several processes all must call this, since they send each other their parts.
    """
    return jax.tree.map(_read, arguments.arrays("tree", tree))


def _shardings(tree: PyTree, mesh: Mesh, name: str) -> PyTree:
    if not (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), tree)
    placed = {}
    for field, value in zip(tree._fields, tree, strict=True):
        axis = _worker_axis(type(tree), field)
        where = f"{name}.{field}"
        placed[field] = _shardings(value, mesh, where) if axis is None else _split(value, mesh, where, axis=axis)
    return type(tree)(**placed)


def _split(tree: PyTree, mesh: Mesh, name: str, *, axis: int = 0) -> PyTree:
    which = ("first", "second")[axis]

    def of_leaf(path: Any, leaf: Any) -> NamedSharding:
        where = name + jax.tree_util.keystr(path)
        if np.ndim(leaf) <= axis:
            raise ValueError(f"{where} has {np.ndim(leaf) or 'no'} axes; its {which} must be that of the workers")
        check_divisible(f"the {which} axis of {where}", leaf.shape[axis], mesh)
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def _worker_axis(kind: type, field: str) -> int | None:
    """By which axis a field of a named tuple is split; every annotation is looked at on its own."""
    annotation = getattr(kind, "__annotations__", {}).get(field)
    alone = types.SimpleNamespace(__annotations__={field: annotation})
    names = vars(sys.modules[kind.__module__])
    try:
        hint = get_type_hints(alone, globalns=names, include_extras=True)[field]
    except NameError:
        # names that only type checkers see, as inside optax.OptState; `Stacked` itself must never be among
        # them
        if "Stacked" in str(annotation):
            raise
        return None
    return next((axis for mark, axis in _WORKER_AXES.items() if _has_marker(hint, get_args(mark)[1])), None)


def _has_marker(hint: Any, marker: str) -> bool:
    """Whether a type is `Stacked[...]`, or `Stacked[...] | None`, or the like of another marker."""
    return marker in getattr(hint, "__metadata__", ()) or any(_has_marker(part, marker) for part in get_args(hint))


def _put(leaf: Any, sharding: NamedSharding) -> Array:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        wrap = jax.jit(_wrap, static_argnums=1)
        return wrap(_put(jax.random.key_data(leaf), sharding), jax.random.key_impl(leaf))
    if sharding.is_fully_addressable:
        # a copy first: device_put may share the memory of the original, which donation would then delete
        return jax.device_put(jnp.array(leaf, copy=True), sharding)
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def _wrap(data: Array, implementation: Any) -> Array:
    return jax.random.wrap_key_data(data, impl=implementation)


def _read(leaf: Any) -> np.ndarray:
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return _read(jax.random.key_data(leaf))
    if leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.asarray(leaf)
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
