"""The lattice quantiser: what it decodes rightly and what it cannot, its error, its codes, and its rotation."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_jax import algorithms, compressors, stacked
from elastic_jax.compressors import packing, rotation, shared_bits

lattice = compressors.lattice
module = importlib.import_module("elastic_jax.compressors.lattice")  # its function hides it
KEY = jax.random.key(0)
ROUNDINGS = ("nearest", "stochastic")
DISTANCE = 0.25
LOST_PER_STEP_SQ = {"nearest": 1 / 12, "stochastic": 1 / 6}
FARTHEST = {"nearest": 0.5, "stochastic": 1.0}


@functools.cache
def compiled(compressor):
    """What a receiver next to y decodes of x, jitted."""
    return jax.jit(lambda key, x, y: compressor.decode(key, compressor.encode(key, x), y))


@functools.cache
def compiled_rows(compressor):
    return jax.jit(jax.vmap(lambda key, x, y: compressor.decode(key, compressor.encode(key, x), y), (0, None, None)))


def step(num_levels, rounding, distance=DISTANCE):
    return 2 * distance / (num_levels - {"nearest": 1, "stochastic": 2}[rounding])


def ends(dtype, size=1500, seed=0):
    """The receiver y on a grid, and x at the boundary: |x - y| = 1/4 in every coordinate, without rounding."""
    generator = np.random.default_rng(seed)
    y = generator.integers(-(2**14), 2**14, size) * 2.0**-12
    x = y + DISTANCE * generator.choice([-1.0, 1.0], size)
    return jnp.asarray(x, dtype), jnp.asarray(y, dtype)


def band(num_tests):
    """Standard errors that a true claim exceeds for one seed in a million."""
    return math.sqrt(2 * math.log(num_tests / 1e-6))


def error(decoded, message):
    return np.asarray(decoded, np.float64) - np.asarray(message, np.float64)


# What is decoded


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("num_levels", [3, 16, 200, 65536])
def test_everything_at_the_boundary_is_decoded_rightly(num_levels, rounding, dtype):
    """|x - y| = y_∞ in every coordinate: the point next to x is found, however far x and y are from zero."""
    x, y = ends(dtype)
    compressor, s = lattice(num_levels, distance=DISTANCE, rounding=rounding), step(num_levels, rounding)
    for key in jax.random.split(KEY, 5):
        decoded = compiled(compressor)(key, x, y)
        assert decoded.dtype == dtype
        unit = float(jnp.finfo(dtype).eps)
        allowed = FARTHEST[rounding] * s * (1 + 32 * unit) + 4 * unit * num_levels * s + unit * float(jnp.abs(x).max())
        assert np.abs(error(decoded, x)).max() <= allowed
        assert int(compressor.nearness.within(DISTANCE).nearness.num_failures(key, x, decoded)) == 0


def test_all_receivers_decode_the_same_point():
    """The point that the sender meant, on one lattice: it depends on the receiver by rounding only."""
    x, y = ends(jnp.float64)
    compressor, s = lattice(8, distance=DISTANCE), step(8, "nearest")
    points = [compiled(compressor)(KEY, x, near) for near in (y, x, x + 0.9 * DISTANCE)]
    for other in points[1:]:
        np.testing.assert_allclose(other, points[0], atol=1e-12)
    further = compiled(compressor)(KEY, x + s, y + s)  # a whole cell further all moves by s
    np.testing.assert_allclose(further - points[0], s, atol=1e-12)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_beyond_the_boundary_some_are_wrong_by_a_period_and_are_counted(rounding):
    """With 0.8 s some cells are left: wrong by ± q s, silently; `num_failures` counts exactly those."""
    x, y = ends(jnp.float64)
    short = 0.8 * DISTANCE
    compressor, period = lattice(4, distance=short, rounding=rounding), 4 * step(4, rounding, short)
    decoded = compiled(compressor)(KEY, x, y)
    meant = compiled(compressor)(KEY, x, x)
    wrong_by = np.asarray(decoded - meant) / period
    np.testing.assert_allclose(wrong_by, np.round(wrong_by), atol=1e-9)
    num_wrong = np.count_nonzero(np.round(wrong_by))
    assert 0.01 * x.size < num_wrong < 0.9 * x.size
    assert int(jax.jit(compressor.nearness.within(short).nearness.num_failures)(KEY, x, decoded)) == num_wrong
    assert int(compressor.nearness.within(short).nearness.num_failures(KEY, x, meant)) == 0


def test_random_rounding_needs_its_own_scale():
    """The scale q - 1 of the nearest is too small for it at the boundary, by one cell of q."""
    x, y = ends(jnp.float64)
    right = lattice(16, distance=DISTANCE, rounding="stochastic")
    wrong = lattice(16, distance=DISTANCE * 14 / 15, rounding="stochastic")
    assert step(16, "stochastic", DISTANCE * 14 / 15) == pytest.approx(step(16, "nearest"))
    for compressor, distance, is_right in ((right, DISTANCE, True), (wrong, DISTANCE * 14 / 15, False)):
        num_wrong = compressor.nearness.within(distance).nearness.num_failures(KEY, x, compiled(compressor)(KEY, x, y))
        assert (int(num_wrong) == 0) == is_right


def test_a_key_that_is_not_shared_decodes_noise():
    """The planted bug: the receiver's shift is another one, and errors are as large as the distance between colours."""
    x, y = ends(jnp.float64)
    compressor = lattice(256, distance=DISTANCE)
    decoded = compressor.decode(jax.random.key(1), compressor.encode(KEY, x), y)
    assert np.mean(np.abs(error(decoded, x)) > step(256, "nearest") / 2) > 0.25
    by_zero = compressor.decode(KEY, compressor.encode(KEY, x), jnp.zeros_like(x))  # not the receiver's parameters
    assert np.mean(np.abs(error(by_zero, x)) > DISTANCE) > 0.8


