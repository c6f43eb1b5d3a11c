"""Schedules are what a queue of events does, replay bit for bit, and are told apart from what users wrote down."""

import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws import settings

from elastic_jax import algorithms, base, clocks, data, links, schedules, stacked
from elastic_jax.problems import cnn

RULES = {
    "k_sync": schedules.k_sync,
    "k_batch_sync": schedules.k_batch_sync,
    "k_async": schedules.k_async,
    "k_batch_async": schedules.k_batch_async,
}
SIZES = [(1, 1), (3, 2), (4, 4), (5, 1)]
NUM_ROUNDS = 40
TIMES = np.random.default_rng(0).gamma(2.0, size=(5, 400)).astype(np.float32)
KEY = jax.random.key(0)


def times_of(num_workers):
    """A clock without coins, and the same as functions of (worker, number)."""
    table = TIMES[:num_workers]
    return clocks.recorded(table), lambda worker, number: float(table[worker, number % 400])


def by_events(rule, num_workers, num_awaited, draw):
    """The four rules with a heap, in absolute times: for each update [(worker, read)], sorted, and when it was."""
    numbers, reads = [0] * num_workers, [0] * num_workers

    def begin(worker, now, read):
        reads[worker], numbers[worker] = read, numbers[worker] + 1
        return now + draw(worker, numbers[worker] - 1), worker

    queue = [begin(worker, 0.0, 0) for worker in range(num_workers)]
    heapq.heapify(queue)
    found, ends = [], []
    for update in range(NUM_ROUNDS):
        came = []
        for place in range(num_awaited):
            now, worker = heapq.heappop(queue)
            came.append((worker, reads[worker]))
            if "batch" in rule:
                is_last = place == num_awaited - 1
                heapq.heappush(queue, begin(worker, now, update + is_last * rule.endswith("_async")))
        if rule.endswith("_sync"):
            queue = [begin(worker, now, update + 1) for worker in range(num_workers)]
            heapq.heapify(queue)
        elif rule == "k_async":
            for worker in sorted(worker for worker, _ in came):
                heapq.heappush(queue, begin(worker, now, update + 1))
        found.append(sorted(came, key=lambda each: each[0]))
        ends.append(now)
    return found, np.diff(ends, prepend=0.0)


def as_pairs(table):
    return [list(zip(*row, strict=True)) for row in zip(table.workers.tolist(), table.read_steps.tolist(), strict=True)]


@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.parametrize("rule", RULES)
def test_a_server_that_waits_is_a_queue_of_events(rule, n, k):
    """Who comes with what, to the last integer; seconds to rounding."""
    clock, draw = times_of(n)
    table = schedules.record(RULES[rule](n, k, clock=clock), KEY, NUM_ROUNDS)
    pairs, elapsed = by_events(rule, n, k, draw)
    assert as_pairs(table) == pairs
    np.testing.assert_allclose(table.elapsed, elapsed, rtol=1e-4, atol=1e-4)
    counts = [[row[:place].count(worker) for place, worker in enumerate(row)] for row in table.workers.tolist()]
    assert table.repeats.tolist() == counts


@pytest.mark.parametrize(("n", "k"), [(1, 2), (4, 3), (5, 1)])
def test_what_was_begun_before_is_left_out(n, k):
    """Nobody is stopped: gradients at older parameters are awaited, not counted, and their workers begin at x_t."""
    clock, draw = times_of(n)
    table = schedules.record(schedules.k_batch_fresh(n, k, clock=clock), KEY, NUM_ROUNDS)
    queue = [(draw(worker, 0), worker, 0, 0) for worker in range(n)]
    heapq.heapify(queue)
    expected, num_left_out = [], 0
    for update in range(NUM_ROUNDS):
        came = []
        while len(came) < k:
            now, worker, read, number = heapq.heappop(queue)
            came += [worker] * (read == update)
            num_left_out += read < update
            next_read = update + (len(came) == k)
            heapq.heappush(queue, (now + draw(worker, number + 1), worker, next_read, number + 1))
        expected.append(sorted(came))
    assert table.workers.tolist() == expected
    assert np.all(table.read_steps == np.arange(NUM_ROUNDS)[:, None])
    assert table.elapsed.sum() == pytest.approx(now, rel=1e-4)
    assert (num_left_out > 0) == (n > 1)


