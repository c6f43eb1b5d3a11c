"""Checkpoints: what is read back is what was saved, bit for bit, and what is half-written is never read."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import devices
from elastic_jax.base import Stacked
from elastic_jax.run import checkpoints


class Inner(NamedTuple):
    moments: Any
    nothing: Any


class State(NamedTuple):
    num_steps: Any
    rows: Stacked[Any]
    key: Any
    inner: Inner


def make_state(seed: int = 0) -> State:
    """All that a state may hold: named tuples, empty ones, odd names, small dtypes and typed keys."""
    draw = jax.random.normal
    return State(
        num_steps=jnp.int32(7),
        rows={"a/b": draw(jax.random.key(seed), (4, 3)), "a": {"b": draw(jax.random.key(seed + 1), (4, 2, 1))}},
        key=jax.random.split(jax.random.key(seed, impl="rbg")),
        inner=Inner((jnp.arange(3, dtype=jnp.bfloat16), jnp.array([True, False]), jnp.float32("nan")), ()),
    )


def assert_same(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_what_is_restored_is_what_was_saved(tmp_path: Path) -> None:
    """Values, dtypes, classes and keys, from a template of shapes alone; the newest of several."""
    with checkpoints.Checkpoints(tmp_path) as opened:
        assert opened.restore(make_state()) is None
        for num_steps in (5, 10, 15):
            opened.save(num_steps, make_state(num_steps))
    with checkpoints.Checkpoints(tmp_path) as opened:
        assert opened.steps() == [10, 15]  # two are kept
        found = opened.restore(jax.eval_shape(make_state))
    assert found is not None
    assert found[0] == 15
    assert_same(found[1], make_state(15))


def test_a_save_survives_donation(tmp_path: Path) -> None:
    """The state may be donated as soon as `save` returns."""
    state = {"x": jnp.arange(100_000.0)}
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 1, tree), donate_argnums=0)
    with checkpoints.Checkpoints(tmp_path) as opened:
        opened.save(1, state)
        overwrite(state)
        opened.wait()
        found = opened.restore({"x": jnp.zeros(100_000)})
    assert found is not None
    np.testing.assert_array_equal(found[1]["x"], np.arange(100_000.0))


def test_what_is_half_written_is_cleared_and_never_read(tmp_path: Path) -> None:
    """A folder left by a process that died is removed at the next start, and the last complete one is used."""
    with checkpoints.Checkpoints(tmp_path) as opened:
        opened.save(5, make_state())
    torn = tmp_path / f"10{checkpoints.UNFINISHED}"
    shutil.copytree(tmp_path / "5", torn)
    with checkpoints.Checkpoints(tmp_path) as opened:
        assert not torn.exists()
        found = opened.restore(make_state())
    assert found is not None
    assert found[0] == 5


def test_a_checkpoint_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    """With a warning, for the one before it; if none can be read it is an error, never a fresh start."""
    with checkpoints.Checkpoints(tmp_path) as opened:
        opened.save(5, make_state(5))
        opened.save(10, make_state(10))
    _empty(tmp_path / "10")
    with (
        checkpoints.Checkpoints(tmp_path) as opened,
        pytest.warns(RuntimeWarning, match=r"checkpoint 10 cannot be read"),
    ):
        found = opened.restore(make_state())
    assert found is not None
    assert found[0] == 5
    assert_same(found[1], make_state(5))
    _empty(tmp_path / "5")
    with checkpoints.Checkpoints(tmp_path) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"none of the checkpoints \[5, 10\]"):
            opened.restore(make_state())


def test_leaves_are_placed_as_in_the_template(tmp_path: Path) -> None:
    """A state that was sharded comes back sharded; one that was not can be."""
    mesh = devices.make_mesh(4)
    placed = devices.place(make_state(), mesh)
    with checkpoints.Checkpoints(tmp_path) as opened:
        opened.save(5, make_state())
        found = opened.restore(placed)
    assert found is not None
    assert_same(found[1], make_state())
    for leaf, expected in zip(jax.tree.leaves(found[1].rows), jax.tree.leaves(placed.rows), strict=True):
        assert leaf.sharding == expected.sharding


def _empty(folder: Path) -> None:
    """Damage a checkpoint as a full disk would: its files are there and empty."""
    for path in folder.rglob("*"):
        if path.is_file() and "METADATA" not in path.name.upper():
            path.write_bytes(b"")
