"""A bad number, name or part is refused by every public function, by its name and value, with nothing compiled."""

import importlib
import inspect
import pkgutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_arguments import ABOVE_ZERO, NOT_A_PART, not_an_integer, rejects

from elastic_jax import data, devices, metrics, oracles, problems, run
from elastic_jax.algorithms import synchronous_sgd
from elastic_jax.problems import (
    bleu,
    classification,
    decoding,
    finite_sum,
    logistic,
    quadratic,
    sequences,
    supervised,
    transformer,
)

NOT_A_FUNCTION = st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
NOT_A_FLAG = st.none() | st.integers() | st.text(max_size=3) | st.floats()
NOT_A_NAME = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2)
NOT_A_COUNT = not_an_integer(1)
NOT_A_SEED = not_an_integer(0) | st.none()
NOT_INTEGERS = st.integers() | st.floats() | st.text(max_size=3) | st.none() | st.sampled_from([np.ones(2), {1: 2}])
NOT_FINITE = st.sampled_from([float("nan"), float("inf"), 10**400, True, "0.5", 1j])
BELOW_ZERO = NOT_FINITE | st.floats(max_value=0, exclude_max=True) | st.integers(max_value=-1)
NOT_A_KEY = NOT_A_PART | st.none() | st.sampled_from([np.zeros(2, np.uint32), jax.random.split(jax.random.key(0), 3)])
NOT_A_MAPPING = st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
NOT_A_PATH = st.integers() | st.floats() | st.lists(st.text(max_size=2), max_size=2) | st.just(__file__)

QUADRATIC = quadratic.build(num_workers=4, dim=3)
RUN = {
    "algorithm": synchronous_sgd.build(QUADRATIC.oracle, num_workers=4),
    "params": jnp.zeros(3),
    "data": QUADRATIC.data,
    "num_steps": 3,
    "key": jax.random.key(0),
    "progress": False,
}
"""A run that would go well."""

IN_ORACLES = {
    "batch_size": NOT_A_COUNT,
    "takes_key": NOT_A_FLAG,
    "strategy": NOT_A_NAME,
    "chunk": NOT_A_COUNT,
    "mesh": NOT_A_PART,
}
FUNCTIONS = [
    *((oracles.from_loss, {"loss": print}, *row) for row in {"loss": NOT_A_FUNCTION, **IN_ORACLES}.items()),
    *(
        (oracles.from_value_and_grad, {"value_and_grad": print}, *row)
        for row in {"value_and_grad": NOT_A_FUNCTION, **IN_ORACLES}.items()
    ),
    *((oracles.from_grad, {"grad": print}, *row) for row in {"grad": NOT_A_FUNCTION, **IN_ORACLES}.items()),
    (oracles.check_data, {"oracle": oracles.from_grad(print), "data": ()}, "num_workers", NOT_A_COUNT | st.none()),
    (devices.request_cpu_devices, {}, "num_devices", NOT_A_COUNT | st.none()),
    (devices.make_mesh, {}, "num_devices", NOT_A_COUNT | st.integers(min_value=5)),
    *(
        (function, {name: jnp.zeros(4)}, "mesh", NOT_A_PART | st.none())
        for function, name in (
            (devices.shardings, "state"),
            (devices.place, "state"),
            (devices.place_data, "data"),
            (devices.replicate, "tree"),
        )
    ),
    *(
        (run.run, {**RUN, **more}, name, values)
        for name, values, more in (
            ("algorithm", NOT_A_PART | st.none(), {}),
            ("num_steps", NOT_A_COUNT | st.none() | st.integers(min_value=2**31 - 1), {}),
            ("key", NOT_A_KEY, {}),
            ("seeds", NOT_A_COUNT | st.integers(min_value=2**31), {}),
            ("share_schedule", NOT_A_FLAG, {}),
            ("seed_strategy", NOT_A_NAME, {}),
            ("metrics", NOT_A_MAPPING, {}),
            ("chunk", NOT_A_COUNT, {}),
            ("check", NOT_A_NAME, {}),
            ("on_divergence", NOT_A_NAME, {}),
            ("mesh", NOT_A_PART, {}),
            ("run_dir", NOT_A_PATH, {}),
            ("checkpoint_every", NOT_A_COUNT, {"run_dir": "never made"}),
            ("config", NOT_A_MAPPING, {}),
            ("progress", NOT_A_FLAG, {}),
            ("watch", NOT_A_FUNCTION, {}),
        )
    ),
    (run.seed_key, {"seed": 0}, "key", NOT_A_KEY),
    (run.seed_key, {"key": RUN["key"]}, "seed", NOT_A_SEED | st.integers(min_value=2**31)),
    (run.seed_key, {"key": RUN["key"], "seed": 0}, "share_schedule", NOT_A_FLAG),
    (metrics.metric, {"every": 1}, "measure", NOT_A_FUNCTION | st.none()),
    *(
        (
            make,
            {"measure": print, "problem": QUADRATIC},
            "every",
            NOT_A_COUNT | st.none() | st.integers(min_value=2**31),
        )
        for make in vars(metrics).values()
        if inspect.isfunction(make) and "every" in inspect.signature(make).parameters
    ),
    *(
        (make, {"every": 1}, "problem", NOT_A_PART | st.none())
        for make in (metrics.objective, metrics.grad_norm_sq, metrics.evaluate)
    ),
    (metrics.promised_state_bytes, {"params": jnp.zeros(3)}, "algorithm", NOT_A_PART | st.none()),
]