@pytest.mark.parametrize(("rule", "wrong"), [("k_async", "k_batch_async"), ("k_sync", "k_async")])
def test_rules_are_not_taken_for_each_other(rule, wrong):
    """What the test above would see: a worker that restarts where it should rest, one that is not stopped."""
    clock, draw = times_of(5)
    table = schedules.record(RULES[wrong](5, 3, clock=clock), KEY, NUM_ROUNDS)
    assert as_pairs(table) != by_events(rule, 5, 3, draw)[0]


@pytest.mark.parametrize(("n", "k", "message"), [(4, 5, "num_awaited = 5 is out of range"), (0, 1, "num_workers = 0")])
def test_more_than_all_cannot_be_awaited(n, k, message):
    for rule in ("k_sync", "k_async"):
        with pytest.raises(ValueError, match=message):
            RULES[rule](n, k)
    assert schedules.k_batch_async(4, 9).num_awaited == 9


ASSIGNING = {
    "pure": schedules.pure,
    "random": schedules.random,
    "shuffled": schedules.shuffled,
    "shuffled_once": schedules.shuffled_once,
}


def assigned(schedule):
    """The state before each round and after the last, and the rounds."""
    step = jax.jit(schedule.next_round, static_argnums=3)
    states, rounds = [schedule.init(KEY, 0.0)], []
    for t in range(NUM_ROUNDS):
        state, found = step(jax.random.fold_in(KEY, t), states[-1], jnp.int32(t), 0.0)
        states.append(jax.tree.map(np.asarray, state))
        rounds.append(jax.tree.map(np.asarray, found))
    return states, rounds


@pytest.mark.parametrize(("c", "b"), [(None, 1), (1, 1), (5, 5), (3, 2)])
@pytest.mark.parametrize("rule", ASSIGNING)
def test_jobs_are_done_in_turn_by_those_they_are_given_to(rule, c, b):
    """Written down with queues of workers: the jobs given are read off the states, all else follows."""
    n = 5
    clock, draw = times_of(n)
    schedule = ASSIGNING[rule](n, num_awaited=b, num_jobs=c, clock=clock)
    states, rounds = assigned(schedule)
    numbers, free_at, jobs, now = [0] * n, [0.0] * n, {}, 0.0

    def give(slot, worker, read):
        free_at[worker] = max(free_at[worker], now) + draw(worker, numbers[worker])
        numbers[worker] += 1
        jobs[slot] = (free_at[worker], worker, read)

    given = states[0].workers.tolist()
    for slot, worker in enumerate(given):
        give(slot, worker, 0)
    for t, found in enumerate(rounds):
        first = sorted(jobs.items(), key=lambda item: item[1][0])[:b]
        now = first[-1][1][0]
        expected = sorted((worker, read) for _, (_, worker, read) in first)
        assert sorted(zip(found.workers.tolist(), found.read_steps.tolist(), strict=True)) == expected, t
        assert set(found.slots.tolist()) == {slot for slot, _ in first}
        for slot, (_, worker, _) in first:
            new = int(states[t + 1].workers[slot])
            assert rule != "pure" or new == worker
            give(slot, new, t + 1)
        total = float(sum(each.elapsed for each in rounds[: t + 1]))
        assert total == pytest.approx(now, rel=1e-4)
        assert states[t + 1].numbers.tolist() == numbers


def given_in_order(schedule):
    """The workers of all jobs, in the order in which they were given."""
    states, rounds = assigned(schedule)
    found = states[0].workers.tolist()
    for state, one in zip(states[1:], rounds, strict=True):
        order = np.argsort(one.slots) if one.slots.size == 1 else np.arange(one.slots.size)
        found += state.workers[one.slots[order]].tolist()
    return found


