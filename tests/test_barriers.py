"""Barriers open as soon as their rule holds, and not before; what is late is what had not come."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import barriers, stacked

N, FRACTIONS = 5, (0.0, 0.3, 0.5, 0.9)


@pytest.fixture(scope="module")
def updates():
    """Five workers, four layers of very different sizes and dtypes."""
    draw = np.random.default_rng(0).standard_normal
    shapes = {"a": (3,), "b": (2, 2), "c": (7,), "d": ()}
    rows = {name: draw((N, *shape)) * draw((N, *[1] * len(shape))) for name, shape in shapes.items()}
    return {name: jnp.asarray(leaf, jnp.float32 if name == "b" else jnp.float64) for name, leaf in rows.items()}


def pieces(updates, over):
    """What worker i expects of every piece: [receiver, piece, d], slowly."""
    rows = [np.asarray(leaf, float).reshape(N, -1) for leaf in jax.tree.leaves(updates)]
    if over == "workers":
        return np.broadcast_to(np.concatenate(rows, axis=1), (N, N, sum(row.shape[1] for row in rows)))
    width = sum(row.shape[1] for row in rows)
    found, start = np.zeros((N, len(rows), width)), 0
    for layer, row in enumerate(rows):
        found[:, layer, start : start + row.shape[1]] = row
        start += row.shape[1]
    return found


def holds(rule, fraction, own, whole, received, over, worker):
    """The rule for one worker and one set of received pieces, from its definition."""
    norms = np.linalg.norm(own, axis=1)
    if rule == "number":
        return received.sum() >= fraction * len(received) - 1e-9
    if rule == "missing_norm":
        missing = whole[~received].sum(axis=0)
        return np.linalg.norm(missing) <= fraction * np.linalg.norm(whole.sum(axis=0)) + 1e-12
    sizes = norms if rule == "own_norm_sum" else norms**2
    target = len(received) * sizes[worker] if over == "workers" else sizes.sum()
    return sizes[received].sum() >= fraction * target - 1e-12


@pytest.mark.parametrize("over", barriers.PIECES)
@pytest.mark.parametrize("order", barriers.ORDERS)
@pytest.mark.parametrize("rule", ["number", "own_norm_sum", "own_norm_squared", "missing_norm"])
def test_a_barrier_opens_at_the_first_piece_at_which_its_rule_holds(rule, order, over, updates, key):
    """The rule holds for what was received, and did not without the last piece of it, unless nothing was awaited."""
    own = pieces(updates, over)
    mean = pieces(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf.mean(axis=0), leaf.shape), updates), over)
    whole = own if over == "workers" else mean
    patterns = set()
    for fraction in FRACTIONS:
        barrier = getattr(barriers, rule)(fraction, over=over, order=order)
        received = np.asarray(barrier.received(key, jnp.int32(0), updates))
        assert received.shape == own.shape[:2]
        patterns.add(received.tobytes())
        for i in range(N):
            arguments = (rule, fraction, own[i], whole[i])
            assert received[i].all() or holds(*arguments, received[i], over, i), fraction
            if over == "workers":
                assert received[i, i], "a worker has its own"
            could_go = [piece for piece in np.flatnonzero(received[i]) if not (over == "workers" and piece == i)]
            fewer = [np.where(np.arange(len(received[i])) == piece, False, received[i]) for piece in could_go]
            assert not fewer or not all(holds(*arguments, less, over, i) for less in fewer), "it waited too long"
    assert len(patterns) > 1


def test_layers_come_from_the_last_to_the_first(updates, key):
    """As back-propagation makes them; every worker goes on with a suffix."""
    barrier = barriers.number(0.5, over="layers", order="reverse")
    received = barrier.received(key, jnp.int32(0), updates)
    assert received.tolist() == [[False, False, True, True]] * N


def test_the_largest_comes_last(updates, key):
    """The adversary's order: what is late is larger than what came."""
    barrier = barriers.number(0.6, order="largest_last")
    assert barrier.is_adaptive
    received = np.asarray(barrier.received(key, jnp.int32(0), updates))
    norms = np.sqrt(np.asarray(stacked.norms_sq(updates)))
    for i in range(N):
        others = np.arange(N) != i
        assert norms[received[i] & others].max() < norms[~received[i]].min()