# Its error


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("num_levels", [3, 100])
def test_unbiased_with_the_variance_of_a_cell(num_levels, rounding):
    """E z = x and E(z - x)² = s²/12, or s²/6 where rounding is random, in every coordinate, over shifts."""
    x, y = ends(jnp.float64, size=24)
    s = step(num_levels, rounding)
    decoded = compiled_rows(lattice(num_levels, distance=DISTANCE, rounding=rounding))(
        jax.random.split(KEY, 20_000), x, y
    )
    errors = error(decoded, x) / s
    for found, claimed in ((errors, 0.0), (errors**2, LOST_PER_STEP_SQ[rounding])):
        off = np.abs(found.mean(axis=0) - claimed) / (found.std(axis=0) / math.sqrt(len(found)))
        assert off.max() <= band(off.size)
    biased = errors + 0.02  # the negative control: a fiftieth of a cell is seen
    assert np.abs(biased.mean(axis=0)).max() * math.sqrt(len(errors)) / errors.std() > band(24)


def test_errors_of_two_coordinates_are_uncorrelated():
    """Over keys, for neighbours and for coordinates that powers of two lie between: correlations within their band."""
    places = np.array([0, 1, 2, 3, 5, 8, 64, 1024, 2**14, 2**15, 2**16, 2**17])
    draw = jax.jit(jax.vmap(lambda key: shared_bits.bits(shared_bits.seed(key, 0), 0, 2**17 + 1)[places]))
    drawn = np.concatenate([np.asarray(draw(keys)) for keys in jax.random.split(KEY, (40, 64))]) * 2.0**-32 - 0.5
    for cells in (1, 2, 16, 256):  # the highest bits, and those below them
        parts = (drawn * cells) % 1.0 - 0.5
        correlations = np.corrcoef(np.hstack([parts, parts**2]).T)[np.triu_indices(2 * len(places), 1)]
        assert np.abs(correlations).max() <= band(correlations.size) / math.sqrt(len(drawn))
        assert np.abs(parts.mean(axis=0)).max() <= band(len(places)) / math.sqrt(12 * len(drawn))


def test_each_hashed_word_is_a_bijection():
    """Of a for every b, and of the two words of the key: what is uniform stays so exactly."""
    firsts = jnp.arange(2**16, dtype=jnp.uint32) * jnp.uint32(2**16 + 3)
    hashed = jax.vmap(lambda a: shared_bits.bits((a, jnp.uint32(99)), 12, 1)[0])(firsts)
    assert len(np.unique(hashed)) == 2**16
    both = jax.vmap(lambda pair: jnp.stack(shared_bits.seed(jax.random.wrap_key_data(pair), 1)))(
        jnp.stack(jnp.meshgrid(jnp.arange(2**8, dtype=jnp.uint32), jnp.arange(2**8, dtype=jnp.uint32)), -1).reshape(
            -1, 2
        )
    )
    assert len(np.unique(np.asarray(both), axis=0)) == 2**16
    assert len(np.unique(np.asarray(both)[:, 0])) > 2**16 - 50  # as random ones: half a pair in 2^16 is equal
    wide_key = shared_bits.seed(jax.random.key(0, impl="rbg"), 0)
    assert wide_key[0].dtype == jnp.uint32
    assert int(wide_key[0]) != int(shared_bits.seed(jax.random.key(1, impl="rbg"), 0)[0])