def test_permutations_give_everybody_as_many_jobs():
    """Of n in a row all are different: a permutation, drawn anew, or always the same."""
    for num_jobs in (1, 5):
        anew = np.array(given_in_order(schedules.shuffled(5, num_jobs=num_jobs)))[:40].reshape(-1, 5)
        once = np.array(given_in_order(schedules.shuffled_once(5, num_jobs=num_jobs)))[:40].reshape(-1, 5)
        assert np.all(np.sort(anew, axis=1) == np.arange(5))
        assert np.all(np.sort(once, axis=1) == np.arange(5))
        assert len(np.unique(anew, axis=0)) > 4
        assert len(np.unique(once, axis=0)) == 1
    table = schedules.record(schedules.shuffled(5, num_jobs=1), KEY, 10)
    assert np.all(table.read_steps[:, 0] == np.arange(10))


def test_random_jobs_are_uniform():
    table = schedules.record(schedules.random(4), KEY, 8000)
    counts = np.bincount(table.workers.ravel(), minlength=4)
    assert np.all(np.abs(counts - 2000) < 6 * np.sqrt(8000 * 3 / 16))
    fast = clocks.per_worker(clocks.exponential(), (1.0, 1.0, 1.0, 10.0))
    counts = np.bincount(schedules.record(schedules.pure(4, clock=fast), KEY, 8000).workers.ravel())
    assert counts[3] / 8000 == pytest.approx(10 / 13, abs=0.03)
    counts = np.bincount(schedules.record(schedules.random(4, clock=fast), KEY, 8000).workers.ravel())
    assert counts[3] / 8000 == pytest.approx(1 / 4, abs=0.03)


EVERY = {
    **{rule: make(4, 2) for rule, make in RULES.items()},
    "k_batch_async, 4": schedules.k_batch_async(4, 4),
    "pure": schedules.pure(4),
    "random, 2": schedules.random(4, num_awaited=2),
    "shuffled, 4": schedules.shuffled(4, num_awaited=4),
}


@functools.cache
def trained(name):
    """A run on one of these."""
    return train(EVERY[name])


def train(schedule, num_steps=12, **others):
    """x_0, ..., x_T and what happened, on different quadratics with noise."""
    given = {"num_workers": 4, "step_size": 0.25, "schedule": schedule, **others}
    algorithm = algorithms.variant("scheduled_sgd").build(settings.oracle, **given)
    return run(algorithm, num_steps)


def run(algorithm, num_steps=12):
    """The same of any algorithm."""
    data, step = settings.quadratics(4), jax.jit(algorithm.step)
    state, params, infos = algorithm.init(jax.random.fold_in(KEY, 0), settings.params()), [], []
    for t in range(num_steps):
        params.append(settings.flatten(algorithm.global_params(state)))
        keys = jnp.stack([jax.random.fold_in(KEY, t + 1), jax.random.key(77 + t)])
        state, info = step(keys, state, data)
        infos.append(info)
    return np.stack(params), jax.tree.map(lambda *leaves: np.stack(leaves), *infos)


@pytest.mark.parametrize("name", EVERY)
def test_a_recorded_schedule_replays_bit_for_bit(name):
    """The rounds, and a training run on them."""
    schedule = EVERY[name]
    table = schedules.record(schedule, KEY, 12)
    again = schedules.replay(table, num_workers=4)
    jax.tree.map(np.testing.assert_array_equal, schedules.record(again, jax.random.key(5), 12), table)
    (first, one), (second, other) = trained(name), train(again)
    np.testing.assert_array_equal(first, second)
    for field in ("workers", "staleness", "elapsed", "losses"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), field)


@pytest.mark.parametrize("name", RULES)
def test_a_variant_is_its_schedule(name):
    """`k_async_sgd` is `scheduled_sgd` on `schedules.k_async`, step for step; the same of the three others."""
    special = algorithms.variant(f"{name}_sgd").build(
        settings.oracle, num_workers=4, step_size=0.25, num_awaited=3, clock=clocks.gamma(2.0)
    )
    found, info = run(special)
    expected, other = train(RULES[name](4, 3, clock=clocks.gamma(2.0)))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(info.workers, other.workers)


