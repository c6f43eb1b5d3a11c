"""Workers that meet in pairs: the steps of each form replayed in NumPy, what is conserved, who meets whom how often."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from laws import settings

from elastic_jax import base, clocks, compressors, devices, exchanges, keys, meetings, metrics, run, topologies
from elastic_jax.algorithms import asynchronous_gossip_sgd, choco_sgd, swarm_sgd

N, D, T = 5, settings.DIMENSION, 60
DATA = settings.quadratics(N)
RING = topologies.ring(N)


def _parted():
    """Two workers and three, built around the checks."""
    adjacency = np.zeros((N, N), bool)
    adjacency[0, 1] = adjacency[2, 3] = adjacency[3, 4] = True
    adjacency |= adjacency.T
    return topologies.Topology("parted", np.eye(N), adjacency)


def trace(algorithm, *, num_steps=T, data=DATA, seed=0):
    """Every state before and after the steps, and what the steps say, as flat float64 arrays."""
    key = jax.random.key(seed)
    flat = settings.flatten_rows

    def shown(state):
        rows = {
            name: flat(getattr(state, name))
            for name in ("local_params", "base_params", "last_batches", "read_params")
            if jax.tree.leaves(getattr(state, name, ()))
        }
        return {**rows, "mean": settings.flatten(algorithm.global_params(state)), "rest": state}

    def body(state, t):
        new_state, info = algorithm.step(base.step_key(key, t), state, data)
        told = info._replace(updates=flat(info.updates), views=flat(info.views), shift=settings.flatten(info.shift))
        return new_state, (shown(state), shown(new_state), told)

    start = algorithm.init(jax.random.key(seed + 100), settings.params())
    compiled = jax.jit(lambda state: lax.scan(body, state, jnp.arange(num_steps)), compiler_options=LIGHT)
    return jax.tree.map(np.asarray, compiled(start)[1])


LIGHT = {"xla_backend_optimization_level": 0}


def swarm(**given):
    return swarm_sgd.build(settings.oracle, **{"num_workers": N, "step_size": 0.25, "topology": RING, **given})


@functools.cache
def traced(mode, distribution, parallel):
    """A swarm's run, which several tests read."""
    return trace(swarm(mode=mode, distribution=distribution, parallel=parallel, local_steps=3))


FORMS = [
    (mode, distribution, parallel)
    for mode in swarm_sgd.MODES
    for distribution in meetings.DISTRIBUTIONS
    for parallel in (False, True)
]
over_forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form)))


def pairs_of(before, t):
    """Who meets whom at the end of the turn that step t belongs to: pairs of workers."""
    workers, partners = before["rest"].next_workers[t], before["rest"].next_partners[t]
    return {tuple(sorted((int(workers[k]), int(workers[p])))) for k, p in enumerate(partners) if p != k}


@over_forms
def test_every_step_is_that_of_the_equations(form):
    """Rows after each step from rows before it, pair by pair, in NumPy."""
    mode = form[0]
    before, after, info = traced(*form)
    num_meetings = 0
    for t in range(T):
        rows = before["local_params"][t].copy()
        for k, worker in enumerate(info.workers[t]):
            if worker >= 0:
                rows[worker] += info.updates[t, k]
        start = before["base_params"][t] if mode != "blocking" else rows
        expected, base_rows = rows.copy(), start.copy()
        last = before["last_batches"][t].copy() if mode == "lagged" else np.zeros_like(rows)
        if info.bits_sent[t].any():
            num_meetings += 1
            met = np.flatnonzero(info.bits_sent[t] > 0)
            assert set(before["rest"].next_workers[t][met]) == {i for pair in pairs_of(before, t) for i in pair}
            for i, j in pairs_of(before, t):
                for own, other in ((i, j), (j, i)):
                    batch = rows[own] - start[own]
                    expected[own] = (start[own] + start[other] - last[other]) / 2 + batch
                if mode == "non_blocking":
                    b = (start[i] + start[j]) / 2
                    commits = [np.allclose(after["base_params"][t][own], expected[own]) for own in (i, j)]
                    is_moved = [not np.allclose(rows[own], start[own]) for own in (i, j)]
                    assert sum(commits) == 1 or not all(is_moved), "one of the two commits"
                    for own, is_committing in zip((i, j), commits, strict=True):
                        base_rows[own] = expected[own] if is_committing else b
        np.testing.assert_allclose(after["local_params"][t], expected, atol=1e-12)
        if mode == "non_blocking":
            np.testing.assert_allclose(after["base_params"][t], base_rows, atol=1e-12)
    assert num_meetings >= 5