def test_random_rounding_is_unbiased_for_every_shift(monkeypatch):
    """The shift of one key and coins of many: E z = x; to the nearest it is not."""
    fixed = module._shifts
    monkeypatch.setattr(module, "_shifts", lambda _, *others: fixed(jax.random.key(5), *others))
    x, y = ends(jnp.float64, size=24)
    keys = jax.random.split(KEY, 20_000)

    def errors_of(compressor, chosen):
        return error(jax.jit(jax.vmap(lambda key: compressor.decode(key, compressor.encode(key, x), y)))(chosen), x)

    errors = errors_of(lattice(16, distance=DISTANCE, rounding="stochastic"), keys)
    spread = np.maximum(errors.std(axis=0), 1e-12) / math.sqrt(len(keys))
    assert (np.abs(errors.mean(axis=0)) / spread).max() <= band(24)
    assert errors.std() > 0.2 * step(16, "stochastic")
    nearest = errors_of(lattice(16, distance=DISTANCE), keys[:2])
    assert np.abs(nearest.mean(axis=0)).max() > 0.2 * step(16, "nearest")


def test_the_error_depends_on_the_distance_not_on_the_norm():
    """Both ends a thousand further away: the same error but for rounding. That of a norm-based one grows with it."""
    x, y = ends(jnp.float64)
    compressor, period = lattice(256, distance=DISTANCE), 256 * step(256, "nearest") * (1 + 16 * 2.0**-52)
    far = 2000 * period
    near_error = error(compiled(compressor)(KEY, x, y), x)
    far_error = error(compiled(compressor)(KEY, x + far, y + far), x + far)
    np.testing.assert_allclose(far_error, near_error, atol=1e-10)
    assert far > 1e3
    assert np.abs(near_error).max() <= step(256, "nearest")
    by_norm = compressors.qsgd(127)  # as many bits
    grows = [np.abs(error(compressors.compress(by_norm, KEY, each), each)).max() for each in (x, x + far)]
    assert grows[1] > 100 * grows[0]


@pytest.mark.parametrize("num_levels", [16, 256])
def test_float32_is_exact_to_its_limit_and_off_by_units_in_the_last_place_beyond(num_levels):
    """|x| <= 2¹² q s: nothing is lost at the boundary. Beyond, also where |x|/s > 2²⁴, two units of x are."""
    generator = np.random.default_rng(0)
    for distance in (2.0**-11, 2.0**-18, 2.0**-22, 2.0**-30):
        y = generator.uniform(2.5, 3.5, 20_000).astype(np.float32)
        unit = 2.0**-22  # of numbers from 2 to 4
        room = 0.0 if 2**12 * num_levels * step(num_levels, "nearest", distance) >= 4.0 else 2 * unit
        reach = max(distance - room, 0.0)
        x = (y + np.sign(generator.normal(size=y.size)) * math.floor(reach / unit) * unit).astype(np.float32)
        assert np.abs(error(x, y)).max() <= reach
        compressor = lattice(num_levels, distance=distance)
        decoded = compiled(compressor)(KEY, jnp.asarray(x), jnp.asarray(y))
        eager = compressor.decode(KEY, compressor.encode(KEY, x), jnp.asarray(y))  # no product is fused with a sum
        for each in (decoded, eager):
            assert np.abs(error(each, x)).max() <= 0.501 * step(num_levels, "nearest", distance) + 2 * unit
    assert 3.0 / step(num_levels, "nearest", 2.0**-22) > 2**24


@pytest.mark.parametrize(("rounding", "is_rotated"), [("nearest", False), ("stochastic", True)])
def test_a_distance_of_zero_leaves_the_reference(rounding, is_rotated):
    """Both ends are the same: nothing is lost and nothing is NaN; what differs is a failure."""
    x = jnp.array([0.0, -3.5, 1e30, 1e-30, 7.0], jnp.float32)
    running = lattice(256, rounding=rounding, is_rotated=is_rotated)
    found = running.nearness.within(jnp.float32(0.0))
    decoded = compiled(found)(KEY, x, x)
    np.testing.assert_array_equal(decoded, x)
    np.testing.assert_array_equal(compiled(found)(KEY, x + 1, x), x)
    assert int(found.nearness.num_failures(KEY, x, decoded)) == 0
    if not is_rotated:
        assert int(found.nearness.num_failures(KEY, x + 1, x)) == 4  # 1e30 + 1 is 1e30