def test_random_orders_differ_between_workers_and_keys(updates, key):
    """Each receiver has its own order, and each step."""
    barrier = barriers.number(0.5)
    assert not barrier.is_adaptive
    draws = np.asarray(jax.vmap(barrier.received, (0, None, None))(jax.random.split(key, 400), jnp.int32(0), updates))
    assert len({draw.tobytes() for draw in draws}) > 300
    assert {int(draw.sum()) for draw in draws} == {N * 3}
    shares = draws.mean(axis=0)[~np.eye(N, dtype=bool)]
    assert np.abs(shares - 0.5).max() < 5 * 0.5 / 20


@pytest.mark.parametrize("over", barriers.PIECES)
def test_a_rule_that_asks_for_everything_waits_for_everything(over, updates, key):
    """β = 1, or 0 of what may be missing: nothing is late, even where a piece is zero."""
    still = jax.tree.map(jnp.zeros_like, updates)
    for barrier in (
        barriers.number(1.0, over=over),
        barriers.own_norm_sum(1.0, over=over),
        barriers.own_norm_squared(1.0, over=over),
        barriers.missing_norm(0.0, over=over),
        barriers.everything(over=over),
    ):
        assert barrier.received(key, jnp.int32(0), still).all()
        assert barrier.missing_of_all == 0 or barrier.missing_of_own is None


def test_what_the_own_norm_rules_promise(updates, key):
    """Late layers hold at most √m (1 - β), or √(1 - β), of the norm of a worker's own update."""
    own = pieces(updates, "layers")
    for rule in ("own_norm_sum", "own_norm_squared"):
        for fraction in FRACTIONS:
            barrier = getattr(barriers, rule)(fraction, order="random")
            late = ~np.asarray(barrier.received(key, jnp.int32(0), updates))
            missing = np.linalg.norm((late[:, :, None] * own).sum(axis=1), axis=1)
            promised = barrier.missing_of_own(own.shape[1])
            assert promised == pytest.approx(
                (1 - fraction) * 2 if rule == "own_norm_sum" else (1 - fraction) ** 0.5, rel=1e-12
            )
            assert np.all(missing <= promised * np.linalg.norm(own.sum(axis=1), axis=1) + 1e-12)


def test_a_trace_is_replayed(updates, key):
    """Row t modulo the number of rows."""
    recorded = np.random.default_rng(1).random((3, N, 4)) < 0.5
    barrier = barriers.trace(recorded, over="layers")
    for t in range(5):
        np.testing.assert_array_equal(barrier.received(key, jnp.int32(t), updates), recorded[t % 3])
    with pytest.raises(ValueError, match="a trace of 5 workers; it must have num_workers = 3"):
        barriers.check_fits(barrier, num_workers=3)


@pytest.mark.parametrize(
    ("recorded", "over", "message"),
    [
        (np.ones((2, 3)), "layers", r"shape \(2, 3\)"),
        (np.ones((2, 3, 3)), "layers", "dtype float64"),
        (np.ones((2, 3, 4), bool), "workers", r"shape \(2, 3, 4\)"),
        (np.zeros((2, 3, 3), bool), "workers", "must have its own"),
    ],
)
def test_a_trace_has_a_shape(recorded, over, message):
    """Errors name the argument, what it is and what it must be."""
    with pytest.raises(ValueError, match=rf"^recorded.*{message}"):
        barriers.trace(recorded, over=over)


@pytest.mark.parametrize("rule", ["number", "own_norm_sum", "own_norm_squared", "missing_norm"])
@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_is_in_the_unit_interval(rule, fraction):
    """β outside [0, 1] is an error that says so."""
    with pytest.raises(ValueError, match=r"^fraction = .* >= 0.0 and <= 1.0"):
        getattr(barriers, rule)(fraction)