@pytest.mark.parametrize("name", EVERY)
def test_views_are_past_parameters(name):
    """They are x_s with s = t - staleness, bit for bit."""
    params, info = trained(name)
    for t, k in np.ndindex(info.workers.shape):
        view = settings.flatten(jax.tree.map(lambda leaf, t=t, k=k: leaf[t, k], info.views))
        np.testing.assert_array_equal(view, params[t - info.staleness[t, k]])


def test_several_gradients_of_one_worker_are_of_different_samples():
    """In one update; and K = n gradients of whomever are each of their own worker's data."""
    table = schedules.replay(schedules.record(schedules.k_batch_sync(4, 4), jax.random.key(2), 12), num_workers=4)
    assert table.may_repeat
    _, info = train(table)
    for row in range(12):
        grads = np.concatenate([leaf[row].reshape(4, -1) for leaf in jax.tree.leaves(info.grads)], axis=1)
        assert len(np.unique(grads, axis=0)) == 4
    asked = []

    def oracle(keys, views, data, workers):
        asked.append(workers.shape[0])
        assert workers.shape[0] < 4, "an oracle takes n gradients for those of all workers, in order"
        return jnp.zeros(workers.shape[0]), jax.tree.map(
            lambda leaf: jnp.broadcast_to(workers.astype(float).reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape), views
        )

    algorithm = algorithms.variant("scheduled_sgd").build(oracle, num_workers=4, schedule=table)
    _, info = jax.jit(algorithm.step)(KEY, algorithm.init(KEY, jnp.zeros(2)), ())
    np.testing.assert_array_equal(info.grads[:, 0], info.workers)
    assert sum(asked) == 4


@pytest.mark.parametrize("name", RULES)
def test_only_the_gradients_of_an_update_are_computed(name):
    """K, not n: what is cancelled, or goes on, costs nothing."""
    rows = []

    def oracle(keys, views, data, workers):
        rows.append(workers.shape[0])
        return jnp.zeros(workers.shape[0]), views

    algorithm = algorithms.variant(f"{name}_sgd").build(oracle, num_workers=8, num_awaited=3)
    jax.eval_shape(algorithm.step, KEY, jax.eval_shape(algorithm.init, KEY, jnp.zeros(2)), ())
    assert rows == [3]


def test_the_optimiser_of_the_server_takes_the_mean():
    """Adam on the mean of K gradients; `updates` and `shift` add up to its step."""
    with jax.numpy_dtype_promotion("standard"):
        optimizer = optax.adam(0.1)
        params, info = train(schedules.k_async(4, 2), step_size=None, optimizer=optimizer, num_steps=6)
        state, x = optimizer.init(jnp.asarray(params[0])), jnp.asarray(params[0])
        for t in range(5):
            grads = np.concatenate([leaf[t].reshape(2, -1) for leaf in jax.tree.leaves(info.grads)], axis=1)
            update, state = optimizer.update(jnp.asarray(grads.mean(axis=0)), state, x)
            x = x + update
            np.testing.assert_allclose(x, params[t + 1], rtol=1e-9, atol=1e-12)
        moved = [
            np.concatenate(
                [np.einsum("k,k...->...", info.weights[t], leaf[t]).ravel() for leaf in jax.tree.leaves(info.updates)]
            )
            + settings.flatten(jax.tree.map(lambda leaf, t=t: leaf[t], info.shift))
            for t in range(5)
        ]
        np.testing.assert_allclose(np.stack(moved), np.diff(params, axis=0)[:5], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["k_async", "k_batch_async"])
def test_staleness_is_compensated_by_distance(name):
    """α_k = min(C/‖x - v‖², α), gradient by gradient; fresh ones have α."""
    limit = 0.02
    algorithm = algorithms.variant(f"{name}_sgd").build(
        settings.oracle, num_workers=4, step_size=0.25, num_awaited=2, staleness_compensation=limit
    )
    params, info = run(algorithm, 20)
    views = np.concatenate([leaf.reshape(20, 2, -1) for leaf in jax.tree.leaves(info.views)], axis=2)
    distances = np.sum((views - params[:, None]) ** 2, axis=2)
    sizes = 0.25 * 2 * info.weights
    expected = np.minimum(limit / np.maximum(distances, 1e-30), 0.25)
    np.testing.assert_allclose(sizes, expected, rtol=1e-6)
    assert np.any(sizes < 0.2)
    assert np.all(sizes[info.staleness == 0] == 0.25)
    assert np.all(sizes * distances <= limit * (1 + 1e-6))
    with pytest.raises(ValueError, match=r"^staleness_compensation = 0.1 needs a step size that is a number"):
        algorithms.variant(f"{name}_sgd").build(
            settings.oracle, num_workers=4, optimizer=optax.adam(0.1), staleness_compensation=0.1
        )