@over_forms
def test_what_is_conserved(form):
    """The mean moves by updates alone; lagging loses half of each batch before the last, and says so."""
    before, after, info = traced(*form)
    moved = np.einsum("tk,tkd->td", info.weights, info.updates)
    np.testing.assert_allclose(after["mean"] - before["mean"], moved + info.shift, atol=1e-12)
    if form[0] != "lagged":
        assert not info.shift.any()
        return
    lost = np.zeros(D)
    for t in np.flatnonzero(info.bits_sent.any(axis=1)):
        for i, j in pairs_of(before, t):
            lost -= (before["last_batches"][t][i] + before["last_batches"][t][j]) / (2 * N)
    np.testing.assert_allclose(info.shift.sum(axis=0), lost, atol=1e-12)
    assert np.abs(lost).max() > 1e-3


def test_who_has_fewer_steps_begins_later_and_all_end_together():
    """In a meeting everyone is active; numbers of steps are those drawn."""
    before, _, info = traced("blocking", "geometric", True)
    is_due = info.bits_sent.any(axis=1)
    assert np.all(info.workers[is_due] >= 0)
    assert np.any(info.workers < 0)
    first = np.concatenate([[0], np.flatnonzero(is_due)[:-1] + 1])
    for begin, end in zip(first, np.flatnonzero(is_due), strict=True):
        taken = (info.workers[begin : end + 1] >= 0).sum(axis=0)
        np.testing.assert_array_equal(taken, before["rest"].remaining_steps[begin])


def test_fixed_and_geometric_steps_have_the_same_mean():
    """Mean H, and of geometric ones the variance H² - H; at least one."""
    draw = functools.partial(meetings.draw_steps, local_steps=3)
    fixed = draw(jax.random.key(0), 7, distribution="fixed")
    assert fixed.tolist() == [3] * 7
    found = np.asarray(draw(jax.random.key(0), 40_000, distribution="geometric"))
    assert found.min() == 1
    assert abs(found.mean() - 3) < 5 * np.sqrt(6 / 40_000)
    assert abs(found.var() - 6) < 0.3


def test_every_edge_is_as_likely_in_either_order():
    """χ² over the oriented edges of a star, and k = 2 of two workers in their order."""
    drawn = jax.vmap(meetings.edges(topologies.star(4)).draw)(jax.random.split(jax.random.key(1), 6000))
    workers = np.asarray(drawn[0])
    seen, counts = np.unique(workers, axis=0, return_counts=True)
    assert sorted(map(tuple, seen.tolist())) == [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)]
    assert np.sum((counts - 1000) ** 2 / 1000) < 25  # 1e-4 of χ² with 5 degrees
    two = meetings.edges(topologies.complete(2))
    assert two.is_everybody
    assert two.draw(jax.random.key(3))[0].tolist() == [0, 1]


def test_in_a_matching_an_odd_one_rests():
    """Partners are mutual; of five one rests, of four in a ring none."""
    for n, num_resting in ((5, 1), (4, 0)):
        meeting = meetings.matchings(topologies.complete(n))
        _, partners = jax.vmap(meeting.draw)(jax.random.split(jax.random.key(2), 50))
        partners = np.asarray(partners)
        here = np.arange(n)
        assert np.all(np.take_along_axis(partners, partners, 1) == here)
        assert np.all((partners == here).sum(axis=1) == num_resting)


