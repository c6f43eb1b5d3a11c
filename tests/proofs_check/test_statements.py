"""Every statement of the theory holds, and notices every bug that is planted for it."""

import functools
import inspect
import json
import re

import numpy as np
import pytest

import proofs_check
from elastic_jax import algorithms, problems
from proofs_check import cases, record, report, statistics
from proofs_check.page.words import status

STATEMENTS = proofs_check.statements()


@pytest.fixture(autouse=True)
def few_programs(request):
    """No compiled program outlives a test of the proofs."""
    yield
    if request.node.get_closest_marker("proofs"):
        report.forget_programs()


@pytest.fixture(scope="module")
def checks():
    """The records of each statement, made once."""
    made = {}

    def of(id):
        if id not in made:
            made[id] = STATEMENTS[id].check()
        return made[id]

    return of


@pytest.mark.proofs
@pytest.mark.parametrize("id", STATEMENTS)
def test_a_statement_holds_wherever_its_hypotheses_do(id, checks):
    """No setting violates it, and it held, neither skipped nor vacuous, in at least one."""
    found = checks(id)
    violated = [(c.setting, c.name, c.measured, c.claimed, c.where) for c in found if c.verdict == "violated"]
    assert not violated
    for name in {c.name for c in found}:
        assert any(c.verdict == "holds" for c in found if c.name == name), name


@pytest.mark.proofs
def test_constants_are_judged_on_the_hardest_instances_that_were_found(checks):
    """What the search for tightness has left is run with all else."""
    for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12):
        hardest = [check for check in checks(f"EC:E{number}") if "on the hardest" in check.setting]
        assert any(check.verdict == "holds" for check in hardest), number


def test_what_is_quick_tries_fewer_settings_and_says_that_no_bug_was_planted():
    """The verdict stands on the settings alone."""
    quick, whole = (report.outcome("EC:I2", is_quick=is_quick) for is_quick in (True, False))
    assert 0 < len(quick.checks) < len(whole.checks)
    assert {check.control_tripped for check in quick.checks} == {None}
    assert (quick.controls, report.exit_status(quick.checks)) == ([], 0)
    assert status(quick) == "holds"
    assert status(whole._replace(controls=[])) == "untested"
    assert whole.controls


def test_several_processes_find_what_one_does():
    """In the same order, bit for bit."""
    ids = ("EC:I8", "EC:I9")
    alone, together = (list(report.outcomes(ids, is_quick=True, num_processes=number)) for number in (1, 2))
    assert [each.id for each in together] == list(ids)
    assert [each.checks for each in together] == [each.checks for each in alone]


@pytest.mark.proofs
@pytest.mark.parametrize("id", STATEMENTS)
def test_every_planted_bug_is_noticed(id):
    """A statement has at least one control, and each trips."""
    controls = STATEMENTS[id].control()
    assert controls
    assert [c.setting for c in controls if not c.control_tripped] == []


@pytest.mark.proofs
@pytest.mark.parametrize("id", STATEMENTS)
def test_a_tight_form_is_attained(id, checks):
    """A form that is called tight has a setting, without statistical error, where both sides agree to 1e-9."""
    found = checks(id)
    for name in {c.name for c in found if c.kind == "tight"}:
        ratios = [c.ratio for c in found if c.name == name and c.is_exact and c.ratio is not None]
        assert max(ratios) == pytest.approx(1, abs=1e-9), name


@pytest.mark.proofs
@pytest.mark.parametrize("id", STATEMENTS)
def test_what_is_skipped_says_why(id, checks):
    """A skipped record names a failed hypothesis and carries no numbers; any other has all hypotheses."""
    for check in checks(id):
        failed = [h for h in check.hypotheses if not h.holds]
        assert (check.verdict == "skipped") == bool(failed)
        if failed:
            assert check.reason
            assert check.measured is check.claimed is check.ratio is None