def test_what_is_no_number_is_a_failure_and_a_distance_of_nan_shows():
    """NaN and infinities become numbers near the receiver, and are counted; nothing else is touched."""
    y = jnp.arange(5.0)
    x = jnp.array([0.0, jnp.nan, jnp.inf, -jnp.inf, 4.0])
    compressor = lattice(256, distance=0.5)
    decoded = compiled(compressor)(KEY, x, y)
    assert np.abs(error(decoded, y)).max() < 0.6
    assert int(compressor.nearness.within(0.5).nearness.num_failures(KEY, x, decoded)) == 3
    assert bool(jnp.isnan(compressor.nearness.norm(x - y)))
    lost = lattice().nearness.within(jnp.float64(jnp.nan))
    assert bool(jnp.isnan(lost.decode(KEY, lost.encode(KEY, y), y)).all())


# Its codes

PACK, UNPACK = jax.jit(packing.pack, static_argnums=1), jax.jit(packing.unpack, static_argnums=(1, 2))


@pytest.mark.parametrize("width", range(1, 17))
@settings(deadline=None, max_examples=8)
@given(size=st.sampled_from([0, 1, 29]), seed=st.integers(0, 2**31))
def test_packed_codes_come_back(width, size, seed):
    """For every width and length; words are those that are announced, and hold no more than they must."""
    codes = np.random.default_rng(seed).integers(0, 2**width, size).astype(np.uint16)
    words = PACK(jnp.asarray(codes), width)
    announced = packing.packed(size, width)
    assert (words.shape, words.dtype) == (announced.shape, announced.dtype)
    np.testing.assert_array_equal(UNPACK(words, width, size), codes)
    dtype, number = packing.word(width)
    assert number == 8 * dtype.itemsize // width
    if width in (1, 2, 4, 8, 16):
        assert 8 * words.nbytes - width * size < 8 * dtype.itemsize