IMAGES = data.Dataset(
    "images",
    np.zeros((40, 4, 4, 1), np.float32),
    np.arange(40, dtype=np.int32) % 2,
    np.zeros((4, 4, 4, 1), np.float32),
    np.zeros(4, np.int32),
    2,
)
SENTENCES = sequences.reversal(num_train=40, num_test=4)
IN_PROBLEMS = {
    "num_workers": NOT_A_COUNT | st.none(),
    "dataset": NOT_A_PART,
    "batch_size": NOT_A_COUNT | st.none() | st.integers(min_value=21),
    "num_calibration": NOT_A_COUNT | st.none(),
    "split": NOT_A_NAME,
    "alpha": ABOVE_ZERO | st.floats(min_value=1e6, exclude_min=True),
    "seed": NOT_A_SEED,
    **{name: IN_ORACLES[name] for name in ("strategy", "chunk", "mesh", "takes_key")},
    "module": NOT_A_PART,
    **dict.fromkeys(("num_examples", "dim", "num_heads", "num_layers", "hidden_width"), NOT_A_COUNT | st.none()),
    **dict.fromkeys(("num_words", "max_length", "num_train", "num_test"), NOT_A_COUNT | st.none()),
    **dict.fromkeys(("widen_factor", "block_size"), NOT_A_COUNT | st.none()),
    "num_classes": not_an_integer(2) | st.none(),
    "reg": BELOW_ZERO | st.none(),
    "noise": BELOW_ZERO | st.none(),
    "radius": ABOVE_ZERO,
    "low_curvature": ABOVE_ZERO | st.none(),
    "high_curvature": ABOVE_ZERO | st.floats(max_value=0.1, exclude_max=True),
    "curvature_spread": BELOW_ZERO | st.floats(min_value=1),
    "centre_spread": BELOW_ZERO | st.none(),
    "label_smoothing": BELOW_ZERO | st.floats(min_value=1, exclude_min=True),
    "is_tied": NOT_A_FLAG,
    "norm": NOT_A_NAME,
    **dict.fromkeys(("channels", "widths"), NOT_INTEGERS),
    "depth": NOT_A_COUNT | st.sampled_from([0, 4, 9, 11, 18, 21]),
    "width": NOT_A_COUNT | st.none(),
    **dict.fromkeys(("init", "loss"), NOT_A_FUNCTION | st.none()),
    **dict.fromkeys(("measure", "test_measure", "prepare"), NOT_A_FUNCTION),
    "constants": NOT_A_PART,
}
"""{parameter of a problem: values that every problem that has it must refuse}."""
MADE_BY_CODE = {"num_examples", "dim", "num_classes"}
"""Parameters of synthetic data, not looked at where there is a data set."""


