"""Signs and random levels: their exact identities, their worst messages, and that what is said to be unbiased is."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from elastic_jax import algorithms, compressors
from elastic_jax.compressors import Compressor

KEY = jax.random.key(0)
NUM_DRAWS = 4000
# whole numbers of few different lengths: sums are exact, ties and zeros are frequent, and little is compiled
MESSAGES = arrays.arrays(np.float64, st.sampled_from([1, 2, 5]), elements=st.integers(-4, 4).map(float))
TWO_MEANS, SCALED_SIGN, SIGN_L2 = compressors.two_means(), compressors.scaled_sign(), compressors.sign_l2()
TERNGRAD = compressors.terngrad()
POWERS = compressors.powers_of_two()
QSGD = {num_levels: compressors.qsgd(num_levels) for num_levels in (1, 2, 3)}
SCALED_RANDOM_K = compressors.random_k(0.3, is_scaled=True)
UNBIASED = {
    "identity": compressors.identity(),
    "random_k": SCALED_RANDOM_K,
    "qsgd(1)": QSGD[1],
    "qsgd(3)": QSGD[3],
    "terngrad": TERNGRAD,
}
MODEL_WIDE = {
    "random_k": compressors.random_k(0.3, is_scaled=True, scope="model"),
    "qsgd(3)": compressors.qsgd(3, scope="model"),
    "terngrad": compressors.terngrad(scope="model"),
}


@functools.cache
def compiled(compressor):
    """C of a key and a message, compiled once for each shape."""
    return jax.jit(functools.partial(compressors.compress, compressor))


@functools.cache
def compiled_rows(compressor):
    """C of many keys and one message."""
    return jax.jit(jax.vmap(functools.partial(compressors.compress, compressor), (0, None)))


def compressed(compressor, message, key=KEY):
    return np.asarray(compiled(compressor)(key, jnp.asarray(message)))


def draws(compressor, message, num_draws=NUM_DRAWS):
    """C(message) for many keys, the leaves flattened and put one after the other: float64[draws, d]."""
    drawn = compiled_rows(compressor)(jax.random.split(KEY, num_draws), message)
    return np.concatenate([np.asarray(leaf, np.float64).reshape(num_draws, -1) for leaf in jax.tree.leaves(drawn)], 1)


def flat(message):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(message)])


def means_agree(values, expected):
    """Every mean is within z standard errors, z² = 2 log(N / 1e-6): a true claim fails once in a million seeds."""
    band = math.sqrt(2 * math.log(np.size(expected) / 1e-6))
    allowed = band * values.std(axis=0, ddof=1) / math.sqrt(len(values)) + 1e-6 * np.abs(expected).max()
    return bool(np.all(np.abs(values.mean(axis=0) - expected) <= allowed))


def norm_sq(message):
    return float(np.sum(np.square(flat(message))))


# Signs


@settings(deadline=None, max_examples=80)
@given(MESSAGES)
def test_two_means_identities(message):
    """‖w - C‖² = ‖w‖² - n₊ m₊² - n₋ m₋², ⟨C, w⟩ = ‖C‖², sign(0) = +1, and never worse than one scale."""
    sent = compressed(TWO_MEANS, message)
    plus, minus = message[message >= 0], message[message < 0]
    mean_plus, mean_minus = plus.mean() if plus.size else 0.0, minus.mean() if minus.size else 0.0
    np.testing.assert_allclose(sent, np.where(message < 0, mean_minus, mean_plus), rtol=1e-15)
    lost = norm_sq(message) - plus.size * mean_plus**2 - minus.size * mean_minus**2
    np.testing.assert_allclose(norm_sq(message - sent), lost, atol=1e-12)
    np.testing.assert_allclose(sent @ message, sent @ sent, atol=1e-12)
    one_scale = norm_sq(message - compressed(SCALED_SIGN, message))
    assert norm_sq(message - sent) <= min(one_scale, (1 - 1 / message.size) * norm_sq(message)) + 1e-12


@settings(deadline=None, max_examples=80)
@given(MESSAGES)
def test_sign_l2_identities(message):
    """‖C‖ = ‖w‖ and ‖w - C‖² = 2 ‖w‖² - 2 ‖w‖₁ ‖w‖₂/√d; where a δ is declared it holds."""
    d, length = message.size, np.linalg.norm(message)
    compressor = SIGN_L2
    sent = compressed(compressor, message)
    np.testing.assert_allclose(sent, np.where(message < 0, -1, 1) * length / math.sqrt(d), rtol=1e-14)
    lost = 2 * length**2 - 2 * np.abs(message).sum() * length / math.sqrt(d)
    np.testing.assert_allclose(norm_sq(message - sent), lost, atol=1e-12)
    kept = compressor.contraction_factor(message)
    assert (kept is not None) == (d <= 3)
    if kept is not None:
        assert norm_sq(message - sent) <= (1 - kept) * norm_sq(message) + 1e-12


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_signs_attain_their_factors_on_one_entry(d):
    """One positive entry alone: 1 - 1/d is lost with one scale and with two means; 2 - 2/√d with the wrong scale."""
    entry = jnp.zeros(d).at[d // 2].set(-3.0 if d == 1 else 3.0)
    for compressor in (SCALED_SIGN, TWO_MEANS):
        assert compressor.contraction_factor(entry) == 1 / d
        assert norm_sq(entry - compressed(compressor, entry)) == pytest.approx(9 * (1 - 1 / d), abs=1e-14)
    wrong = SIGN_L2
    assert norm_sq(entry - compressed(wrong, entry)) == pytest.approx(9 * (2 - 2 / math.sqrt(d)), abs=1e-14)
    kept = wrong.contraction_factor(entry)
    assert kept is None if d == 8 else kept == pytest.approx(2 / math.sqrt(d) - 1)


def test_the_wrong_scale_is_no_contraction_from_four_entries_on():
    """At d = 4 all of ‖w‖² may be lost, δ = 0, which is none; one leaf of four among small ones is enough."""
    wrong = SIGN_L2
    assert [wrong.contraction_factor(jnp.zeros(d)) is None for d in range(1, 7)] == [False] * 3 + [True] * 3
    assert wrong.contraction_factor({"a": jnp.zeros(2), "b": jnp.zeros(3)}) == pytest.approx(2 / math.sqrt(3) - 1)
    assert wrong.contraction_factor({"a": jnp.zeros(2), "b": jnp.zeros(4)}) is None
    assert compressors.sign_l2(scope="model").contraction_factor({"a": jnp.zeros(2), "b": jnp.zeros(3)}) is None


# Random levels


@settings(deadline=None, max_examples=40)
@given(MESSAGES, st.sampled_from([1, 2, 3]), st.integers(0, 2**31))
def test_qsgd_sends_a_neighbouring_level(message, num_levels, seed):
    """S |C_j|/‖w‖ is a whole number, less than 1 from s |w_j|/‖w‖, and has the sign of w_j; zeros stay zeros."""
    sent, length = compressed(QSGD[num_levels], message, jax.random.key(seed)), np.linalg.norm(message)
    if length == 0:
        np.testing.assert_array_equal(sent, 0)
        return
    levels = num_levels * np.abs(sent) / length
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-12)
    assert np.all(np.abs(levels - num_levels * np.abs(message) / length) < 1 + 1e-12)
    assert np.all(sent * message >= 0)
    assert np.all(levels <= num_levels + 1e-12)


@settings(deadline=None, max_examples=40)
@given(MESSAGES, st.integers(0, 2**31))
def test_terngrad_sends_the_largest_or_nothing(message, seed):
    """C_j is 0 or ‖w‖∞ with the sign of w_j; the largest entries are always sent, zeros never."""
    sent, largest = compressed(TERNGRAD, message, jax.random.key(seed)), np.abs(message).max()
    assert np.all((sent == 0) | (sent == largest * np.sign(message)))
    at_top = np.abs(message) == largest
    np.testing.assert_array_equal(sent[at_top], message[at_top])


TREE = {"bias": jnp.array([3.0, -1.0, 0.5, 2.0, 0.0]), "weight": 10 * jnp.arange(-3.0, 3.0).reshape(2, 3)}


@pytest.mark.parametrize(
    ("compressor", "dtype"),
    [pytest.param(c, jnp.float32, id=f"{name} of each leaf") for name, c in UNBIASED.items()]
    + [pytest.param(c, jnp.float64, id=f"{name} of the model") for name, c in MODEL_WIDE.items()],
)
def test_what_declares_a_variance_factor_is_unbiased(compressor, dtype):
    """E C(w) = w in every entry, and E‖C(w) - w‖² <= ω ‖w‖²; a true claim fails for one seed in a million."""
    message = jax.tree.map(lambda leaf: leaf.astype(dtype), TREE)
    drawn, expected = draws(compressor, message), flat(message)
    assert means_agree(drawn, expected)
    lost = np.sum((drawn - expected) ** 2, axis=1)
    error = math.sqrt(2 * math.log(1e6)) * lost.std() / math.sqrt(len(lost))
    assert lost.mean() <= compressor.variance_factor(message) * norm_sq(message) + error


def test_a_bias_is_noticed():
    """The negative control: top-k, a contracted one, and a quantiser that rounds to the nearest fail the test above."""
    for compressor in (compressors.top_k(0.3), compressors.contracted(QSGD[3])):
        assert compressor.variance_factor(TREE) is None
        assert not means_agree(draws(compressor, TREE), flat(TREE))
    length = np.linalg.norm(flat(TREE))
    nearest = np.round(3 * flat(TREE) / length) * length / 3
    assert not means_agree(np.broadcast_to(nearest, (NUM_DRAWS, nearest.size)), flat(TREE))


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_qsgd_has_the_variance_of_its_fractions(num_levels):
    """E‖C - w‖² = (‖w‖/s)² Σ f_j (1 - f_j), an equality, f the fractional parts of s |w_j|/‖w‖."""
    message = jnp.array([3.0, -1.0, 0.5, 2.0, 0.0, -1.5])
    length = float(jnp.linalg.norm(message))
    fractions = np.modf(num_levels * np.abs(message) / length)[0]
    lost = np.sum((draws(QSGD[num_levels], message) - np.asarray(message)) ** 2, axis=1)
    assert means_agree(lost, (length / num_levels) ** 2 * np.sum(fractions * (1 - fractions)))


def test_terngrad_has_the_second_moment_of_its_norms():
    """E‖C‖² = ‖w‖₁ ‖w‖∞, an equality; and ‖C‖² = ‖w‖∞ ‖C‖₁ in every draw."""
    message = jnp.array([3.0, -1.0, 0.5, 2.0, 0.0, -1.5])
    drawn = draws(TERNGRAD, message)
    assert means_agree(np.sum(drawn**2, axis=1), 3.0 * 8.0)
    np.testing.assert_array_equal(np.sum(drawn**2, axis=1), 3.0 * np.sum(np.abs(drawn), axis=1))


@pytest.mark.parametrize(
    ("compressor", "worst", "factor"),
    [
        pytest.param(QSGD[1], np.ones(9), 2.0, id="qsgd(1), nine equal entries: √9/1 - 1"),
        pytest.param(QSGD[2], np.ones(64), 3.0, id="qsgd(2), 64 equal entries: √64/2 - 1"),
        pytest.param(QSGD[1], np.ones(4), 1.0, id="qsgd(1), every fraction a half: 4/(4 · 1)"),
        pytest.param(QSGD[3], np.array([5.0, 3, -1, 1]), 1 / 9, id="qsgd(3), halves: 4/(4 · 9)"),
        pytest.param(TERNGRAD, np.array([4.0] + [1.0] * 8), 1.0, id="terngrad, 1 and 1/(1 + √d)"),
        pytest.param(TERNGRAD, np.array([3.0, -1, 1, -1]), 0.5, id="terngrad, four entries"),
        pytest.param(compressors.random_k(0.25, is_scaled=True), np.arange(8.0), 3.0, id="random_k: d/k - 1"),
    ],
)
def test_variance_factors_are_attained(compressor, worst, factor):
    """On the worst message ω is what is lost in the mean: no smaller factor holds, in both directions."""
    assert compressor.variance_factor(jnp.asarray(worst)) == pytest.approx(factor)
    drawn = draws(compressor, jnp.asarray(worst))
    assert means_agree(np.sum((drawn - worst) ** 2, axis=1) / norm_sq(worst), factor)
    contracted = compressors.contracted(compressor)
    assert contracted.contraction_factor(jnp.asarray(worst)) == pytest.approx(1 / (1 + factor))
    lost = np.sum((drawn / (1 + factor) - worst) ** 2, axis=1) / norm_sq(worst)  # with the same keys, tested below
    assert means_agree(lost, factor / (1 + factor))


@given(st.integers(1, 10**7), st.integers(1, 2**23))
def test_factors_of_levels_are_within_those_of_the_source(d, num_levels):
    """ω <= min(d/s², √d/s), δ = 1 - ω where that is above 0, and a code of fixed width has room for s + 1 levels."""
    compressor, message = compressors.qsgd(num_levels), jax.ShapeDtypeStruct((d,), jnp.float32)
    variance = compressor.variance_factor(message)
    assert 0 <= variance <= min(d / num_levels**2, math.sqrt(d) / num_levels)
    assert compressor.contraction_factor(message) == (1 - variance if variance < 1 else None)
    width, left = divmod(compressor.bits(message) - 32, d)
    assert left == 0
    assert 2 ** (width - 2) < num_levels + 1 <= 2 ** (width - 1)


def test_contracted_is_the_inner_one_divided():
    """(1 + ω) C(w) = Q(w) with the same key, ω the largest over the leaves; and the identity stays what it is."""
    inner = SCALED_RANDOM_K
    outer = compressors.contracted(inner)
    assert inner.variance_factor(TREE) == 2.0
    assert outer.contraction_factor(TREE) == pytest.approx(1 / 3)
    np.testing.assert_allclose(3 * draws(outer, TREE, 5), draws(inner, TREE, 5), rtol=1e-15)
    whole = compressors.contracted(compressors.identity())
    assert (whole.contraction_factor(TREE), whole.variance_factor(TREE)) == (1.0, 0.0)
    assert "contracted" in str(algorithms.variant("synchronous_sgd").build(print, num_workers=2, compressor=outer))


@pytest.mark.parametrize("biased", [compressors.top_k(0.5), compressors.random_k(0.5), SIGN_L2])
def test_a_biased_compressor_cannot_be_contracted(biased):
    """There is no ω to divide by: the error says so, when it is built."""
    with pytest.raises(ValueError, match=r"^compressor = .* is biased; it must be an unbiased one"):
        compressors.contracted(biased)


# The norm factor


@pytest.mark.parametrize(
    ("compressor", "factor"),
    [
        (compressors.identity(), 1.0),
        (compressors.top_k(0.3), 1.0),
        (compressors.random_k(0.3), 1.0),
        (SCALED_SIGN, 1.0),
        (TWO_MEANS, 1.0),
        (SIGN_L2, 1.0),
        (compressors.contracted(QSGD[1]), 1.0),
        (SCALED_RANDOM_K, math.sqrt(3)),
        (QSGD[1], 6**0.25),
        (compressors.terngrad(scope="model"), math.sqrt(1 + (math.sqrt(11) - 1) / 2)),
        (compressors.top_k(0.3)._replace(is_shrinking=False), 1 + math.sqrt(2 / 3)),
        (QSGD[3]._replace(variance_factor=lambda _: None), 1 + math.sqrt(1 / 6)),
        (SIGN_L2._replace(is_shrinking=False), None),
    ],
)
def test_the_norm_factor_is_the_smallest_that_is_proved(compressor, factor):
    """κ with E‖C(w)‖² <= κ² ‖w‖²: 1, √(1 + ω) or 1 + √γ, whichever of them is known and least; and it holds."""
    found = compressors.norm_factor(compressor, TREE)
    assert found == (factor if factor is None else pytest.approx(factor))
    if factor is not None:
        num_draws = 2 if compressor.is_pathwise else NUM_DRAWS
        lengths = np.sum(draws(compressor, TREE, num_draws) ** 2, axis=1) / norm_sq(TREE)
        error = math.sqrt(2 * math.log(1e6)) * lengths.std() / math.sqrt(len(lengths))
        assert lengths.mean() <= found**2 * (1 + 1e-12) + error


def test_a_wrong_claim_to_shrink_is_noticed():
    """The negative control: scaled random-k sends more than ‖w‖² in the mean, by √3 squared."""
    wrong = SCALED_RANDOM_K._replace(is_shrinking=True)
    lengths = np.sum(draws(wrong, TREE) ** 2, axis=1) / norm_sq(TREE)
    assert compressors.norm_factor(wrong, TREE) == 1.0
    assert lengths.mean() > 2


# Powers of two


@pytest.mark.parametrize("num_bits", [2, 3, 4])
def test_powers_of_two_are_the_nearest(num_bits):
    """Of 0 and ‖w‖∞ 2^-k, 2^(num_bits - 1) - 1 of them, by looking at all; -0 is 0, and signs are those of entries."""
    message = np.random.default_rng(num_bits).normal(size=400) * 2.0 ** -np.linspace(0, 9, 400)
    levels = np.abs(message).max() * np.array([0.0, *(2.0**-k for k in range(2 ** (num_bits - 1) - 1))])
    nearest = np.abs(np.abs(message)[:, None] - levels).argmin(axis=1)
    assert set(nearest) == set(range(len(levels)))
    sent = compressed(compressors.powers_of_two(num_bits), message)
    np.testing.assert_allclose(sent, np.sign(message) * levels[nearest], rtol=1e-15)


@pytest.mark.parametrize(("num_bits", "size"), [(2, 3), (2, 40), (3, 5), (4, 2), (4, 9), (4, 5000)])
def test_powers_of_two_attain_what_they_may_lose(num_bits, size):
    """One entry of 1, and the others 3/4, or all but too large to become 0: the worse of the two is 1 - δ, no more."""
    compressor, lost = compressors.powers_of_two(num_bits), []
    bottom = 2.0 ** (1 - 2 ** (num_bits - 1))
    for others in (0.75, bottom, bottom * (1 - 1e-9)):
        message = np.full(size, others)
        message[0] = 1.0
        lost.append(np.sum((compressed(compressor, message) - message) ** 2) / np.sum(message**2))
    assert max(lost) == pytest.approx(1 - compressor.contraction_factor(jnp.zeros(size)), rel=1e-8)


# Messages at the edge

EVERY = {
    "two_means": TWO_MEANS,
    "sign_l2": SIGN_L2,
    "scaled_sign": SCALED_SIGN,
    **{name: compressor for name, compressor in UNBIASED.items() if name != "random_k"},
    "powers_of_two": POWERS,
    "contracted": compressors.contracted(QSGD[2]),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_zeros_and_one_entry(name, dtype):
    """A message of zeros comes back as zeros; one entry alone comes back whole, or divided where that is declared."""
    compressor = EVERY[name]
    for shape in ((4,), (1,), ()):
        sent = compressed(compressor, jnp.zeros(shape, dtype))
        assert sent.dtype == dtype
        np.testing.assert_array_equal(sent.astype(np.float64), 0)
    one = jnp.full((1,), -2.5, dtype)
    whole = -2.5 / (1 + (1 / 16 if name == "contracted" else 0))
    np.testing.assert_allclose(compressed(compressor, one).astype(np.float64), whole, rtol=float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_neither_overflow_nor_vanish(name, size):
    """In float32, what is sent of 10^±30 w is 10^±30 times what is sent of w."""
    message = jnp.array([3.0, -1.0, 0.5, 2.0, 0.0], jnp.float32)
    usual = compressed(EVERY[name], message)
    np.testing.assert_allclose(
        compressed(EVERY[name], jnp.float32(size) * message) / np.float32(size), usual, rtol=1e-5
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_nan_is_sent(name):
    """It is not hidden in a memory, where nobody would see it."""
    message = jnp.array([1.0, jnp.nan, 0.0, -2.0])
    assert np.isnan(compressed(EVERY[name], message)).any()


def test_leaves_do_not_share_their_draws():
    """Leaves of equal shape are rounded with different coins."""
    twins = {"a": jnp.ones(64), "b": jnp.ones(64)}
    for compressor in (QSGD[3], compressors.contracted(QSGD[3])):
        sent = compressors.compress(compressor, KEY, twins)
        assert not np.array_equal(sent["a"], sent["b"])


def test_scope_decides_what_a_norm_is_of():
    """Of each leaf, or of the whole tree: the largest entry of TernGrad, the two means of a sign."""
    for scope, sizes in (("leaf", {3.0, 30.0}), ("model", {30.0})):
        drawn = draws(compressors.terngrad(scope=scope), TREE, 200)
        assert {float(size) for size in np.unique(np.abs(drawn))} - {0.0} == sizes
    sent = compressed_tree(compressors.two_means(scope="model"), TREE)
    assert {float(value) for value in sent} == {-61.0 / 4, 35.5 / 7}


def compressed_tree(compressor, message):
    return flat(compressors.compress(compressor, KEY, message))


def test_every_constructor_is_tried_here():
    """A new compressor needs its lines above, if it is judged by norms: the lattice has tests of its own."""
    made = {str(c).partition("compress=")[2].split(" at ")[0] for c in (*EVERY.values(), *UNBIASED.values())}
    known = {name for name, value in vars(compressors).items() if _makes_one(value)}
    missing = {
        name
        for name in known - {"top_k", "identity", "contracted", "lattice"}
        if not any(name in each for each in made)
    }
    assert len(known) >= 9
    assert not missing


def _makes_one(value):
    annotations = getattr(value, "__annotations__", {})
    is_check = getattr(value, "__name__", "").startswith("check")
    return annotations.get("return") in ("Compressor", Compressor) and not is_check