def test_words_hold_as_many_codes_as_fit():
    """Bits for each code of every width; the first code is in the lowest bits of the first word."""
    bits = {width: 8 * packing.word(width)[0].itemsize / packing.word(width)[1] for width in range(1, 17)}
    least = {width: 32 / (32 // width) for width in range(1, 17)}
    assert bits == least  # as many as fit a word of 32
    words = packing.pack(jnp.array([1, 2, 3, 4], jnp.uint8), 4)
    np.testing.assert_array_equal(words, [1 | 3 << 4, 2 | 4 << 4])


def tree():
    """A message with leaves of three dtypes, none, one, and many entries."""
    generator = np.random.default_rng(0)
    return {
        "half": jnp.asarray(generator.normal(size=(3, 7)), jnp.bfloat16),
        "single": jnp.asarray(generator.normal(size=50), jnp.float32),
        "double": jnp.asarray(generator.normal(size=(2, 2, 9)), jnp.float64),
        "none": jnp.zeros((0, 3), jnp.float32),
        "one": jnp.float32(2.5),
    }


@pytest.mark.parametrize("num_levels", [3, 100, 256])
def test_there_are_as_many_colours_as_levels(num_levels):
    """All of 0, ..., q - 1, and no other."""
    x = jnp.linspace(0.0, 1.0, 20_000)
    colours = packing.unpack(
        lattice(num_levels, distance=DISTANCE).encode(KEY, x), (num_levels - 1).bit_length(), x.size
    )
    counts = np.bincount(colours)
    assert len(counts) == num_levels
    assert counts.min() > 0


@pytest.mark.parametrize("is_rotated", [False, True])
@pytest.mark.parametrize("num_levels", [3, 16, 256, 1000])
def test_bits_are_those_of_the_code(num_levels, is_rotated):
    """8 for each byte of the code; one number more if the distance is sent, as wide as the widest leaf."""
    message = tree()
    fixed = lattice(num_levels, distance=0.1, is_rotated=is_rotated)
    code = jax.eval_shape(fixed.encode, KEY, message)
    assert {leaf.dtype.kind for leaf in jax.tree.leaves(code)} == {"u"}
    assert fixed.bits(message) == 8 * stacked.num_bytes(code)
    assert lattice(num_levels, is_rotated=is_rotated).bits(message) == fixed.bits(message) + 64
    single = {"single": message["single"], "half": message["half"]}
    assert lattice(num_levels).bits(single) == fixed.bits(single) + 32
    assert lattice(256, distance=1.0).bits(jax.ShapeDtypeStruct((1000,), jnp.float32)) == 8000


@pytest.mark.parametrize(("rounding", "is_rotated"), [("nearest", False), ("stochastic", True)])
def test_trees_of_several_dtypes(rounding, is_rotated):
    """Each leaf keeps its dtype and shape; the norm is that of all; what is within it is decoded rightly."""
    message = tree()
    reference = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.01, leaf.dtype), message)
    running = lattice(256, rounding=rounding, is_rotated=is_rotated)
    difference = stacked.subtract(message, reference)
    distance = running.nearness.norm(difference)
    assert (distance.shape, distance.dtype) == ((), jnp.float64)
    if not is_rotated:
        assert float(distance) == max(float(jnp.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(difference))
    found = running.nearness.within(1.01 * distance)
    decoded = compiled(found)(KEY, message, reference)
    assert jax.tree.map(jnp.shape, decoded) == jax.tree.map(jnp.shape, message)
    assert int(jax.jit(running.nearness.within(1.01 * distance).nearness.num_failures)(KEY, message, decoded)) == 0
    for name, leaf in decoded.items():
        assert leaf.dtype == message[name].dtype
        if leaf.size:
            half = 2.0**-7 if leaf.dtype == jnp.bfloat16 else 0
            most = 1.0 if is_rotated else 0.01
            assert np.abs(error(leaf, message[name])).max() <= most * float(distance) + half


def test_many_messages_at_once_and_one_by_one():
    """By vmap over keys, messages, references and distances gives what each has alone; with jit and without."""
    running = lattice(16)
    x, y = (jnp.stack(each) for each in zip(*(ends(jnp.float32, 40, seed) for seed in range(3)), strict=True))
    keys, distances = jax.random.split(KEY, 3), jnp.array([0.25, 0.3, 0.5], jnp.float32)

    def one(key, message, reference, distance):
        found = running.nearness.within(distance)
        decoded = found.decode(key, found.encode(key, message), reference)
        return decoded, running.nearness.within(distance).nearness.num_failures(key, message, decoded)

    decoded, failures = jax.jit(jax.vmap(one))(keys, x, y, distances)
    np.testing.assert_array_equal(failures, [0, 0, 0])
    for row in range(3):
        np.testing.assert_allclose(one(keys[row], x[row], y[row], distances[row])[0], decoded[row], rtol=1e-6)


# Rotated


@pytest.mark.parametrize("size", [0, 1, 8, 100, 5000])
def test_a_rotation_is_orthogonal_and_goes_back(size):
    """‖R v‖ = ‖v‖, ⟨R v, R w⟩ = ⟨v, w⟩ and R⁻¹ R v = v; no two keys rotate alike."""
    words = module._signs(KEY)
    rotate, back = (jax.jit(each, static_argnums=2) for each in (rotation.rotate, rotation.rotate_back))
    v, w = jax.random.normal(KEY, (2, size))
    turned, other = rotate(v, words, 7), rotate(w, words, 7)
    assert turned.shape == v.shape
    np.testing.assert_allclose(turned @ turned, v @ v, rtol=1e-12)
    np.testing.assert_allclose(turned @ other, v @ w, atol=1e-10)
    np.testing.assert_allclose(back(turned, words, 7), v, atol=1e-12)
    if size > 3:
        assert not np.allclose(turned, rotate(v, module._signs(jax.random.key(1)), 7))
        assert not np.allclose(back(turned, words, 8), v)
    if size == 8:
        one = jnp.zeros(size).at[3].set(1.0)
        np.testing.assert_allclose(np.abs(rotate(one, words, 7)), size**-0.5, rtol=1e-12)


TURNED = jax.jit(jax.vmap(lambda key, v: rotation.rotate(v, module._signs(key), 0), (0, None)))


@pytest.mark.parametrize("size", [5, 5000])
@pytest.mark.parametrize("kind", ["flat", "one", "alternating", "gaussian", "chirp"])
def test_the_norm_of_a_rotated_message_holds(size, kind):
    """No coordinate of 50 rotations is beyond it; half of it would be exceeded in long messages, and seen."""
    places = jnp.arange(size)
    v = {
        "flat": jnp.ones(size),
        "one": jnp.zeros(size).at[size - 1].set(-3.0),
        "alternating": jnp.where(places % 2 == 0, 1.0, -1.0),
        "gaussian": jax.random.normal(KEY, (size,)),
        "chirp": jnp.sin(0.001 * places.astype(jnp.float64) ** 2),
    }[kind]
    claimed = float(jax.jit(lattice(is_rotated=True).nearness.norm)(v))
    turned = TURNED(jax.random.split(KEY, 50), v)
    found = float(jnp.abs(turned).max())
    assert found <= claimed
    if size == 5000 and kind != "one":
        assert found > claimed / 2.5


def test_rotation_helps_where_few_coordinates_are_far_apart():
    """One coordinate in 4096 differs: the same bits lose far less; failures are seen."""
    y = jnp.zeros(4096)
    x = y.at[17].set(1.0)
    lost = {}
    for is_rotated in (False, True):
        running = lattice(16, is_rotated=is_rotated)
        distance = running.nearness.norm(x - y)
        decoded = compiled(running.nearness.within(float(distance)))(KEY, x, y)
        lost[is_rotated] = float(jnp.sum((decoded - x) ** 2))
        assert int(running.nearness.within(distance).nearness.num_failures(KEY, x, decoded)) == 0
        short = 0.1 * float(distance)
        wrong = compiled(running.nearness.within(short))(KEY, x, y)
        num_wrong = int(running.nearness.within(short).nearness.num_failures(KEY, x, wrong))
        assert (num_wrong > 1) == is_rotated
        assert num_wrong >= 1
    assert lost[True] < 0.03 * lost[False]


# Where it belongs


def test_without_a_distance_it_says_what_is_missing():
    """The running maximum is kept by those who exchange; `within` makes the compressor for it."""
    running, x = lattice(), jnp.ones(3)
    assert running.nearness.is_running
    assert running.nearness.margin == 1.5
    assert not lattice(distance=0.5).nearness.is_running
    code = running.nearness.within(0.5).encode(KEY, x)
    for call in (
        lambda: running.encode(KEY, x),
        lambda: running.decode(KEY, code, x),
        lambda: compressors.compress(running, KEY, x),
    ):
        with pytest.raises(ValueError, match=r"^distance = None is a running maximum.*nearness\.within\(distance\)"):
            call()


def test_it_is_refused_where_no_one_has_a_reference():
    """Variants that send updates, and what divides or scales unbiased compressors; named as it is written."""
    found = lattice(16, distance=0.5)
    words = r"^compressor = encode_lattice\(.*num_levels=16.*receiver's own parameters.*quantizer="
    for call in (
        lambda: compressors.check(found),
        lambda: compressors.contracted(found),
        lambda: algorithms.variant("synchronous_sgd").build(print, num_workers=2, compressor=found),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert compressors.check(found, name="quantizer", has_reference=True) is found
    assert compressors.check(None, name="quantizer", has_reference=True).nearness is None
    with pytest.raises(TypeError, match=r"^quantizer = 3 is a int; it must be a Compressor"):
        compressors.check(3, name="quantizer", has_reference=True)
    assert compressors.norm_factor(found, jnp.ones(3)) is None
    assert compressors.residual_fraction(found, jnp.ones(3)) is None


def test_messages_that_are_none():
    """Integers, codes of another form, references of another tree: the error names what is wrong."""
    compressor, x = lattice(16, distance=0.5), {"w": jnp.ones(4)}
    code = compressor.encode(KEY, x)
    with pytest.raises(TypeError, match=r"^message\['w'\] = int32\[4\]; it must be a float"):
        compressor.encode(KEY, {"w": jnp.ones(4, jnp.int32)})
    with pytest.raises(TypeError, match=r"^reference\['w'\]"):
        compressor.decode(KEY, code, {"w": jnp.ones(4, bool)})
    with pytest.raises(TypeError, match=r"^code\['w'\] is uint8\[2\]; it must be uint8\[3\]"):
        compressor.decode(KEY, code, {"w": jnp.ones(5)})
    with pytest.raises(TypeError, match=r"^code"):
        compressor.decode(KEY, code, {"v": jnp.ones(4)})
    with pytest.raises(TypeError, match=r"^code\['w'\]"):
        lattice(256, distance=0.5).decode(KEY, code, x)
    with pytest.raises(TypeError, match=r"^difference = int64\[3\]"):
        compressor.nearness.norm(jnp.arange(3))
    with pytest.raises(TypeError, match=r"^decoded"):
        compressor.nearness.within(0.5).nearness.num_failures(KEY, x, {"w": jnp.ones(5)})
