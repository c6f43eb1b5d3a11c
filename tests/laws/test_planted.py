"""Every law is seen to fail: an algorithm with a planted bug is rejected by the law that is named for it."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from elastic_jax.oracles import strategies
from laws import laws
from laws.cases import DEFAULTS
from laws.planted import BUGS


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.case.name)
def test_a_planted_bug_is_caught(bug):
    """The law raises `AssertionError` and nothing else: it ran to its comparison."""
    with pytest.raises(AssertionError):
        bug.law(bug.case)


def test_every_law_has_a_bug_that_it_catches():
    """A law that nothing planted can break is no law. Tracing anew is broken by its own test below."""
    known = {name for name, value in inspect.getmembers(laws) if name.startswith("law_")}
    caught = {getattr(bug.law, "func", bug.law).__name__ for bug in BUGS}
    assert known - caught == {"law_traces_once"}


def test_a_step_that_traces_anew_is_caught():
    """A state whose dtype changes in the first step is traced again in the second."""
    (bug,) = [bug for bug in BUGS if bug.case.name == "float64 in a float32 run"]
    with pytest.raises(AssertionError, match="traced again"):
        laws.law_traces_once(bug.case, jnp.float32)


def test_a_bug_inside_a_strategy_is_caught(monkeypatch):
    """The law runs the strategies themselves: one that mixes up the rows of its groups shows in a variant."""

    def mixed_up(mapped, chunk, *rows):
        return mapped(*jax.tree.map(lambda leaf: leaf[::-1], rows))

    monkeypatch.setattr(strategies, "_in_groups", mixed_up)
    with pytest.raises(AssertionError, match="groups of 3"):
        laws.law_strategies(DEFAULTS[0])
