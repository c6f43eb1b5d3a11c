"""Canonicalised convolutions: the same numbers, in one order, wherever they stand."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import check_jaxpr
from jax.sharding import PartitionSpec

from elastic_jax import convolutions
from elastic_jax.convolutions import canonicalize, count_equations, has_convolution

compiled = partial(
    jax.jit,
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)
TOLERANCE = {jnp.dtype("float32"): 1e-6, jnp.dtype("float64"): 1e-12}


def assert_close(actual: Any, expected: Any) -> None:
    """Same structure, shapes and dtypes, and differences small beside the largest entry of each leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        difference = np.abs(np.asarray(got) - np.asarray(want)).max()
        assert difference <= TOLERANCE[want.dtype] * np.abs(np.asarray(want)).max()


def equations(jaxpr: Any) -> list[Any]:
    """All equations at any depth; written apart from the library's own walk, which it judges."""
    found = []
    for equation in jaxpr.eqns:
        found.append(equation)
        params = list(equation.params.values())
        parts = jax.tree.leaves(params, is_leaf=lambda part: hasattr(part, "eqns"))
        for part in parts:
            if hasattr(part, "eqns"):
                found += equations(part)
    return found


def convolutions_of(function: Any, *args: Any) -> list[Any]:
    jaxpr = jax.make_jaxpr(function)(*args)
    check_jaxpr(jaxpr.jaxpr)
    return [each for each in equations(jaxpr) if each.primitive.name == "conv_general_dilated"]


def is_canonical(equation: Any) -> bool:
    kernel = equation.invars[1].aval.shape
    last = len(kernel) - 1
    numbers, params = equation.params["dimension_numbers"], equation.params
    in_order = numbers.lhs_spec == numbers.out_spec == (0, last, *range(1, last))
    depthwise = kernel[-2] == 1
    ungrouped = params["batch_group_count"] == 1 and (params["feature_group_count"] == 1 or depthwise)
    return in_order and numbers.rhs_spec == (last, last - 1, *range(last - 1)) and ungrouped


def assert_same_results(function: Any, *args: Any) -> None:
    assert_close(*compiled(lambda *args: (canonicalize(function)(*args), function(*args)))(*args))


def assert_canonicalizes(function: Any, *args: Any) -> None:
    """The original has a slow convolution, the rewritten function none, and their results agree."""
    before = convolutions_of(function, *args)
    assert not all(map(is_canonical, before)), "the case has nothing to rewrite"
    after = convolutions_of(canonicalize(function), *args)
    assert len(after) >= len(before)
    assert all(map(is_canonical, after))
    assert_same_results(function, *args)


def differentiated(convolve: Any, inputs: Any, kernel: Any, cotangent: Any) -> Any:
    outputs, pullback = jax.vjp(convolve, inputs, kernel)
    return outputs, pullback(cotangent)


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jnp.asarray(rng.normal(size=shape), dtype)


# --- any convolution ---


class Configuration(NamedTuple):
    """One convolution, drawn at random, with its arguments; `mapped` are the `in_axes` of a vmap, or None."""

    settings: dict[str, Any]
    inputs: jax.Array
    kernel: jax.Array
    mapped: tuple[int | None, int | None] | None


def draw(rng: np.random.Generator, num_space: int, dtype: Any, batch_groups: bool) -> Configuration:
    groups, of_group, out_of_group, batch = (int(rng.integers(1, high)) for high in (4, 4, 3, 4))
    space = [int(size) for size in rng.integers(5, 8, num_space)]
    window = [int(size) for size in rng.integers(1, 4, num_space)]
    settings: dict[str, Any] = {
        "window_strides": rng.integers(1, 3, num_space).tolist(),
        "rhs_dilation": rng.integers(1, 3, num_space).tolist(),
        "lhs_dilation": rng.integers(1, 3, num_space).tolist(),
        "padding": [tuple(pair) for pair in rng.integers(0, 3, (num_space, 2)).tolist()],
    }
    if rng.random() < 0.3:
        settings |= {"padding": str(rng.choice(["SAME", "VALID"])), "lhs_dilation": [1] * num_space}
    lhs, rhs, out = (tuple(rng.permutation(num_space + 2).tolist()) for _ in range(3))
    first, last = tuple(range(num_space + 2)), (0, num_space + 1, *range(1, num_space + 1))
    kind = rng.integers(3)  # any order, channels first, channels last
    if kind == 1:
        lhs = rhs = out = first
    elif kind == 2:
        lhs, rhs, out = last, (num_space + 1, num_space, *range(num_space)), last
    settings["dimension_numbers"] = lax.ConvDimensionNumbers(lhs, rhs, out)
    settings["batch_group_count" if batch_groups else "feature_group_count"] = groups

    input_sizes = (batch * groups, of_group, *space) if batch_groups else (batch, groups * of_group, *space)
    kernel_sizes = (groups * out_of_group, of_group, *window)
    input_shape = tuple(input_sizes[i] for i in np.argsort(lhs))
    kernel_shape = tuple(kernel_sizes[i] for i in np.argsort(rhs))
    mapped = [None, (0, 0), (0, None), (None, 0)][rng.integers(4)]
    if mapped is not None:
        input_shape = (2, *input_shape) if mapped[0] == 0 else input_shape
        kernel_shape = (2, *kernel_shape) if mapped[1] == 0 else kernel_shape
    return Configuration(settings, normal(rng, input_shape, dtype), normal(rng, kernel_shape, dtype), mapped)


