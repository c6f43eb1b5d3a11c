"""The laws over every registered variant: defaults, every part that `build` takes, and the limit."""

import jax.numpy as jnp
import pytest

from laws import laws
from laws.cases import CASES, DEFAULTS, LIMITS


def over(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@over(CASES)
def test_step_keeps_tree_shapes_and_dtypes(case):
    """`step` keeps the type of the state and fills `Info` with the types of the contract."""
    laws.law_types(case)


@over(DEFAULTS)
def test_a_bare_array_of_float32_stays_one(case):
    """Parameters may be a bare array, and float32 under x64 stays float32."""
    laws.law_types(case, jnp.float32, bare=True)


@over(DEFAULTS)
def test_one_trace_and_resuming_bit_for_bit(case):
    """`step` traces once, stays finite in float32, and continues bit for bit from a state that was saved."""
    laws.law_traces_once(case, jnp.float32, bare=True)


@over(DEFAULTS)
def test_a_vmapped_seed_is_the_run_of_that_seed(case):
    """Seeds under `vmap` do not see each other."""
    laws.law_vmaps_over_seeds(case)


@over(DEFAULTS)
def test_nothing_outside_the_arguments_matters(case):
    """Built and traced twice, `step` is the same program with the same constants."""
    laws.law_nothing_hidden(case)


@over([case for case in CASES if not case.is_adaptive])
def test_the_schedule_does_not_look_at_the_samples(case):
    """Who, when and how late depend on the schedule's key alone."""
    laws.law_oblivious_schedule(case)


@over(LIMITS)
def test_at_its_limit_it_is_synchronous_sgd(case):
    """At `SGD_LIMIT` the trajectory is that of synchronous SGD, written independently."""
    laws.law_sgd_limit(case)


@over([case for case in DEFAULTS if hasattr(case.module, "COOPERATIVE")])
def test_special_cases_are_cooperative_sgd(case):
    """All rows, the global parameters and the weights are those of the general variant, on unlike workers."""
    laws.law_cooperative(case)


@over(CASES)
def test_the_global_step_is_the_weighted_sum_of_updates(case):
    """x_{t+1} = x_t + Σ_k weights_k updates_k, whatever the optimiser, compressor, delay, clock."""
    laws.law_global_step(case)


@over(CASES)
def test_updates_are_minus_step_size_times_gradients(case):
    """For plain SGD; where mass is lost by declaration, they are C(-α g)."""
    laws.law_updates(case)


@over(CASES)
def test_mass_is_conserved(case):
    """α times everything that worker i has generated is applied, in flight or remembered, at every step."""
    laws.law_mass(case)


@over(CASES)
def test_measured_consistency_is_below_the_bound(case, record_property):
    """E‖x_t - v_t^i‖² <= consistency_bound in three settings, and the bound is not vacuous."""
    ratios = laws.law_consistency(case)
    if ratios is None:
        pytest.skip("no closed form is promised here")
    record_property("measured / bound", ratios)
    print(case.name, ratios)


@over(CASES)
def test_views_are_as_old_as_staleness_says(case):
    """The clock: a view that is a past x_s has staleness t - s."""
    if not laws.law_ages(case):
        pytest.skip("no view is ever a past x: its age cannot be read")


@over(CASES)
def test_slots_that_nobody_used_are_empty(case):
    """A crashed worker has no weight, sends nothing and is told apart by the number -1."""
    laws.law_unused_slots(case)


@over([case for case in CASES if {"delays", "reads"} & case.arguments.keys()])
def test_delays_are_those_of_the_model(case):
    """No delay is clamped, and a constant one is constant."""
    laws.law_delays(case)


@over([case for case in CASES if {"period", "local_steps"} & case.arguments.keys()])
def test_workers_learn_of_each_other_when_the_period_is_over(case):
    """The roll call: foreign coordinates of a view change after steps H, 2H, ... only."""
    laws.law_period(case)


@over(CASES)
def test_the_oracles_strategy_does_not_show(case):
    """Vmapped, unrolled, in a loop or in groups, mini-batches drawn in the step: equal to 1e-12 in float64."""
    laws.law_strategies(case)


@over(DEFAULTS)
def test_the_oracles_strategy_does_not_show_in_float32(case):
    """Equal to 1e-6."""
    laws.law_strategies(case, jnp.float32)


@over(CASES)
def test_bits_are_those_the_compressor_publishes(case):
    """`bits_sent` counts whole messages of exactly the published integer formula."""
    laws.law_bits(case)


@over(CASES)
def test_the_state_is_no_larger_than_promised(case):
    """Bytes of the state <= the formula in its docstring."""
    laws.law_bytes(case)