@pytest.mark.parametrize("id", STATEMENTS)
def test_a_statement_is_documented(id):
    """The docstring has the four headings, the number and the kind; all constants of `check` have defaults."""
    module = STATEMENTS[id]
    for heading in ("Setting", "Statement", "Why", "Source"):
        assert re.search(rf"^{heading}\b", module.__doc__, re.MULTILINE), heading
    assert module.__doc__.startswith(id)
    assert any(kind in module.__doc__ for kind in record.KINDS)
    for parameter in inspect.signature(module.check).parameters.values():
        assert parameter.default is not inspect.Parameter.empty


@pytest.mark.proofs
def test_the_registry_variants_are_all_tried(checks):
    """EC:I1 tries every registered variant on its defaults, and skips none that sends everything."""
    settings = {c.setting.split(" on ")[0]: c for c in checks("EC:I1")}
    assert set(algorithms.variants()) <= set(settings)
    assert settings["synchronous_sgd"].verdict == "holds"


@pytest.mark.proofs
@pytest.mark.parametrize("id", ["EC:X2", "EC:X3", "EC:T2.1", "EC:T2.2", "EC:T2.3", "EC:T2.4"])
def test_a_step_size_above_every_cap_skips_the_whole_theorem(id):
    """With α = 10 / L the guard skips each form in each setting: nothing passes, nothing is violated."""
    for case in cases.exact(("quadratic",)):
        steep = case.constants._replace(smoothness=10 / case.step_size)
        for check in STATEMENTS[id]._judge(case._replace(constants=steep)):
            assert check.verdict == "skipped"
            assert any("α <=" in h.name and not h.holds for h in check.hypotheses)


@pytest.mark.parametrize("id", ["EC:X2", "EC:X3", "EC:T2.1", "EC:T2.2", "EC:T2.3", "EC:T2.4"])
def test_workers_that_differ_skip_the_whole_theorem(id):
    """With ζ > 0 gradients are biased: each form is skipped in each setting."""
    for case in cases.exact(("quadratic",)):
        differing = case.constants._replace(heterogeneity=1.0)
        checks = STATEMENTS[id]._judge(case._replace(constants=differing))
        assert {check.verdict for check in checks} == {"skipped"}


def other_steps(setting):
    """Hypotheses on the form of steps, which fail where x has more than workers: an anchor, duals, an outer optimiser.

    And where only some of the rows that x is the mean of take a step, one or a pair; or some of the workers, K of n.
    """
    variant = algorithms.variants().get(setting.split(" ")[0])
    others = {"anchor_params", "outer_params", "read_params", "next_workers", "schedule_state", "read_updates", "duals"}
    others |= {"grad_sum", "tables"}
    is_other = variant is not None and others & set(variant.State._fields)
    return ("single steps", "parallel steps, ", "x moves by -α Σ w G") if is_other else ()


@pytest.mark.proofs
def test_nothing_sampled_is_skipped_but_for_a_cap_an_unknown_bound_or_the_dead(checks):
    """On the library's problems the variants on their defaults are what the theorems are about.

    Only a form that needs all n gradients of a step is skipped where workers have died, one that needs a limit of what
    is missing where messages may be lost for ever, one about whole steps of gradients alone where an anchor takes a
    share of them or an outer optimiser moves x too, and one that is about a special case elsewhere.
    """
    caps, unknown = ("α <=", "α = "), ("bound declared", "a limit K of what is missing")
    special = ("parallel steps, |I_t| >= 1 n", "gradients all the same", "channels in order")
    special += ("nothing but gradients moves x", "all degrees are equal", "blocking", "one edge at a time")
    special += ("ρ = 0", "λ = 0")
    special += ("γ <= 1", "exponential times", "new shorter than used", "2 c (f - f*) <= ‖∇f‖²")
    for id in STATEMENTS:
        for check in checks(id):
            allowed = (*caps, *unknown, *special, *other_steps(check.setting))
            failed = {h.name for h in check.hypotheses if not h.holds and not check.is_exact}
            assert all(name.startswith(allowed) for name in failed), (
                id,
                check.setting,
                failed,
            )