def both_gradients(configuration: Configuration, inputs: Any, kernel: Any) -> Any:
    def gradients(inputs: Any, kernel: Any) -> Any:
        convolve = partial(lax.conv_general_dilated, **configuration.settings)
        outputs, pullback = jax.vjp(convolve, inputs, kernel)
        weights = jnp.arange(1, outputs.size + 1, dtype=outputs.dtype).reshape(outputs.shape) / outputs.size
        return outputs, pullback(weights)

    if configuration.mapped is None:
        return gradients(inputs, kernel)
    return jax.vmap(gradients, in_axes=configuration.mapped)(inputs, kernel)


def gradients_of_all(configurations: list[Configuration], rewrite: Any, arguments: Any) -> Any:
    return [
        rewrite(partial(both_gradients, configuration))(*pair)
        for configuration, pair in zip(configurations, arguments, strict=True)
    ]


@pytest.mark.parametrize("num_space", [1, 2, 3])
def test_any_convolution_and_its_gradients_keep_their_values(num_space: int) -> None:
    """Output and both gradients agree for any order, groups, stride, dilation and padding, mapped or not."""
    rng = np.random.default_rng(num_space)
    configurations = [draw(rng, num_space, ["float32", "float64"][i % 2], i % 4 == 3) for i in range(8)]
    arguments = [(each.inputs, each.kernel) for each in configurations]
    expected = compiled(partial(gradients_of_all, configurations, lambda function: function))(arguments)
    assert_close(compiled(partial(gradients_of_all, configurations, canonicalize))(arguments), expected)


@pytest.mark.parametrize("num_space", [1, 2, 3])
def test_any_convolution_comes_out_in_the_quick_order(num_space: int) -> None:
    """No permuted and no grouped convolution is left, for any order, groups, stride, dilation and padding."""
    rng = np.random.default_rng(10 + num_space)
    num_rewritten = 0
    for i in range(12):
        configuration = draw(rng, num_space, "float32", batch_groups=i % 2 == 1)
        arguments = (configuration.inputs, configuration.kernel)
        function = partial(both_gradients, configuration)
        num_rewritten += not all(map(is_canonical, convolutions_of(function, *arguments)))
        assert all(map(is_canonical, convolutions_of(canonicalize(function), *arguments)))
    assert num_rewritten >= 10


def test_settings_of_a_convolution_are_kept() -> None:
    """Strides, padding, dilations, precision and result type of a rewritten convolution are the original's."""
    settings = {
        "window_strides": (2, 1),
        "padding": ((1, 0), (2, 1)),
        "lhs_dilation": (1, 2),
        "rhs_dilation": (2, 1),
        "precision": (lax.Precision.HIGHEST, lax.Precision.HIGH),
        "preferred_element_type": jnp.dtype("float32"),
    }
    function = partial(lax.conv_general_dilated, **settings)
    arguments = (jnp.ones((2, 3, 6, 7), jnp.bfloat16), jnp.ones((4, 3, 3, 2), jnp.bfloat16))
    (equation,) = convolutions_of(canonicalize(function), *arguments)
    assert is_canonical(equation)
    assert {name: equation.params[name] for name in settings} == settings
    assert canonicalize(function)(*arguments).dtype == jnp.float32