@pytest.mark.parametrize("name", ["k_sync_sgd", "k_batch_async_sgd", "scheduled_sgd"])
def test_messages_take_time(name):
    """Constant times: an update is later by two messages, of all parameters there and back."""
    build = algorithms.variant(name).build
    part = {"clock": clocks.constant(2.0), "num_awaited": 4}
    if name == "scheduled_sgd":
        part = {"schedule": schedules.k_sync(4, 4, clock=clocks.constant(2.0))}
    _, plain = run(build(settings.oracle, num_workers=4, **part), 1)
    _, slow = run(build(settings.oracle, num_workers=4, link=links.link(0.25, 1e4), **part), 1)
    bits = 8 * stacked.num_bytes(settings.params())
    assert plain.elapsed[0] == 2.0
    assert slow.elapsed[0] == pytest.approx(2.0 + 2 * (0.25 + bits / 1e4), rel=1e-6)
    assert np.all(slow.bits_sent == bits)


@pytest.mark.parametrize(
    ("name", "part", "has_message"),
    [
        ("parameter_server_sgd", {}, [True] * 4),
        ("asynchronous_gossip_sgd", {}, [True] * 4),
        ("asynchronous_elastic_averaging_sgd", {"period": 1}, [True] * 4),
        ("asynchronous_elastic_averaging_sgd", {"period": 3}, [False, False, True, False]),
    ],
)
def test_messages_take_time_of_one_worker_after_the_other(name, part, has_message):
    """Of two workers with equal, constant times: when each comes for the first time, the second time, and so on."""
    build = functools.partial(algorithms.variant(name).build, num_workers=2, clock=clocks.constant(2.0), **part)
    _, info = run(build(settings.oracle, link=links.link(0.25, 1e4)), 8)
    each = 2 * (0.25 + 8 * stacked.num_bytes(settings.params()) / 1e4)
    came = np.cumsum(2.0 + each * np.array(has_message, float))
    np.testing.assert_allclose(np.cumsum(info.elapsed), np.repeat(came, 2), rtol=1e-6)
    np.testing.assert_array_equal(info.workers[:, 0], [0, 1] * 4)


def test_a_schedule_is_found_in_what_a_machine_wrote_down(tmp_path):
    """What a server that waits for K gradients writes is its own schedule, with or without what was read."""
    clock, _ = times_of(5)
    table = schedules.record(schedules.k_batch_async(5, 1, clock=clock), KEY, 30)
    seconds = np.cumsum(table.elapsed, dtype=np.float64)
    lines = zip(seconds.tolist(), table.workers[:, 0].tolist(), table.read_steps[:, 0].tolist(), strict=True)
    text = "".join(f"{now!r},{worker},{read}\n" for now, worker, read in lines)
    (tmp_path / "all.csv").write_text("seconds,worker,read\n" + text, encoding="utf-8")
    (tmp_path / "some.csv").write_text(
        "seconds,worker\n" + "".join(line.rsplit(",", 1)[0] + "\n" for line in text.splitlines()), encoding="utf-8"
    )
    for name in ("all.csv", "some.csv"):
        found = schedules.record(schedules.from_csv(tmp_path / name, num_workers=5), KEY, 30)
        np.testing.assert_array_equal(found.workers, table.workers)
        np.testing.assert_array_equal(found.read_steps, table.read_steps)
        np.testing.assert_allclose(found.elapsed, table.elapsed, rtol=1e-4, atol=1e-5)
    assert schedules.from_csv(tmp_path / "all.csv", num_workers=5).num_slots == 1 + int(
        (np.arange(30) - table.read_steps[:, 0]).max()
    )
    with pytest.raises(ValueError, match="has 30 lines; it must have num_awaited = 31 at least"):
        schedules.from_csv(tmp_path / "some.csv", num_workers=5, num_awaited=31)


