"""How near bounds can be approached: instances are saved, run again to the same ratio, and a bug takes them over 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elastic_jax import compressors
from proofs_check import cases, planted
from proofs_check.compression import specimens
from proofs_check.consistency import error_feedback, late_messages
from proofs_check.identities.unsent_memory import has_error_feedback
from proofs_check.tightness import instances, kinds, search
from proofs_check.tightness.search import Sizes

FILES = sorted(instances.FOUND.glob("*.npz"))
SMALL = Sizes(num_screened=6, num_climbed=2, num_ascents=30)
LATE = "asynchronous_sgd (a constant delay)"


def test_every_setting_with_a_bound_has_an_instance_or_a_reason():
    """What `search` would look for has been found, but for bounds that are averages, and two workers without a loss."""
    found = {(each.kind, each.setting) for each in map(instances.load, FILES)}
    missing = [
        (kind, setting) for kind in kinds.KINDS for setting in search.settings(kind) if (kind, setting) not in found
    ]
    assert sorted(missing) == [
        ("gradients", "adasync_sgd"),
        ("gradients", "adsaga_sgd"),
        ("gradients", "delay_adaptive_sgd"),
        ("gradients", "fedbuff_sgd"),
        ("gradients", "k_async_sgd"),
        ("gradients", "k_batch_async_sgd"),
        ("gradients", "lossy_sgd"),
        ("gradients", "parameter_server_sgd"),
        ("gradients", "swarm_sgd"),
        ("noise of two", "crash_sgd (crashes, stand-ins)"),
    ]
    assert {(each.kind, each.setting) for each in map(instances.load, FILES)} <= {
        (kind, setting) for kind in kinds.KINDS for setting in search.settings(kind)
    }


@pytest.mark.proofs
def test_every_instance_is_run_again_to_the_ratio_that_was_found():
    """The file is all that is needed, and no bound is exceeded."""
    for path in FILES:
        found = instances.load(path)
        assert instances.replay(found) == pytest.approx(found.ratio, rel=1e-9), path.stem
        assert 0 < found.ratio <= 1 + search.ROUNDING, path.stem


def test_an_instance_is_saved_whole(tmp_path):
    """Every field comes back, gradients to the bit."""
    found = instances.load(FILES[0])
    again = instances.load(found.save(tmp_path / "new"))
    assert again._replace(variables={}) == found._replace(variables={})
    for name, value in found.variables.items():
        np.testing.assert_array_equal(again.variables[name], value)


def test_the_constants_that_are_tight():
    """For each kind of system some instance uses the bound up: to 1e-9, and to 0.99 where only a limit would."""
    ratios = {(each.kind, each.setting): each.ratio for each in map(instances.load, FILES)}
    for variant in (
        "asynchronous_sgd",
        "crash_sgd",
        "delayed_sgd",
        "elastic_scheduling_sgd",
        "lossy_sgd",
        "shared_memory_sgd",
    ):
        most = max(ratio for (kind, name), ratio in ratios.items() if kind == "gradients" and name.startswith(variant))
        assert most == pytest.approx(1, abs=1e-9), variant
    for setting in (
        "synchronous_sgd (shrunk messages with memory)",
        "asynchronous_sgd (delays, shrunk messages with memory)",
    ):
        assert ratios["gradients", setting] > search.TIGHT
    for setting in (
        "asynchronous_sgd (a delay of one, stand-ins)",
        "elastic_scheduling_sgd (a barrier for none, stand-ins)",
    ):
        assert ratios["noise of two", setting] > search.TIGHT


def test_ascent_finds_what_no_start_has():
    """Random gradients are far from the bound, and the ascent from them comes near it."""
    kind = kinds.KINDS["gradients"]
    algorithm = instances.build("gradients", LATE, instances.STEP_SIZE)
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf[2]), kind.starts(3, np.random.default_rng(0)))
    before = kinds.distances_sq(kind, algorithm, kind.allowed(start), jnp.asarray(0)).max()
    _, after = search._climb(start, jnp.asarray(0), kind=kind, algorithm=algorithm, num_ascents=60)
    limit = instances.bound(kind, algorithm)
    assert before / limit < 0.7
    assert after.max() / limit > 0.95


def test_the_search_is_repeatable_and_stays_below_the_bound():
    """The same seed finds the same instance."""
    once, again = (search.best("gradients", LATE, sizes=SMALL) for _ in range(2))
    assert once.ratio == again.ratio == pytest.approx(1, abs=1e-9)
    assert once.seed == again.seed


def test_a_bound_that_is_an_average_is_left_out():
    """A single schedule of the parameter server exceeds the mean over schedules: nothing is returned."""
    assert search.best("gradients", "parameter_server_sgd", sizes=SMALL) is None


def test_messages_later_than_declared_exceed_the_bound():
    """The negative control: with τ + 1 for τ the instance that was found goes over 1."""
    kind = kinds.KINDS["gradients"]
    found = next(each for each in map(instances.load, FILES) if each.setting == LATE)
    algorithm = instances.build("gradients", LATE, found.step_size)
    variables = jax.tree.map(jnp.asarray, dict(found.variables))
    later = kinds.distances_sq(kind, planted.later_delays(algorithm), variables, jnp.asarray(found.seed))
    assert later.max() / instances.bound(kind, algorithm) > 1.5


def test_error_feedback_is_judged_by_a_compressor_that_loses_all_that_it_may():
    """b(γ) is nearly used up, which the paper's constant never is with this γ."""
    judged = [
        check
        for case in instances.hardest(has_error_feedback)
        for check in error_feedback._judge(case, error_feedback._lost(case))
        if "shrunk" in check.setting
    ]
    ratios = {check.name: check.ratio for check in judged}
    assert {check.verdict for check in judged} == {"holds"}
    assert ratios["b(γ) M"] > search.TIGHT
    assert ratios["paper"] < 0.7


def test_few_settings_are_tried_quickly():
    """With `is_quick`, one instance a statement."""
    with cases.sizes(is_quick=True):
        assert len(list(instances.hardest(late_messages.are_late_alone))) == 1


@pytest.mark.parametrize("lost", [0.1, 0.75])
def test_a_shrinking_compressor_loses_all_that_it_may(lost, key):
    """‖C(w) - w‖² = γ ‖w‖² for every message."""
    compressor, message = specimens.shrinking(lost), jnp.asarray([3.0, -1.0, 0.5])
    rest = compressors.compress(compressor, key, message) - message
    assert float(rest @ rest) == pytest.approx(lost * float(message @ message), rel=1e-12)
    assert compressors.residual_fraction(compressor, message) == pytest.approx(lost)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "luck"}, "kind = 'luck'"),
        ({"setting": "luck"}, "setting = 'luck'"),
        ({"sizes": SMALL._replace(num_ascents=0)}, "num_ascents = 0"),
        ({"sizes": SMALL._replace(num_climbed=7)}, "num_climbed = 7"),
    ],
)
def test_bad_arguments_are_named(given, message):
    """Each with its value."""
    with pytest.raises(ValueError, match=message):
        search.best(**{"kind": "gradients", "setting": LATE, "sizes": SMALL} | given)
