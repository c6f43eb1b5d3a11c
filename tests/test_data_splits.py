"""Splits and host-fed batches: who holds which examples, and that nobody sees another's."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_jax import data, oracles

no_deadline = settings(deadline=None, max_examples=60)

cases = st.tuples(
    st.sampled_from(["iid", "by_label", "dirichlet"]),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 7),
    st.floats(1e-3, 1e6),
    st.integers(0, 2**64),
).map(lambda case: (case[0], case[1], min(case[2], case[1]), *case[3:]))


def split_of(case):
    split, num_examples, num_workers, num_labels, alpha, seed = case
    labels = np.random.default_rng(seed).integers(0, num_labels, num_examples)
    return {
        "num_workers": num_workers,
        "split": split,
        "labels": labels,
        "alpha": alpha if split == "dirichlet" else None,
        "seed": seed,
    }


@no_deadline
@given(cases)
def test_every_example_belongs_to_exactly_one_worker(case):
    """The parts are disjoint, together everything, and none is empty, for all arguments."""
    parts = data.partition(case[1], **split_of(case))
    assert len(parts) == case[2]
    assert min(map(len, parts)) >= 1
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(case[1]))


@no_deadline
@given(cases)
def test_equal_arguments_give_equal_partitions(case):
    again = [data.partition(case[1], **split_of(case)) for _ in range(2)]
    for first, second in zip(*again, strict=True):
        np.testing.assert_array_equal(first, second)


@no_deadline
@given(cases)
def test_sizes_differ_by_one_at_most_but_for_dirichlet(case):
    sizes = [len(part) for part in data.partition(case[1], **split_of(case))]
    if case[0] != "dirichlet":
        assert max(sizes) - min(sizes) <= 1


@no_deadline
@given(cases.filter(lambda case: case[0] == "by_label"))
def test_by_label_cuts_the_sorted_examples_in_runs(case):
    """The labels of a worker are none below those of the worker before it."""
    arguments = split_of(case)
    labels = [arguments["labels"][part] for part in data.partition(case[1], **arguments)]
    for before, after in itertools.pairwise(labels):
        assert before.max() <= after.min()


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 3), st.floats(0.1, 10.0), st.integers(0, 10**6))
def test_dirichlet_keeps_the_smallest_size(num_workers, min_size, spare, alpha, seed):
    """Also where n · min_size = m leaves one partition of sizes only."""
    num_examples = num_workers * min_size + spare
    parts = data.partition(
        num_examples,
        num_workers=num_workers,
        split="dirichlet",
        labels=np.arange(num_examples) % 3,
        alpha=alpha,
        seed=seed,
        min_size=min_size,
    )
    assert min(map(len, parts)) >= min_size
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(num_examples))


def shares(alpha, seed=0, num_workers=4, num_labels=5, per_label=1000):
    """float[num_workers, num_labels]: share of each label that each worker holds."""
    labels = np.repeat(np.arange(num_labels), per_label)
    parts = data.partition(
        len(labels), num_workers=num_workers, split="dirichlet", labels=labels, alpha=alpha, seed=seed
    )
    return np.stack([np.bincount(labels[part], minlength=num_labels) for part in parts]) / per_label


def test_dirichlet_goes_from_one_worker_for_each_label_to_iid():
    """As alpha -> 0 a label lies with one worker; as alpha -> infinity each worker has 1/n of each label."""
    assert shares(1e-3).max(axis=0).min() > 0.98
    np.testing.assert_allclose(shares(1e6), 0.25, atol=0.003)
    assert len(set(shares(1e-3, num_labels=30).argmax(axis=0).tolist())) == 4


def test_dirichlet_shares_have_the_moments_of_the_distribution():
    """Var p_i = (n - 1) / (n² (n α + 1)), over 2,000 draws of a label, within 10 %."""
    for alpha in (0.3, 2.0):
        drawn = np.concatenate([shares(alpha, seed, per_label=200) for seed in range(400)], axis=1)
        assert drawn.mean() == pytest.approx(0.25)
        assert drawn.var() == pytest.approx(3 / (16 * (4 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("split", ["iid", "by_label", "dirichlet"])
def test_the_seed_matters(split):
    alpha = 1.0 if split == "dirichlet" else None
    labels = np.arange(200) % 4
    parts = [data.partition(200, num_workers=5, split=split, labels=labels, alpha=alpha, seed=seed) for seed in (0, 1)]
    assert any(not np.array_equal(a, b) for a, b in zip(*parts, strict=True))


def test_iid_shards_are_random():
    """They are no runs of the data, which may be sorted: the mean label of a worker is that of all."""
    labels = np.repeat(np.arange(10), 1000)
    for part in data.partition(10_000, num_workers=10, seed=3):
        assert abs(labels[part].mean() - 4.5) < 0.4


@settings(deadline=None, max_examples=25)
@given(cases)
def test_shards_hold_each_example_once_and_repeat_from_the_beginning(case):
    """The real parts are the partition; the padding of a worker is its own shard again, in order."""
    examples = {"number": np.arange(case[1], dtype=np.int32), "image": np.zeros((case[1], 2, 1), np.uint8)}
    parts = data.partition(case[1], **split_of(case))
    shards = data.shard(examples, **split_of(case))
    numbers, sizes = np.asarray(shards.examples["number"]), np.asarray(shards.sizes)
    assert shards.sizes.dtype == jnp.int32
    assert shards.examples["image"].dtype == jnp.uint8
    assert numbers.shape == (case[2], max(sizes))
    assert shards.examples["image"].shape == (*numbers.shape, 2, 1)
    for part, row, size in zip(parts, numbers, sizes, strict=True):
        np.testing.assert_array_equal(row[:size], part)
        np.testing.assert_array_equal(row, part[np.arange(len(row)) % size])


def test_an_oracle_on_shards_sees_each_workers_own_examples_only(key):
    """Roll call: the loss is the number of the example, which is one of the worker that reports it."""
    labels = np.arange(50) % 3
    split = {"num_workers": 4, "split": "dirichlet", "labels": labels, "alpha": 0.3, "seed": 7}
    parts = data.partition(50, **split)
    shards = data.shard({"number": np.arange(50.0)}, **split)
    oracle = oracles.from_loss(_number, batch_size=1)
    seen = [set() for _ in parts]
    views, workers = jnp.zeros((4, 1)), jnp.arange(4, dtype=jnp.int32)
    evaluate = jax.jit(oracle)
    for step in range(60):
        keys = jax.random.split(jax.random.fold_in(key, step), 4)
        for worker, loss in enumerate(evaluate(keys, views, shards, workers)[0]):
            seen[worker].add(int(loss))
    for part, numbers in zip(parts, seen, strict=True):
        assert numbers <= set(part.tolist())
        assert len(numbers) >= min(len(part), 5)


def _number(params, batch):
    return batch["number"][0] + 0.0 * params[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_workers": 11}, ValueError, r"num_workers = 11 .* in \[1, 10\]"),
        ({"num_workers": 0}, ValueError, "num_workers = 0"),
        ({"num_workers": 2.0}, TypeError, "num_workers = 2.0"),
        ({"split": "label"}, ValueError, "split = 'label' is unknown; did you mean 'by_label'"),
        ({"split": "by_label"}, ValueError, "labels = None with split = 'by_label'"),
        ({"split": "dirichlet", "labels": np.zeros(10, int)}, ValueError, "alpha = None"),
        ({"split": "dirichlet", "labels": np.zeros(10, int), "alpha": 0.0}, ValueError, "alpha = 0.0"),
        ({"split": "dirichlet", "labels": np.zeros(9, int), "alpha": 1.0}, ValueError, r"shape \[9\]"),
        ({"split": "dirichlet", "labels": np.zeros(10), "alpha": 1.0}, ValueError, "dtype float64"),
        ({"alpha": 1.0}, ValueError, "alpha = 1.0 is given with split = 'iid'"),
        ({"seed": -1}, ValueError, "seed = -1"),
        ({"min_size": 6}, ValueError, r"min_size = 6 .* in \[1, 5\]"),
    ],
)
def test_wrong_arguments_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        data.shard(np.arange(10), **{"num_workers": 2, **changes})


def test_leaves_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"examples\['a'\] of shape \[3\], examples\['b'\] of shape \[4\]"):
        data.shard({"a": np.zeros(3), "b": np.zeros(4)}, num_workers=1)
    for empty in ((), np.zeros((0, 3)), np.float32(1)):
        with pytest.raises(ValueError, match="examples"):
            data.shard(empty, num_workers=1)


def numbers(count=40):
    return {"number": np.arange(count), "image": np.arange(count, dtype=np.uint8)[:, None]}


def test_fed_batches_come_from_the_workers_own_shard():
    """Every number in row i is of shard i, in 300 batches every number of it occurs, pairs stay together."""
    split = {"num_workers": 5, "split": "dirichlet", "labels": np.arange(40) % 3, "alpha": 0.5, "seed": 2}
    parts = data.partition(40, **split)
    feed = data.batches(numbers(), batch_size=3, **split)
    seen = [set() for _ in parts]
    for _ in range(300):
        batch = next(feed)
        assert batch["number"].shape == (5, 3)
        assert batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["number"], batch["image"][..., 0])
        for worker, row in enumerate(batch["number"]):
            seen[worker].update(row.tolist())
    assert seen == [set(part.tolist()) for part in parts]


def test_fed_batches_are_drawn_uniformly_with_replacement():
    """Each of 4 examples has 1/4 of 8,000 draws to within 5 standard deviations, and repeats inside a batch."""
    feed = data.batches(np.arange(4), num_workers=1, batch_size=8, seed=1)
    drawn = np.concatenate([next(feed)[0] for _ in range(1000)])
    counts = np.bincount(drawn, minlength=4)
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(8000 * 3 / 16)


def test_a_feed_that_starts_at_t_goes_on_with_batch_t():
    feed = data.batches(numbers(), num_workers=4, batch_size=2, seed=5)
    whole = [next(feed)["number"] for _ in range(7)]
    rest = data.batches(numbers(), num_workers=4, batch_size=2, seed=5, start=4)
    for expected in whole[4:]:
        np.testing.assert_array_equal(next(rest)["number"], expected)
    assert len({batch.tobytes() for batch in whole}) == 7
    other = data.batches(numbers(), num_workers=4, batch_size=2, seed=6)
    assert any(not np.array_equal(next(other)["number"], batch) for batch in whole)


def test_a_data_set_feeds_its_training_pairs():
    digits = data.load("digits")
    inputs, targets = next(data.batches(digits, num_workers=10, batch_size=4, split="by_label", alpha=None, seed=0))
    assert inputs.shape == (10, 4, 8, 8, 1)
    for worker in range(10):  # 1,442 images in runs of about 144: a worker has two neighbouring labels at most
        assert set(targets[worker].tolist()) <= {worker - 1, worker, worker + 1}


def test_a_memory_map_is_indexed_and_not_copied(tmp_path):
    """What is written to the file after the feed was made is what the feed gives."""
    rows = np.memmap(tmp_path / "rows", np.uint8, mode="w+", shape=(100, 8))
    feed = data.batches(rows, num_workers=2, batch_size=2)
    rows[:] = 9
    np.testing.assert_array_equal(next(feed), np.full((2, 2, 8), 9))


def test_wrong_arguments_are_named_before_the_first_batch():
    with pytest.raises(ValueError, match="batch_size = 0"):
        data.batches(numbers(), num_workers=2, batch_size=0)
    with pytest.raises(ValueError, match="start = -1"):
        data.batches(numbers(), num_workers=2, batch_size=1, start=-1)
    with pytest.raises(ValueError, match="num_workers = 41"):
        data.batches(numbers(), num_workers=41, batch_size=1)


class Source:
    """A source as a user writes one: examples are made when they are asked for."""

    def __len__(self):
        return 21

    def __getitem__(self, index):
        return {"number": np.int32(index), "image": np.full((2, 2, 1), index, np.uint8)}


@pytest.mark.parametrize("num_threads", [0, 2])
def test_grain_goes_through_each_shard_once_an_epoch_in_a_new_order(num_threads):
    """Rows of worker i are epochs of shard i: each example once; the next epoch has another order."""
    pytest.importorskip("grain", reason="the extra `grain` is not installed")
    parts = data.partition(21, num_workers=3, seed=4)
    feed = iter(data.grain_batches(Source(), num_workers=3, batch_size=7, seed=4, num_threads=num_threads))
    epochs = [next(feed) for _ in range(4)]
    for epoch in epochs:
        assert epoch["image"].shape == (3, 7, 2, 2, 1)
        assert epoch["image"].dtype == np.uint8
        np.testing.assert_array_equal(epoch["number"], epoch["image"][..., 0, 0, 0])
        for part, row in zip(parts, epoch["number"], strict=True):
            np.testing.assert_array_equal(np.sort(row), np.sort(part))
    assert len({epoch["number"].tobytes() for epoch in epochs}) == 4


def test_grain_goes_on_from_a_saved_state():
    pytest.importorskip("grain", reason="the extra `grain` is not installed")
    arguments = {"num_workers": 3, "batch_size": 4, "seed": 1, "num_threads": 1}
    feed = iter(data.grain_batches(Source(), **arguments))
    for _ in range(3):
        next(feed)
    state = feed.get_state()
    expected = [next(feed)["number"] for _ in range(3)]
    fresh = iter(data.grain_batches(Source(), **arguments))
    fresh.set_state(state)
    for batch in expected:
        np.testing.assert_array_equal(next(fresh)["number"], batch)


def test_without_grain_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"elastic-jax\[grain\]"):
        data.grain_batches(Source(), num_workers=3, batch_size=4)


def test_a_source_without_length_is_refused():
    with pytest.raises(TypeError, match="source is a generator"):
        data.grain_batches((i for i in range(3)), num_workers=1, batch_size=1)