def test_updates_of_several_lines(tmp_path):
    """K = 2: who comes first within an update has read before it, and reads it once it is complete."""
    path = tmp_path / "trace.csv"
    path.write_text("seconds,worker\n1,1\n2,0\n3,0\n3,1\n4.5,1\n5,1\n6,0\n", encoding="utf-8")
    table = schedules.record(schedules.from_csv(path, num_workers=2, num_awaited=2), KEY, 3)
    assert table.workers.tolist() == [[0, 1], [0, 1], [1, 1]]
    assert table.read_steps.tolist() == [[0, 0], [1, 0], [2, 2]]
    assert table.repeats.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert table.elapsed.tolist() == [2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds,worker\n1,0\n0.5,1\n", "line 3: seconds = 0.5 is less than 1 in the line before"),
        ("seconds,worker\n1,0\n2,7\n", r"line 3: worker = 7 is unknown; it must be an integer in \[0, 1\]"),
        ("seconds,worker\n-1,0\n", "line 2: seconds = '-1'; it must be a finite number >= 0"),
        ("seconds,worker,read\n1,0,0\n2,1,2\n", r"line 3: read = '2'; it must be an integer in \[0, 1\]"),
        ("seconds\n1\n", "lack 'worker'"),
    ],
)
def test_wrong_traces_are_told_with_their_line(text, message, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        schedules.from_csv(path, num_workers=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": np.full((3, 2), 9)}, r"^table has the worker 9; it must be in \[0, 3\]"),
        (
            {"read_steps": np.full((3, 2), 2)},
            "^table has a gradient of update 0 at x_2; it must be one of x_0, ..., x_0",
        ),
        ({"elapsed": np.array([1.0, -1.0, 1.0])}, "^table has elapsed = -1.0 in round 1; it must be >= 0"),
        ({"workers": np.zeros(3)}, r"^table has workers \[3\]; it must be int32\[T, K\]"),
    ],
)
def test_wrong_tables_are_named(change, message):
    table = schedules.record(schedules.k_async(4, 2), KEY, 3)
    with pytest.raises(ValueError, match=message):
        schedules.replay(table._replace(**change), num_workers=4)


def test_a_schedule_is_for_its_workers():
    build = algorithms.variant("scheduled_sgd").build
    with pytest.raises(ValueError, match=r"^schedule = one of 5 workers; it must have num_workers = 4"):
        build(settings.oracle, num_workers=4, schedule=schedules.k_async(5, 2))
    assert build(settings.oracle, num_workers=4, schedule=schedules.pure).num_workers == 4
    assert isinstance(build(settings.oracle, num_workers=3), base.Algorithm)


def test_ten_thousand_workers_are_no_trouble():
    """Schedules alone, without parameters."""
    table = schedules.record(schedules.k_batch_async(10_000, 4), KEY, 200)
    assert table.workers.shape == (200, 4)
    assert table.elapsed.mean() == pytest.approx(4 / 10_000, rel=0.2)


def delays_in_updates(info):
    """By arrivals, from weights and ages alone: how many gradients had been applied since each was read."""
    applied = np.concatenate([[0], np.cumsum(info.weights[:, 0] > 0)])
    steps = np.arange(len(info.weights))
    return applied[steps] - applied[steps - info.staleness[:, 0]]


@pytest.mark.parametrize(("is_strict", "largest"), [(True, 2), (False, 3)])
def test_gradients_from_the_threshold_on_are_left_out(is_strict, largest):
    """R = 3: those with δ < R are applied, or δ <= R; each of them occurs, and older ones come with weight 0."""
    build = algorithms.variant("ringmaster_sgd").build
    given = {"num_workers": 4, "threshold": 3, "is_strict": is_strict, "clock": clocks.gamma(0.5)}
    params, info = run(build(settings.oracle, **given), 120)
    delays, is_used = delays_in_updates(info), info.weights[:, 0] > 0
    np.testing.assert_array_equal(is_used, delays <= largest)
    assert delays[is_used].max() == largest
    assert delays.max() > largest
    np.testing.assert_array_equal(np.any(np.diff(params, axis=0) != 0, axis=1), is_used[:-1])
    _, stopped = run(build(settings.oracle, stops=True, **given), 120)
    assert np.all(stopped.weights == 1)
    assert delays_in_updates(stopped).max() == largest


