"""Compressors keep what they promise, cost the bits they publish, and satisfy their exact identities."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jax import lax

from elastic_jax import compressors, stacked
from elastic_jax.compressors import scopes, selection, sparsifiers

KEY = jax.random.key(0)
# whole numbers: sums of their squares are exact, and ties and zeros are frequent
MESSAGES = arrays.arrays(np.float64, st.integers(1, 12), elements=st.integers(-4, 4).map(float))
CONTRACTIONS = {
    "identity": compressors.identity(),
    "top_k": compressors.top_k(0.3),
    "top_k of the model": compressors.top_k(0.3, scope="model"),
    "random_k": compressors.random_k(0.3),
    "random_k scaled": compressors.random_k(0.75, is_scaled=True),
    "scaled_sign": compressors.scaled_sign(),
    "scaled_sign of the model": compressors.scaled_sign(scope="model"),
    "two_means": compressors.two_means(),
    "two_means of the model": compressors.two_means(scope="model"),
    "qsgd": compressors.qsgd(2),
    "qsgd of the model": compressors.qsgd(3, scope="model"),
    "terngrad": compressors.terngrad(),
    "powers_of_two": compressors.powers_of_two(),
    "powers_of_two of the model": compressors.powers_of_two(3, scope="model"),
    "contracted random_k": compressors.contracted(compressors.random_k(0.3, is_scaled=True)),
    "contracted qsgd": compressors.contracted(compressors.qsgd(1)),
    "contracted terngrad of the model": compressors.contracted(compressors.terngrad(scope="model")),
}


def compressed(compressor, message, key=KEY):
    return np.asarray(compressors.compress(compressor, key, jnp.asarray(message)))


def tree():
    """A message of two leaves of different length and scale."""
    return {"bias": jnp.array([3.0, -1.0, 0.5, 2.0, 0.0]), "weight": 10 * jnp.arange(-3.0, 3.0).reshape(2, 3)}


def norm_sq(message):
    return sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(message))


def residual_sq(compressor, key, message):
    lost = jax.tree.map(jnp.subtract, message, compressors.compress(compressor, key, message))
    return norm_sq(lost)


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_contraction_factor_holds(name):
    """‖C(w) - w‖² <= (1 - δ) ‖w‖² for every draw if pathwise, else in the mean (5 standard errors)."""
    compressor, message = CONTRACTIONS[name], tree()
    kept = compressor.contraction_factor(message)
    keys = jax.random.split(KEY, 1 if compressor.is_pathwise else 400)
    messages = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(keys), *leaf.shape)), message)
    lost = jax.tree.map(jnp.subtract, messages, compressors.compress_rows(compressor, keys, messages))
    residuals = np.asarray(stacked.norms_sq(lost)) / norm_sq(message)
    error = residuals.std() / math.sqrt(len(keys))
    assert 0 < kept <= 1
    assert residuals.mean() - 5 * error <= 1 - kept + 1e-12
    assert compressors.residual_fraction(compressor, message) == 1 - kept


@settings(deadline=None, max_examples=60)
@given(MESSAGES, st.integers(1, 12))
def test_top_k_identities(message, kept):
    """Exactly k entries; ⟨C, w - C⟩ = 0; ‖w‖² = ‖C‖² + ‖w - C‖²; what is lost are the d - k smallest."""
    d = message.size
    kept = min(kept, d)
    sent = compressed(compressors.top_k(kept / d), message)
    rest = message - sent
    # numpy is the judge: a stable sort by descending magnitude puts the lowest index first among ties
    expected = np.zeros(d)
    best = np.argsort(-np.abs(message), kind="stable")[:kept]
    expected[best] = message[best]
    np.testing.assert_array_equal(sent, expected)
    assert sent @ rest == 0
    assert message @ message == sent @ sent + rest @ rest
    assert rest @ rest == np.sum(np.sort(message**2)[: d - kept])


@settings(deadline=None, max_examples=60)
@given(MESSAGES)
def test_scaled_sign_identities(message):
    """‖w - C‖² = ‖w‖² - ‖w‖₁²/d, ⟨C, w⟩ = ‖C‖², and sign(0) = +1."""
    d, sent = message.size, compressed(compressors.scaled_sign(), message)
    scale = np.abs(message).sum() / d
    np.testing.assert_allclose(sent, np.where(message < 0, -scale, scale), rtol=1e-15)
    np.testing.assert_allclose(norm_sq(message - sent), norm_sq(message) - d * scale**2, atol=1e-12)
    np.testing.assert_allclose(sent @ message, sent @ sent, rtol=1e-12)


def test_a_sign_with_the_wrong_scale_is_no_contraction():
    """The negative control: (‖w‖₂/√d) sign(w) loses 1.293 ‖w‖² of one entry in eight."""
    entry = np.eye(8)[0]
    wrong = np.linalg.norm(entry) / math.sqrt(8) * np.ones(8)
    assert norm_sq(wrong - entry) == pytest.approx(2 - 2 / math.sqrt(8))
    right = compressed(compressors.scaled_sign(), entry)
    assert norm_sq(right - entry) == pytest.approx(1 - 1 / 8)  # δ = 1/d is attained


def test_top_k_attains_its_factor_on_a_flat_message():
    """δ = k/d, k after rounding up: a quarter of six entries keeps two."""
    flat, compressor = jnp.ones(6), compressors.top_k(0.25)
    assert compressor.contraction_factor(flat) == 2 / 6
    assert residual_sq(compressor, KEY, flat) == 4
    np.testing.assert_array_equal(compressed(compressor, flat), [1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("is_scaled", [False, True])
def test_random_k_is_uniform_over_all_choices(is_scaled):
    """All six pairs of four occur, equally often (χ² of 5 degrees exceeds 37.0 once in 1.7 million).

    Given that, expectations are exact means over the six: unscaled loses 1 - k/d, an equality; scaled is
    unbiased with ω = d/k - 1, an equality too.
    """
    message, compressor = jnp.array([1.0, -2.0, 4.0, 8.0]), compressors.random_k(0.5, is_scaled=is_scaled)
    keys = jax.random.split(KEY, 3000)
    drawn = np.asarray(jax.vmap(lambda key: compressors.compress(compressor, key, message))(keys))
    factor = 2.0 if is_scaled else 1.0
    outcomes = np.array(
        [[factor * message[i] if i in pair else 0.0 for i in range(4)] for pair in itertools.combinations(range(4), 2)]
    )
    counts = np.array([np.all(drawn == outcome, axis=1).sum() for outcome in outcomes])
    assert counts.sum() == len(keys)
    assert np.sum((counts - 500) ** 2 / 500) < 37.0

    residual = np.mean(np.sum((outcomes - np.asarray(message)) ** 2, axis=1)) / norm_sq(message)
    if is_scaled:
        np.testing.assert_allclose(sum(outcomes) / 6, message, rtol=1e-15)
        assert residual == pytest.approx(compressor.variance_factor(message)) == 1.0
        assert compressor.contraction_factor(message) is None
    else:
        assert residual == pytest.approx(1 - compressor.contraction_factor(message)) == 0.5
        assert compressor.variance_factor(message) is None


def test_random_k_draws_other_entries_for_other_leaves():
    """Leaves of equal shape do not share their choice."""
    twins = {"a": jnp.ones(64), "b": jnp.ones(64)}
    sent = compressors.compress(compressors.random_k(0.5), KEY, twins)
    assert not np.array_equal(sent["a"], sent["b"])
    assert np.sum(sent["a"]) == np.sum(sent["b"]) == 32


@pytest.mark.parametrize("make", [compressors.top_k, compressors.random_k])
def test_scope_decides_what_k_is_counted_over(make):
    """The scope "leaf" keeps ⌈fraction · d⌉ of every leaf; "model" of the whole tree."""
    message = jax.tree.map(lambda leaf: leaf + 100, tree())
    counts = {
        scope: [
            int((leaf != 0).sum())
            for leaf in jax.tree.leaves(compressors.compress(make(0.3, scope=scope), KEY, message))
        ]
        for scope in scopes.SCOPES
    }
    assert counts["leaf"] == [2, 2]
    assert sum(counts["model"]) == 4
    assert make(0.3).contraction_factor(message) == 2 / 6
    assert make(0.3, scope="model").contraction_factor(message) == 4 / 11


def test_model_scope_compares_entries_of_all_leaves():
    """With scope "model" the large leaf wins all places, and one scale serves all signs."""
    sent = compressors.compress(compressors.top_k(0.3, scope="model"), KEY, tree())
    np.testing.assert_array_equal(sent["bias"], np.zeros(5))
    np.testing.assert_array_equal(sent["weight"], [[-30, -20, -10], [0, 0, 20]])
    signs = compressors.compress(compressors.scaled_sign(scope="model"), KEY, tree())
    assert {abs(float(value)) for leaf in jax.tree.leaves(signs) for value in leaf.ravel()} == {96.5 / 11}


@pytest.mark.parametrize(
    ("compressor", "bits"),
    [
        (compressors.identity(), 11 * 32),
        (compressors.top_k(0.3), 2 * (32 + 3) + 2 * (32 + 3)),
        (compressors.top_k(0.3, scope="model"), 4 * (32 + 4)),
        (compressors.random_k(0.3), (2 * 32 + 32) + (2 * 32 + 32)),
        (compressors.random_k(0.3, is_scaled=True, scope="model"), 4 * 32 + 32),
        (compressors.scaled_sign(), (5 + 32) + (6 + 32)),
        (compressors.scaled_sign(scope="model"), 11 + 32),
        (compressors.two_means(), (5 + 64) + (6 + 64)),
        (compressors.two_means(scope="model"), 11 + 64),
        (compressors.sign_l2(), (5 + 32) + (6 + 32)),
        (compressors.qsgd(1), (32 + 5 * 2) + (32 + 6 * 2)),
        (compressors.qsgd(3), (32 + 5 * 3) + (32 + 6 * 3)),
        (compressors.qsgd(4, scope="model"), 32 + 11 * 4),
        (compressors.terngrad(), (32 + 10) + (32 + 12)),
        (compressors.terngrad(scope="model"), 32 + 22),
        (compressors.powers_of_two(), (32 + 5 * 4) + (32 + 6 * 4)),
        (compressors.powers_of_two(3, scope="model"), 32 + 11 * 3),
        (compressors.contracted(compressors.qsgd(4, scope="model")), 32 + 11 * 4),
    ],
)
def test_bits_are_the_published_formula(compressor, bits):
    """By hand for leaves of 5 and 6 float32: an index among 5 or 6 takes 3 bits, among 11 4; a level among s + 1."""
    assert compressor.bits(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree())) == bits


def test_an_index_among_one_costs_nothing():
    """⌈log₂ 1⌉ = 0."""
    assert compressors.top_k(1.0).bits(jnp.zeros(1, jnp.float32)) == 32


@given(st.integers(1, 3000).flatmap(lambda d: st.tuples(st.just(d), st.integers(1, d))))
def test_num_kept_is_the_exact_ceiling(sizes):
    """k/d of d entries is k, whatever floating point makes of k/d; a little more is k + 1."""
    d, kept = sizes
    assert sparsifiers.num_kept(kept / d, d) == kept
    if kept < d:
        assert sparsifiers.num_kept((kept + 0.01) / d, d) == kept + 1
    assert sparsifiers.num_kept(1e-9, d) == 1


# Selection


def judge(magnitudes, k):
    """The mask that `lax.top_k` means."""
    mask = np.zeros(len(magnitudes), bool)
    mask[np.asarray(lax.top_k(jnp.asarray(magnitudes), k)[1])] = True
    return mask


SPECIAL = [0.0, 1.0, 1.0, 2.0, 0.1, 1e-40, 1e-45, 3e38, float("inf"), 1e-310]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_digit_selection_is_top_k(dtype):
    """With ties, zeros, numbers near the ends of the range and infinity, for every k."""
    random = np.random.default_rng(0)
    select = jax.jit(selection.by_digits)
    with np.errstate(over="ignore"):
        magnitudes = np.concatenate([random.choice(SPECIAL, 20), random.integers(0, 3, 20)]).astype(dtype)
    # numpy is the judge: XLA may take denormal numbers for zeros when it compares
    order = np.argsort(-magnitudes, kind="stable")
    for k in (1, 2, 5, 13, 20, 39, 40):
        mask = np.asarray(select(jnp.asarray(magnitudes), k))
        assert sorted(order[:k]) == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("d", [selection.LARGE, selection.LARGE + 1])
@pytest.mark.parametrize("fraction", [0.005, 0.1])
def test_selection_does_not_depend_on_the_path(dtype, d, fraction):
    """On both sides of `LARGE` and of one per cent the mask is that of `lax.top_k`, ties included."""
    k = sparsifiers.num_kept(fraction, d)
    smooth = jnp.abs(jax.random.normal(KEY, (d,), dtype))
    for magnitudes in (smooth, jnp.round(smooth), jnp.zeros(d, dtype).at[d // 2].set(jnp.inf)):
        mask = np.asarray(selection.largest(magnitudes, k))
        assert mask.sum() == k
        np.testing.assert_array_equal(mask, judge(magnitudes, k))


@pytest.mark.parametrize("d", [40, selection.LARGE + 1])
def test_nan_counts_as_the_largest(d):
    """A NaN is sent, not hidden in a memory."""
    magnitudes = jnp.ones(d).at[7].set(jnp.nan)
    assert np.flatnonzero(selection.largest(magnitudes, max(1, d // 10)))[-1] >= 7
    assert bool(selection.largest(magnitudes, max(1, d // 10))[7])


def test_rows_in_turn_are_rows_at_once(monkeypatch):
    """Workers compressed one after the other send what they send when compressed together."""
    rows = jax.random.normal(KEY, (3, 40))
    keys = jax.random.split(KEY, 3)
    for compressor in (compressors.random_k(0.2), compressors.scaled_sign()):  # top-k is judged by its identities
        at_once = compressors.compress_rows(compressor, keys, rows)
        monkeypatch.setattr(compressors, "LARGE", 10)
        in_turn = compressors.compress_rows(compressor, keys, rows)
        monkeypatch.undo()
        np.testing.assert_allclose(in_turn, at_once, rtol=1e-15)


@pytest.mark.parametrize("name", CONTRACTIONS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_messages_keep_tree_shapes_and_dtypes(name, dtype):
    """Also where the leaves differ in dtype."""
    message = {"a": jnp.ones((2, 3), dtype), "b": jnp.ones(4, jnp.float32), "c": jnp.ones((), dtype)}
    sent = compressors.compress(CONTRACTIONS[name], KEY, message)
    assert jax.tree.map(jnp.shape, sent) == jax.tree.map(jnp.shape, message)
    assert jax.tree.map(jnp.result_type, sent) == jax.tree.map(jnp.result_type, message)