@pytest.mark.parametrize("name", cases.SAMPLED_PROBLEMS)
def test_replicated_workers_leave_the_objective_alone(name, key):
    """With the data of one worker given to four, f is that of the one."""
    registered, given = cases.SAMPLED_PROBLEMS[name]
    build = functools.partial(problems.problem(registered).build, **given)
    alone, many = build(num_workers=1), cases.replicated(build, num_workers=4)
    params = many.init(key)
    assert float(many.objective(params, many.data)) == pytest.approx(float(alone.objective(params, alone.data)))
    assert many.constants.heterogeneity == 0


@pytest.mark.proofs
@pytest.mark.parametrize("id", ["EC:T2.3", "EC:T2.4"])
def test_a_final_form_is_tried_only_as_the_theorem_prescribes(id, checks):
    """Where it holds, α = 2 l / (c T) with T / l as large as the theorem asks; elsewhere it is skipped for that.

    Or because steps are others than the theorem's, see `other_steps`.
    """
    final = [check for check in checks(id) if "final" in check.name]
    held = [check for check in final if check.verdict == "holds"]
    case = next(STATEMENTS[id].prescribed(num_seeds=cases.NUM_SEEDS))
    assert {check.steps for check in held} == {case.trajectory.num_steps}
    for check in final:
        names = [h.name for h in check.hypotheses if not h.holds]
        unknown = ("bound declared",) if "a-priori" in check.name else ()
        reasons = ("α = 2 log", *unknown, *other_steps(check.setting))
        assert check.verdict == "holds" or any(name.startswith(reasons) for name in names)
    other = STATEMENTS[id]._judge(case._replace(step_size=0.99 * case.step_size))[-1]
    assert other.verdict == "skipped"
    assert "not α = 2 log" in other.reason


def test_the_table_says_what_its_numbers_are():
    """An equality is off by a fraction of rounding, a bound is used up to a fraction; the caption explains both."""
    compared = {("equality", 0.5): _off_by, ("upper", 0.5): _used_up, ("tight", 1.0): _used_up}
    found = [
        record.judge("X", kind, kind, "here", [], functools.partial(compare, to), seeds=1, is_exact=True, steps=1)
        for (kind, to), compare in compared.items()
    ]
    made = report.table(found)
    column = next(column for column in made.columns if column.header == "closest call")
    assert list(column.cells) == ["5e-01 of rounding", "0.5 of bound", "attained"]
    assert all(words in str(made.caption) for words in ("closest call", "of rounding", "of bound", "attained"))


def _off_by(fraction):
    return statistics.equal(np.array([1.0]), np.array([1.0 + fraction * statistics.ROUNDING]))


def _used_up(fraction):
    return statistics.at_most(np.array([[fraction]]), 1.0, is_exact=True)


def test_an_unknown_id_proposes_the_closest():
    """A misspelt id is a `ValueError` that names the closest one."""
    with pytest.raises(ValueError, match=r"'EC:T2\.11' is unknown; did you mean 'EC:T2\.1'"):
        report.prove(["EC:T2.11"])


def test_prove_reports_what_it_found():
    """The JSON is plain data with every field of the record; the exit status is 0 only if all went well."""
    outcome = report.outcome("EC:I7")
    found = outcome.checks
    written = json.loads(json.dumps(report.as_data([outcome], seconds=outcome.seconds)))["statements"]
    assert len(written) == len(found)
    assert set(written[0]) == set(record.Check._fields)
    assert report.exit_status(found) == 0
    assert report.table(found).row_count == 1
    assert report.exit_status([found[0]._replace(verdict="violated")]) == 1
    assert report.exit_status([found[0]._replace(control_tripped=False)]) == 1
    assert report.exit_status([found[0]._replace(verdict="skipped")]) == 1
    assert report.exit_status([]) == 1