@pytest.mark.parametrize("rule", ["proportional", "drop"])
def test_steps_are_smaller_for_late_gradients(rule):
    """ρ = M/max(M, τ), or 0 beyond M."""
    algorithm = algorithms.variant("delay_adaptive_sgd").build(settings.oracle, num_workers=4, threshold=2, rule=rule)
    _, info = run(algorithm, 60)
    shares = {"proportional": 2 / np.maximum(2, info.staleness), "drop": info.staleness <= 2}
    np.testing.assert_allclose(info.weights, shares[rule], rtol=1e-6)
    assert info.staleness.max() > 2


class Counted:
    """An oracle that knows how many gradients it was asked for."""

    def __init__(self, oracle):
        """Nothing was asked yet."""
        self.oracle, self.num_rows = oracle, 0

    def __call__(self, keys, views, data, workers):
        self.num_rows += workers.shape[0]
        return self.oracle(keys, views, data, workers)


def flops(algorithm, problem):
    """Of one step, as XLA counts them."""
    state = algorithm.init(KEY, problem.init(KEY))
    return jax.jit(algorithm.step).lower(KEY, state, problem.data).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(("name", "k"), [("k_async_sgd", 2), ("k_batch_async_sgd", 2), ("k_sync_sgd", 2)])
def test_no_gradient_is_computed_that_is_not_used(name, k):
    """On a convolutional network, of 8 workers: the rows that the oracle is asked for, and operations as compiled.

    One that computes all 8 and takes K of them would be told: its operations are those of K = 8.
    """
    problem = cnn.build(num_workers=8, dataset=data.load("digits"), channels=(2,), batch_size=2, strategy="vmap")
    build = functools.partial(algorithms.variant(name).build, num_workers=8)
    counted = Counted(problem.oracle)
    few, all_of_them = build(counted, num_awaited=k), build(problem.oracle, num_awaited=8)
    jax.eval_shape(few.step, KEY, few.init(KEY, problem.init(KEY)), problem.data)
    assert counted.num_rows == k
    assert flops(few, problem) < 1.2 * k / 8 * flops(all_of_them, problem)


def test_the_first_that_are_done_are_those_of_a_sort():
    """Equal times in the order of their places; ∞ is last."""
    times = np.random.default_rng(0).integers(0, 5, (50, 12)).astype(np.float32)
    times[times == 4] = np.inf
    for number in (1, 2, 12):
        places, last = jax.jit(jax.vmap(functools.partial(schedules.first_done, number=number)))(times)
        expected = np.argsort(times, axis=1, kind="stable")[:, :number]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(last, np.take_along_axis(times, expected, 1)[:, -1])
        assert places.dtype == jnp.int32


def test_no_second_moment_is_known_where_messages_take_time():
    """Exponential times and a message are not memoryless; who is never stale stays so."""
    slow, fast = links.link(0.1), links.link()
    stale, fresh = schedules.k_async(4, 2), schedules.k_sync(4, 2)
    assert stale.staleness_second_moment == stale.with_link(fast).staleness_second_moment > 0
    assert stale.with_link(slow).staleness_second_moment is None
    assert fresh.with_link(slow).staleness_second_moment == 0
    constants = base.Constants(grad_second_moment=1.0)
    for name in (
        "k_async_sgd",
        "k_batch_async_sgd",
        "adasync_sgd",
        "scheduled_sgd",
        "delay_adaptive_sgd",
        "parameter_server_sgd",
    ):
        bounds = [
            algorithms.variant(name)
            .build(settings.oracle, num_workers=4, link=link)
            .consistency_bound(constants, settings.params())
            for link in (slow, links.link(bandwidth=1e6))
        ]
        assert bounds == [None, None], name