def test_many_groups_stay_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above `MAX_PARTS` groups the convolution is only brought into order, and the values are the same."""
    monkeypatch.setattr(convolutions, "MAX_PARTS", 2)
    rng = np.random.default_rng(0)
    convolve = partial(lax.conv_general_dilated, window_strides=(1,), padding="SAME", feature_group_count=3)
    function = partial(differentiated, convolve)
    arguments = (normal(rng, (2, 6, 5), "float64"), normal(rng, (9, 2, 3), "float64"), jnp.ones((2, 9, 5)))
    found = convolutions_of(canonicalize(function), *arguments)
    assert [each.params["feature_group_count"] for each in found] == [3, 3, 3]
    assert all(each.params["dimension_numbers"].lhs_spec == (0, 2, 1) for each in found)
    assert_same_results(function, *arguments)


def test_a_depthwise_convolution_stays_in_one_piece() -> None:
    """Groups of one channel each stay together; only the order of dimensions changes."""
    convolve = partial(lax.conv_general_dilated, window_strides=(1,), padding="SAME", feature_group_count=6)
    (found,) = convolutions_of(canonicalize(convolve), jnp.ones((2, 6, 5)), jnp.ones((12, 1, 3)))
    assert found.params["feature_group_count"] == 6
    assert is_canonical(found)


# --- anywhere ---


def loss(kernel: jax.Array, inputs: jax.Array) -> jax.Array:
    """One 3x3 convolution, channels last, and a sum of squares that is not linear in it."""
    numbers = ("NHWC", "HWIO", "NHWC")
    outputs = lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    return jnp.square(jnp.tanh(outputs)).sum()


@jax.custom_jvp
def hidden_jvp(kernel: jax.Array, inputs: jax.Array) -> jax.Array:
    """A loss with a derivative that is deliberately three times too large, to see which rule is in use."""
    return loss(kernel, inputs)


@hidden_jvp.defjvp
def _(primals: Any, tangents: Any) -> Any:
    value, tangent = jax.jvp(loss, primals, tangents)
    return value, 3 * tangent


@jax.custom_vjp
def hidden_vjp(kernel: jax.Array, inputs: jax.Array) -> jax.Array:
    """The same by its transpose."""
    return loss(kernel, inputs)


def _forward(kernel: jax.Array, inputs: jax.Array) -> Any:
    return jax.vjp(loss, kernel, inputs)


def _backward(pullback: Any, cotangent: Any) -> Any:
    return jax.tree.map(lambda leaf: 3 * leaf, pullback(cotangent))


hidden_vjp.defvjp(_forward, _backward)

grad = jax.grad(loss)


def descend(kernel: Any, inputs: Any, gradient: Any = grad) -> Any:
    return kernel - 0.1 * gradient(kernel, inputs)


def in_scan(kernel: Any, inputs: Any) -> Any:
    def body(kernel: Any, example: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(kernel, example[None])
        return kernel - 0.1 * gradient, value

    return lax.scan(body, kernel, inputs)


def in_while_loop(kernel: Any, inputs: Any) -> Any:
    """The condition convolves too: descend until the loss is small, at most three times."""

    def go_on(carry: Any) -> Any:
        return (carry[0] < 3) & (jnp.abs(grad(carry[1], inputs)).max() > 1e-6)

    return lax.while_loop(go_on, lambda carry: (carry[0] + 1, descend(carry[1], inputs)), (0, kernel))[1]


def in_fori_loop(kernel: Any, inputs: Any) -> Any:
    return lax.fori_loop(0, 2, lambda _, kernel: descend(kernel, inputs), kernel)


def in_cond(kernel: Any, inputs: Any) -> Any:
    return lax.cond(inputs.sum() < 1e9, descend, lambda kernel, _: kernel, kernel, inputs)


def in_switch_in_scan(kernel: Any, inputs: Any) -> Any:
    branches = [lambda kernel: kernel, partial(descend, inputs=inputs), partial(descend, inputs=2 * inputs)]
    return lax.scan(lambda kernel, i: (lax.switch(i, branches, kernel), None), kernel, jnp.arange(3))[0]


def scan_in_loss(kernel: Any, inputs: Any) -> Any:
    def total(kernel: Any) -> Any:
        return lax.scan(lambda value, example: (value + loss(kernel, example[None]), None), 0.0, inputs)[0]

    return jax.value_and_grad(total)(kernel)


def remat_in_scan(kernel: Any, inputs: Any) -> Any:
    gradient = jax.grad(jax.checkpoint(loss))
    return lax.scan(lambda kernel, _: (descend(kernel, inputs, gradient), None), kernel, length=2)[0]


def in_linear_solve(kernel: Any, inputs: Any) -> Any:
    """Solve (1 + c Hessian) s = gradient by two steps of Richardson's iteration."""
    gradient, hessian_of = jax.linearize(partial(grad, inputs=inputs), kernel)
    matvec = lambda direction: direction + 0.01 * hessian_of(direction)  # noqa: E731
    solve = lambda matvec, target: 2 * target - matvec(target)  # noqa: E731
    return lax.custom_linear_solve(matvec, gradient, solve, symmetric=True)