def test_one_of_each_pair_commits_and_who_rests_does_not():
    """By a fair coin."""
    partners = jnp.array([1, 0, 2, 4, 3], jnp.int32)
    draw = jax.vmap(lambda key: meetings.one_of_each(key, partners))
    chosen = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    assert np.all(chosen[:, 0] ^ chosen[:, 1])
    assert np.all(chosen[:, 3] ^ chosen[:, 4])
    assert not chosen[:, 2].any()
    assert abs(chosen[:, 0].mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


@pytest.mark.parametrize("parallel", [False, True])
def test_parallel_time_is_two_nths_of_a_meeting(parallel):
    """`elapsed`, so that forms can be compared: each worker meets once in a unit of it, on average."""
    before, _, info = traced("blocking", "fixed", parallel)
    for t in range(T):
        is_due = info.bits_sent[t].any()
        assert info.elapsed[t] == pytest.approx(2 * len(pairs_of(before, t)) / N if is_due else 0)


def test_the_spread_of_edges_is_the_fixed_point():
    """G' <= G at G*, and above it only below G*; on a complete graph p = 1/(n - 1)."""
    meeting = meetings.edges(topologies.complete(8))
    assert meeting.contraction == pytest.approx(1 / 7)
    for h in (1, 3):
        apart = meeting.apart(h)
        assert meeting.spread(h) == pytest.approx(apart / np.sqrt(8) + h - 1)
        p, b, c = meeting.contraction, 2 * h * np.sqrt(4 / 8), (2 - 4 / 8) * h**2
        assert (1 - p) * apart**2 + b * apart + c == pytest.approx(apart**2)
    assert meetings.edges(topologies.complete(2)).spread(3) == 2


def test_mixing_tables_of_matchings_are_those_of_the_mixing():
    """`mixings.matchings` and `meetings.matchings` have one table and one p."""
    meeting = meetings.matchings(RING)
    assert meeting.num_draws == 3
    eigenvalues = np.linalg.eigvalsh(_expected_mixing(meeting))
    assert meeting.contraction == pytest.approx(1 - eigenvalues[-2])


def _expected_mixing(meeting):
    """E W, W = (I + P)/2 a projection, from draws."""
    _, partners = jax.vmap(meeting.draw)(jax.random.split(jax.random.key(5), 3000))
    tables = np.unique(np.asarray(partners), axis=0)
    return sum((np.eye(N) + np.eye(N)[row]) / 2 for row in tables) / len(tables)


# quantised


def _near(distance=0.5, *, is_running=False):
    """A quantiser that sends everything and decodes what is farther than `distance` into what the receiver has."""

    def decode(_, code, reference):
        is_near = jax.tree.map(lambda m, y: jnp.abs(m - y) <= jnp.asarray(distance, m.dtype), code, reference)
        return jax.tree.map(jnp.where, is_near, code, reference)

    def num_failures(_, message, decoded):
        return jnp.sum(settings.flatten(message) != settings.flatten(decoded), dtype=jnp.int32)

    nearness = compressors.Nearness(
        norm=lambda tree: jnp.max(jnp.abs(settings.flatten(tree))),
        within=_near,
        num_failures=num_failures,
        margin=2.0,
        is_running=is_running,
    )
    return compressors.identity()._replace(decode=decode, nearness=nearness)


def test_what_is_too_far_away_is_counted():
    """A message whose numbers are farther from the receiver's than the distance: 1, whatever their number."""
    keys_, rows = jax.random.split(jax.random.key(0), 2), {"a": jnp.array([[0.0, 0.0], [1.0, 0.2]])}
    found = exchanges.exchange(keys_, rows, rows, (), jnp.array([1, 0], jnp.int32), quantizer=_near())
    assert found.num_failures.tolist() == [1, 1]
    assert found.rows["a"].tolist() == [[0.0, 0.2], [1.0, 0.0]]


def test_running_distances_follow_what_is_seen():
    """Twice one's own steps before the first meeting, then the distance seen or half of what was known."""
    quantizer = _near(is_running=True)
    keys_, rows = jax.random.split(jax.random.key(0), 2), jnp.array([[0.0], [1.0]])
    partners = jnp.array([1, 0], jnp.int32)
    distances = exchanges.moved(jnp.zeros(2, jnp.float32), jnp.array([[0.1], [-0.3]]), quantizer=quantizer)
    np.testing.assert_allclose(distances, [0.2, 0.6], rtol=1e-6)
    found = exchanges.exchange(keys_, rows, rows, distances, partners, quantizer=quantizer)
    assert found.rows.tolist() == [[1.0], [0.0]]  # within 2 · 0.6
    assert found.distances.tolist() == [1.0, 1.0]
    again = exchanges.exchange(keys_, found.rows, found.rows, 10 * found.distances, partners, quantizer=quantizer)
    assert again.distances.tolist() == [5.0, 5.0]


def test_a_run_warns_of_what_was_decoded_wrongly_with_the_number():
    """And not where nothing was."""
    algorithm = swarm(quantizer=_near(), local_steps=1)
    start = functools.partial(run.run, params=settings.params(), data=DATA, num_steps=40, progress=False)
    with pytest.warns(RuntimeWarning, match=r"^\d+ messages were decoded into something else"):
        result = start(algorithm, key=jax.random.key(0), metrics={"failures": metrics.num_failures(1)})
    assert result.num_failures == result.history["failures"][1].sum() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert start(swarm(), key=jax.random.key(0)).num_failures == 0


# asynchronous gossip


def test_asynchronous_gossip_is_replayed():
    """Gradients at what was read, the average of a pair, then the update to one of them."""
    algorithm = asynchronous_gossip_sgd.build(
        settings.oracle, num_workers=N, step_size=0.25, topology=RING, clock=clocks.exponential()
    )
    before, after, info = trace(algorithm)
    seen = set()
    for t in range(T):
        (i,) = info.workers[t]
        rows, read = before["local_params"][t], before["read_params"][t]
        np.testing.assert_array_equal(info.views[t, 0], read[i])
        found = [
            j
            for j in ((i - 1) % N, (i + 1) % N)
            if np.allclose(after["local_params"][t][j], (rows[i] + rows[j]) / 2, atol=1e-12)
        ]
        expected = rows.copy()
        expected[found[0]] = (rows[i] + rows[found[0]]) / 2
        expected[i] = expected[found[0]] + info.updates[t, 0]
        np.testing.assert_allclose(after["local_params"][t], expected, atol=1e-12)
        np.testing.assert_array_equal(after["read_params"][t][i], after["local_params"][t][i])
        assert info.staleness[t, 0] == t - before["rest"].read_steps[t][i]
        seen.add((int(i), int(found[0])))
    assert len(seen) == 2 * N, "every worker asks both neighbours"


# devices


def test_a_swarm_on_four_devices_is_the_one_on_one():
    """Rows of both forms, in float32, to rounding."""
    num_workers, mesh = 8, devices.make_mesh(4)
    data = settings.quadratics(num_workers)
    for parallel in (False, True):
        algorithm = swarm_sgd.build(
            settings.oracle, num_workers=num_workers, step_size=0.1, mode="non_blocking", parallel=parallel
        )
        start = functools.partial(
            run.run,
            algorithm,
            settings.params(jnp.float32),
            data,
            num_steps=30,
            key=keys.unrolled(jax.random.key(0)),
            progress=False,
        )
        one, many = start().state, start(mesh=mesh).state
        for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
            np.testing.assert_allclose(first, second, atol=1e-6)
        assert not many.local_params["bias"].sharding.is_fully_replicated


# bad input


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_workers": 1}, r"^num_workers = 1 is out of range; it must be an integer >= 2"),
        ({"local_steps": 0}, r"^local_steps = 0 "),
        ({"topology": topologies.ring(4)}, r"^topology = ring\(4\) has 4 workers; it must have num_workers = 5"),
        ({"topology": _parted()}, r"^topology = parted falls into 2 parts; it must be connected"),
        ({"distribution": "poisson"}, r"^distribution = 'poisson' is unknown"),
        ({"mode": "nonblocking"}, r"^mode = 'nonblocking' is unknown.*non_blocking"),
        ({"quantizer": 8}, r"^quantizer = 8 "),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(given, message):
    """The argument, its value, and what it must be."""
    with pytest.raises((TypeError, ValueError), match=message):
        swarm(**given)


def test_a_loop_to_oneself_is_no_edge():
    """Refused in an adjacency, with the reason."""
    with pytest.raises(ValueError, match="must be symmetric and False on the diagonal"):
        topologies.from_adjacency(np.ones((3, 3), bool))


def test_too_few_levels_and_updates_are_refused():
    """Three levels at least; and a quantiser of parameters is none of updates."""
    with pytest.raises(ValueError, match=r"^num_levels = 2 is out of range; it must be an integer in \[3, 65536\]"):
        compressors.lattice(2)
    with pytest.raises(ValueError, match=r"^compressor = .* decodes with the receiver's own parameters"):
        choco_sgd.build(settings.oracle, num_workers=N, compressor=compressors.lattice(256))