def valid(build, name):
    """Arguments of a problem beside the one that is bad; small data, so that nothing takes long."""
    takes = inspect.signature(build).parameters
    given = {"num_workers": 2, "dataset": SENTENCES if "is_tied" in takes else IMAGES, "batch_size": 2}
    given |= {
        "depth": 8 if "width" in takes else 10,
        "module": nn.Dense(2),
        "init": print,
        "loss": print,
        "split": "dirichlet",
        "alpha": 1.0,
    }
    given |= {"split": "iid", "alpha": None} if name in MADE_BY_CODE else {}
    left_out = {name} | ({"dataset"} if name in MADE_BY_CODE else set())
    return {each: value for each, value in given.items() if each in takes and each not in left_out}


BUILDS = {
    **{name: problems.problem(name).build for name in problems.names()},
    "supervised": supervised.build,
    "classification": classification.from_module,
    "copying": sequences.copying,
    "reversal": sequences.reversal,
}
FUNCTIONS += [
    (build, valid(build, name), name, IN_PROBLEMS[name])
    for build in BUILDS.values()
    for name in inspect.signature(build).parameters
    if name in IN_PROBLEMS
]
NO_TEXTS = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), min_size=1, max_size=2)
FUNCTIONS += [
    (bleu.corpus_bleu, {"references": ["a"]}, "outputs", NO_TEXTS),
    (bleu.corpus_bleu, {"outputs": ["a"]}, "references", NO_TEXTS),
    *(
        (decoding.greedy, {"params": {}, "sources": [[3]], "module": transformer.Transformer(5), "max_length": 4}, *row)
        for row in {"module": NOT_A_PART, "max_length": NOT_A_COUNT, "batch_size": NOT_A_COUNT}.items()
    ),
]
TREES = {"params", "data", "state", "tree", "views", "examples", "test_examples", "calibration", "labels", "sources"}
"""Trees of arrays, and labels: see the tests of trees."""
CHECKS_AND_SHAPES = {
    devices.check_mesh,
    devices.check_divisible,
    metrics.check_measure,
    oracles.chosen_strategy,
    # what `build` has checked already
    finite_sum.examples,
    logistic.certified,
}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_compiled():
    """A run ends before its first key and state are made, a problem before its minimiser is sought."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((run, "seed_key"), (run, "start_lane"), (run, "execute"), (finite_sum, "minimise")):
            patch.setattr(module, name, None)
        yield


@pytest.mark.parametrize(
    ("function", "others", "name", "values"),
    FUNCTIONS,
    ids=[f"{function.__module__}.{function.__name__}-{name}" for function, _, name, _ in FUNCTIONS],
)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_public_functions_reject(function, others, name, values, data):
    """Every parameter that is no tree, of every public function, with its name and its value."""
    takes = inspect.signature(function).parameters
    value = data.draw(values)
    given_arguments = {**{each: other for each, other in others.items() if each in takes}, name: value}
    rejects(name, value, function, **given_arguments)


def public_functions():
    """The functions of oracles, devices, run, metrics, and those of problems that have an "Args:" section."""
    names = [f"problems.{found.name}" for found in pkgutil.iter_modules(problems.__path__)]
    for name in ["oracles", "devices", "run", "metrics", *names]:
        module = importlib.import_module(f"elastic_jax.{name}")
        for attribute, function in vars(module).items():
            is_own = inspect.isfunction(function) and function.__module__ == module.__name__
            is_judged = name not in names or "Args:\n" in (function.__doc__ or "") or function in BUILDS.values()
            if is_own and is_judged and not attribute.startswith("_"):
                yield function


PUBLIC = list(public_functions())


def unjudged(rows):
    """Parameters of public functions that no row is about."""
    judged = {(function, name) for function, _, name, _ in rows}
    return [
        f"{function.__module__}.{function.__name__}-{name}"
        for function in PUBLIC
        if function not in CHECKS_AND_SHAPES
        for name in inspect.signature(function).parameters
        if name not in TREES and (function, name) not in judged and (function, name) != (oracles.check_data, "oracle")
    ]


def test_every_parameter_is_judged():
    """A new public function, or a new parameter of one, needs a row that says what it refuses."""
    assert unjudged(FUNCTIONS) == []
    assert unjudged(FUNCTIONS[1:]) == ["elastic_jax.oracles.from_loss-loss"]
    assert len(PUBLIC) > 35


NAMES = [
    (oracles.from_loss, {"loss": print}, "strategy", "unroled", "unrolled"),
    (run.run, RUN, "check", "every_steps", "every_step"),
    (run.run, RUN, "on_divergence", "continu", "continue"),
    (run.run, RUN, "seed_strategy", "lop", "loop"),
    (problems.problem, {}, "name", "transfomer", "transformer"),
    (classification.from_module, valid(classification.from_module, "split"), "split", "by_labels", "by_label"),
    *(
        (build, valid(build, "norm"), "norm", "bach", "batch")
        for build in BUILDS.values()
        if "norm" in inspect.signature(build).parameters
    ),
]


@pytest.mark.parametrize(("function", "others", "name", "value", "closest"), NAMES)
def test_an_unknown_name_proposes_the_closest(function, others, name, value, closest):
    with pytest.raises(ValueError, match=f" = {value!r} is unknown; did you mean {closest!r}"):
        function(**{**others, name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metrics": {"a": 5}}, r"^metrics\['a'\] = 5 "),
        ({"metrics": {"a.b": metrics.loss(1)}}, r"^metrics has the name 'a\.b'"),
        ({"metrics": {"a": metrics.Metric(3, 1)}}, r"^metrics\['a'\]\.measure = 3 "),
        ({"metrics": {"a": metrics.Metric(metrics.Running(3, print), 1)}}, r"^metrics\['a'\]\.measure\.start = 3 "),
        ({"metrics": {"a": metrics.Metric(metrics.Running(print, 3), 1)}}, r"^metrics\['a'\]\.measure\.update = 3 "),
        ({"metrics": {"a": metrics.Metric(metrics.Total(3), 1)}}, r"^metrics\['a'\]\.measure\.per_step = 3 "),
        ({"metrics": {"a": metrics.Metric(print, 0)}}, r"^metrics\['a'\]\.every = 0 "),
        ({"metrics": {"a": metrics.metric(lambda _: "a", 1)}}, r"^measure\(moment\) is the str 'a'"),
        ({"metrics": {"a": metrics.metric(metrics.Total(lambda _: {}), 1)}}, r"^measure\.per_step\(moment\) = \{\}"),
        ({"checkpoint_every": 3}, r"^checkpoint_every = 3 needs a run_dir"),
        ({"mesh": devices.make_mesh(3)}, r"^num_workers = 4 cannot be split evenly over the 3 devices"),
        ({"mesh": devices.make_mesh(2), "seeds": 2, "seed_strategy": "vmap"}, r"^seed_strategy = 'vmap'"),
        ({"data": iter([QUADRATIC.data]), "check": "chunks"}, r"^check = 'chunks'"),
        ({"data": iter(())}, r"^data ended after 0 batches"),
    ],
)
def test_a_run_refuses_what_does_not_go_together(given, message):
    """Metrics that are none, and arguments of which each alone would do."""
    with pytest.raises((TypeError, ValueError), match=message):
        run.run(**{**RUN, **given})