def in_lax_map(kernel: Any, inputs: Any) -> Any:
    return lax.map(lambda example: grad(kernel, example[None]), inputs)


def in_shard_map(kernel: Any, inputs: Any, check_vma: bool = True) -> Any:
    """Each device descends thrice by the mean gradient, out of a loop and in one; and says its own losses."""
    mesh = jax.make_mesh((2,), ("workers",), axis_types=(jax.sharding.AxisType.Auto,))
    ours, whole = PartitionSpec("workers"), PartitionSpec()

    def body(kernel: Any, shard: Any) -> Any:
        own = jax.lax.pcast(kernel, "workers", to="varying") if check_vma else kernel

        def one(own: Any, _: Any) -> Any:
            return own - 0.1 * lax.pmean(grad(own, shard), "workers"), loss(own, shard)

        own, _ = one(own, None)
        own, values = lax.scan(one, own, length=2)
        return lax.pmean(own, "workers"), values

    return jax.shard_map(body, mesh=mesh, in_specs=(whole, ours), out_specs=(whole, ours), check_vma=check_vma)(
        kernel, inputs
    )


PLACES = {
    "plain": jax.value_and_grad(loss, argnums=(0, 1)),
    "vmap": jax.vmap(jax.value_and_grad(lambda kernel, inputs: loss(kernel, inputs[None])), in_axes=(None, 0)),
    "jit": jax.jit(jax.value_and_grad(jax.jit(loss))),
    "scan": in_scan,
    "scan in loss": scan_in_loss,
    "while_loop": in_while_loop,
    "fori_loop": in_fori_loop,
    "lax.map": in_lax_map,
    "cond": in_cond,
    "switch in scan": in_switch_in_scan,
    "remat": jax.grad(jax.checkpoint(loss)),
    "remat in scan": remat_in_scan,
    "custom_jvp": jax.grad(hidden_jvp),
    "custom_vjp": jax.grad(hidden_vjp),
    "linear solve": in_linear_solve,
    "shard_map": in_shard_map,
    "shard_map unchecked": partial(in_shard_map, check_vma=False),
}


@pytest.fixture(scope="module")
def arguments() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return normal(rng, (3, 3, 2, 3), "float64") / 4, normal(rng, (4, 5, 6, 2), "float64")


@pytest.mark.parametrize("place", PLACES)
def test_convolutions_are_found_and_kept_wherever_they_stand(place: str, arguments: Any) -> None:
    """In every control-flow construct all convolutions come out in the quick order, with the same results."""
    assert_canonicalizes(PLACES[place], *arguments)


def test_a_convolution_left_as_it_was_is_found(arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: these tests see what a rewriter that forgets the branches of `cond` leaves behind."""
    rewrite = convolutions._rewrite
    monkeypatch.setattr(convolutions, "_rewrite", lambda x: x if isinstance(x, tuple) else rewrite(x))
    assert_canonicalizes(in_scan, *arguments)
    found = convolutions_of(canonicalize(in_switch_in_scan), *arguments)
    left = [each for each in found if not is_canonical(each)]
    assert len(left) == 2  # the kernel gradient, in two of the three branches


def test_one_misplaced_dimension_changes_the_values(arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: values tell when height and width of the result are exchanged, even where shapes do not."""
    convolve = convolutions._convolve
    monkeypatch.setattr(convolutions, "_convolve", lambda *args, **params: convolve(*args, **params).mT)
    square = jnp.arange(2.0 * 16).reshape(1, 2, 4, 4)  # channels first, so the last two are height and width
    kernel = jnp.arange(4.0 * 9).reshape(2, 2, 3, 3)
    function = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")
    with pytest.raises(AssertionError):
        assert_close(canonicalize(function)(square, kernel), function(square, kernel))


# --- nothing else changes ---


def test_nothing_changes_off_the_cpu(arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another backend the function itself is called, once, and its jaxpr is the one it had."""
    calls: list[int] = []

    def function(kernel: Any, inputs: Any) -> Any:
        calls.append(1)
        return grad(kernel, inputs)

    plain = jax.make_jaxpr(grad)(*arguments)
    assert str(jax.make_jaxpr(canonicalize(function))(*arguments)) != str(plain)
    calls.clear()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert str(jax.make_jaxpr(canonicalize(function))(*arguments)) == str(plain)
    assert len(calls) == 1


def test_nothing_changes_without_a_convolution() -> None:
    """A function that does not convolve is looked at once, then called with the very arguments given."""
    seen: list[Any] = []

    def function(x: Any) -> Any:
        seen.append(x)
        return lax.scan(lambda carry, _: (jnp.tanh(carry), carry), jax.checkpoint(jnp.sin)(x), length=3)

    argument = jnp.ones(3)
    canonicalize(function)(argument)
    assert len(seen) == 2
    assert seen[1] is argument
    assert str(jax.make_jaxpr(canonicalize(function))(argument)) == str(jax.make_jaxpr(function)(argument))


def test_a_convolution_in_the_quick_order_stays_untouched(arguments: Any) -> None:
    """The forward convolution, channels last, is left as it is: no transposes around it."""
    assert str(jax.make_jaxpr(canonicalize(loss))(*arguments)) == str(jax.make_jaxpr(loss)(*arguments))


def test_rematerialisation_is_kept(arguments: Any) -> None:
    """What the user asked to recompute is recomputed: the rewritten jaxpr has as many checkpoints."""
    names = [
        sum("remat" in each.primitive.name for each in equations(jax.make_jaxpr(function)(*arguments)))
        for function in (remat_in_scan, canonicalize(remat_in_scan))
    ]
    assert names == [1, 1]


def permuted(kernel: Any, inputs: Any) -> Any:
    """A convolution of inputs with channels first, which is rewritten even before it is differentiated."""
    numbers = ("NCHW", "HWIO", "NCHW")
    return lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=numbers).sum()


@pytest.mark.parametrize("hidden", [hidden_jvp, hidden_vjp])
def test_custom_derivatives_are_kept_in_either_order(hidden: Any, arguments: Any) -> None:
    """Differentiated before or after, the user's rule counts; here it is three times the true gradient."""
    kernel, inputs = arguments
    assert_close(compiled(canonicalize(jax.grad(hidden)))(kernel, inputs), 3 * grad(kernel, inputs))

    def both(kernel: Any, inputs: Any) -> Any:
        return hidden(kernel, inputs) + permuted(kernel, jnp.moveaxis(inputs, -1, 1))

    expected = 3 * grad(kernel, inputs) + jax.grad(permuted)(kernel, jnp.moveaxis(inputs, -1, 1))
    assert not all(map(is_canonical, convolutions_of(both, kernel, inputs)))
    assert_close(compiled(jax.grad(canonicalize(both)))(kernel, inputs), expected)


def test_effects_happen_as_often_as_before(arguments: Any) -> None:
    """A callback beside the convolutions of a loop runs once per turn, although the function is traced twice."""
    seen: list[int] = []

    def function(kernel: Any, inputs: Any) -> Any:
        def body(kernel: Any, i: Any) -> Any:
            jax.debug.callback(lambda i: seen.append(int(i)), i, ordered=True)
            return descend(kernel, inputs), None

        return lax.scan(body, kernel, jnp.arange(3))[0]

    compiled(canonicalize(function))(*arguments).block_until_ready()
    jax.effects_barrier()
    assert seen == [0, 1, 2]


def test_any_arguments_that_jit_takes(arguments: Any, key: jax.Array) -> None:
    """Pytrees, None, keywords, NumPy arrays, Python scalars and typed keys come and go as they do by `jit`."""

    def function(params: Any, inputs: Any, scale: Any, *, key: Any) -> Any:
        outputs = scale * permuted(params["kernel"], inputs)
        return {"outputs": outputs, "nothing": params["nothing"]}, (scale, key)

    params = {"kernel": arguments[0], "nothing": None}
    inputs = np.moveaxis(np.asarray(arguments[1]), -1, 1)
    actual, (scale, new_key) = canonicalize(function)(params, inputs, 0.5, key=key)
    expected, (expected_scale, _) = compiled(function)(params, inputs, 0.5, key=key)
    assert_close((actual, scale), (expected, expected_scale))
    assert scale.weak_type == expected_scale.weak_type
    assert new_key == key


def test_a_function_may_close_over_traced_values(arguments: Any) -> None:
    """Inside a loop, a function that closes over the turn's example is rewritten like any other."""
    kernel, inputs = arguments

    def of_example(example: Any) -> Any:
        return canonicalize(lambda kernel: grad(kernel, example[None]))(kernel)

    actual = compiled(lambda inputs: lax.map(of_example, inputs))(inputs)
    assert_close(actual, compiled(in_lax_map)(kernel, inputs))


def test_donated_arguments_are_used_up(arguments: Any) -> None:
    """Donation goes through: the buffer of the old kernel is the new one's."""
    kernel = jnp.array(arguments[0])
    compiled(canonicalize(descend), donate_argnums=0)(kernel, arguments[1])
    assert kernel.is_deleted()


def test_the_rewritten_function_maps_and_loops(arguments: Any) -> None:
    """A canonicalised gradient may itself be scanned and mapped over; the values stay."""

    def function(rewrite: Any, kernel: Any, inputs: Any) -> Any:
        gradient = rewrite(grad)
        kernel = lax.fori_loop(0, 2, lambda _, kernel: descend(kernel, inputs, gradient), kernel)
        return jax.vmap(gradient, in_axes=(None, 0))(kernel, inputs[:, None])

    actual = compiled(partial(function, canonicalize))(*arguments)
    assert_close(actual, compiled(partial(function, lambda function: function))(*arguments))


# --- a network, and what is said of a function ---


class Network(nn.Module):
    """A convolution, group normalisation, a depthwise convolution with stride, and a dense layer."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        x = nn.Conv(4, (3, 3), param_dtype=jnp.float64)(inputs)
        x = nn.relu(nn.GroupNorm(num_groups=2, param_dtype=jnp.float64)(x))
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, feature_group_count=4, param_dtype=jnp.float64)(x))
        return nn.Dense(3, param_dtype=jnp.float64)(x.mean((1, 2)))


@pytest.mark.parametrize("num_workers", [None, 2])
def test_a_network_has_the_same_gradients(num_workers: int | None, key: jax.Array) -> None:
    """Loss and gradients of a Flax network with a depthwise convolution agree, alone and over workers."""
    inputs = jax.random.normal(key, (num_workers or 1, 2, 6, 6, 2))
    network = Network()

    @jax.numpy_dtype_promotion("standard")  # Flax's normalisation promotes float64 with float32
    def network_loss(params: Any, inputs: Any) -> Any:
        return jnp.square(network.apply(params, inputs)).mean()

    with jax.numpy_dtype_promotion("standard"):
        params = compiled(network.init)(key, inputs[0])

    gradient = jax.value_and_grad(network_loss)
    if num_workers is None:
        inputs = inputs[0]
    else:
        params = jax.tree.map(lambda leaf: jnp.stack([leaf] * num_workers), params)
        gradient = jax.vmap(gradient)

    assert all(map(is_canonical, convolutions_of(canonicalize(gradient), params, inputs)))
    assert_same_results(gradient, params, inputs)


@pytest.mark.parametrize("place", PLACES)
def test_a_convolution_is_seen_at_any_depth(place: str, arguments: Any) -> None:
    """`has_convolution` needs shapes only, and looks into loops, branches and calls."""
    shapes = jax.eval_shape(lambda *args: args, *arguments)
    assert has_convolution(PLACES[place], *shapes)


def test_no_convolution_is_seen_where_there_is_none() -> None:
    """A matrix product in a loop is not a convolution."""
    shape = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    assert not has_convolution(lambda x: lax.fori_loop(0, 2, lambda _, x: x @ x, x), shape)


def test_equations_are_counted_at_any_depth() -> None:
    """An equation counts one, and so does each in the jaxprs that it holds, whatever their number of turns."""
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)

    def in_loop(x: Any) -> Any:
        return lax.scan(lambda x, _: (jnp.sin(jnp.cos(x)), None), x, length=7)[0]

    def in_branch(i: Any, x: Any) -> Any:
        return lax.cond(i, lambda x: in_loop(x), operator.neg, x)

    assert count_equations(lambda x: x, shape) == 0
    assert count_equations(jnp.sin, shape) == 1
    assert count_equations(in_loop, shape) == 3
    index = jax.ShapeDtypeStruct((), jnp.int32)
    # ne, convert, cond, then scan, cos, sin in one branch and neg in the other
    assert count_equations(lambda i, x: in_branch(i > 0, x), index, shape) == 7
