"""Seconds of a batch: closed forms, schedules worked out by hand, bugs that are noticed, claims that follow numbers."""

import csv
import dataclasses
import inspect
import types
from typing import NamedTuple

import numpy as np
import pytest

from elastic_jax import clocks, mixings
from experiments import averaging_time, bands, meeting_times, swarm_time_per_batch
from experiments.averaging_time import Link
from experiments.meeting_times import Compute, Span
from experiments.swarm_time_per_batch import Curve, Method

C, LINK = 0.5, Link(0.01, 0.24)
M = 0.25
SPAN = Span(12, 60)
SEEDS = 12
CONSTANT, HALF, EXPONENTIAL = (Compute(C, share) for share in (0.0, 0.5, 1.0))
ROUNDS = {
    "ring": meeting_times.on_a_ring,
    "one peer": meeting_times.with_one_peer,
    "push": meeting_times.pushing,
}


def in_rounds(name, compute, *, num_workers, link=LINK, span=SPAN, seeds=SEEDS):
    """float[S]."""
    return ROUNDS[name](np.random.default_rng(0), compute, link, num_workers=num_workers, span=span, seeds=seeds)


def in_pairs(method, compute, *, num_workers, num_steps=1, exchange=M, span=SPAN, seeds=SEEDS, **options):
    """float[S], seconds."""
    given = {"num_workers": num_workers, "num_steps": num_steps, "span": span, **options}
    return np.array([method(np.random.default_rng(seed), compute, exchange, **given).seconds for seed in range(seeds)])


def is_in_band(values, expected):
    """Whether the 99.9 % band of the mean has it inside, and is no wider than 3 % to a side."""
    band = bands.of_mean(values, 0.999)
    return bool(band.low <= expected <= band.high and band.high - band.low < 0.06 * expected)


class Script(NamedTuple):
    """Compute times, and random numbers, in the order in which they are drawn; then none that matter."""

    times: tuple[float, ...] = ()
    others: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def draw(self, _random, _num_steps, shape):
        return np.concatenate([self.times, np.full(shape[0] - len(self.times), 1e3)])

    def integers(self, _high, size):
        return np.concatenate([self.others, np.zeros(size - len(self.others))]).astype(int)

    def random(self, size):
        return np.concatenate([self.shares, np.zeros(size - len(self.shares))])


class TestComputing:
    def test_times_are_those_of_the_clocks(self):
        """Mean and variance; the half-way one has a quarter of the variance."""
        draws = EXPONENTIAL.draw(np.random.default_rng(0), 1, (100_000,))
        assert draws.mean() == pytest.approx(clocks.exponential(C).means(1)[0], rel=0.02)
        assert draws.var() == pytest.approx(C**2, rel=0.03)
        assert HALF.draw(np.random.default_rng(0), 1, (100_000,)).var() == pytest.approx(C**2 / 4, rel=0.03)
        assert CONSTANT.draw(np.random.default_rng(0), 1, (3,)).tolist() == [clocks.constant(C).means(1)[0]] * 3

    def test_several_gradients_take_their_sum(self):
        draws = HALF.draw(np.random.default_rng(0), 4, (100_000,))
        assert draws.mean() == pytest.approx(4 * C, rel=0.01)
        assert draws.var() == pytest.approx(4 * C**2 / 4, rel=0.03)

    def test_the_slowest_of_n_takes_a_harmonic_number(self):
        for n in (1, 2, 8, 256):
            assert meeting_times.slowest_of(n, 1) == pytest.approx(sum(1 / k for k in range(1, n + 1)), rel=1e-8)
        assert meeting_times.slowest_of(1, 5) == pytest.approx(5, rel=1e-8)
        assert meeting_times.slowest_of(2, 2) == pytest.approx(2 + 0.75, rel=1e-8)

    def test_spans_are_in_whole_turns(self):
        assert SPAN.turns(6) == (2, 12)
        assert Span(1, 4).turns(3) == (1, 3)


class TestConstantTimes:
    """Exact."""

    @pytest.mark.parametrize("n", [2, 4, 16])
    def test_all_together(self, n):
        for period in (1, 3):
            given = {"num_workers": n, "period": period, "span": SPAN, "seeds": 2}
            found = meeting_times.together(np.random.default_rng(0), CONSTANT, LINK, **given)
            reduction = 2 * (n - 1) * 0.01 + 2 * (n - 1) / n * 0.24
            np.testing.assert_allclose(found, C + reduction / period, rtol=1e-12)
            known = meeting_times.expected_together(CONSTANT, LINK, num_workers=n, period=period)
            assert known == pytest.approx(C + reduction / period, rel=1e-12)

    @pytest.mark.parametrize("n", [2, 4, 16])
    def test_rounds(self, n):
        np.testing.assert_allclose(in_rounds("one peer", CONSTANT, num_workers=n), C + M, rtol=1e-12)
        np.testing.assert_allclose(in_rounds("push", CONSTANT, num_workers=n), C + M, rtol=1e-12)
        both = 0.01 + (2 if n > 2 else 1) * 0.24
        np.testing.assert_allclose(in_rounds("ring", CONSTANT, num_workers=n), C + both, rtol=1e-12)
        assert n == 2 or both == averaging_time.exchange(LINK)

    @pytest.mark.parametrize("n", [2, 4, 16])
    def test_pairs_without_waiting_for_a_third(self, n):
        for steps in (1, 2, 6):
            found = in_pairs(
                meeting_times.asking, CONSTANT, num_workers=n, num_steps=steps, is_exclusive=False, seeds=2
            )
            np.testing.assert_allclose(found, C + M / steps, rtol=1e-12)
            known = meeting_times.without_waiting(CONSTANT, M, num_steps=steps)
            np.testing.assert_allclose(found, known, rtol=1e-12)

    @pytest.mark.parametrize("n", [2, 4, 16])
    def test_pairs_that_wait_for_each_other_do_not_wait(self, n):
        for steps in (1, 2, 3):
            found = in_pairs(meeting_times.waiting, CONSTANT, num_workers=n, num_steps=steps, seeds=2)
            np.testing.assert_allclose(found, C + M / steps, rtol=1e-12)

    @pytest.mark.parametrize("exchange", [0.1, 0.5, 2.0])
    def test_two_who_ask_each_other_take_turns(self, exchange):
        """Both exchanges of a cycle are on one link: max(c + m, 2 m)."""
        found = in_pairs(meeting_times.asking, CONSTANT, num_workers=2, exchange=exchange, seeds=2)
        np.testing.assert_allclose(found, max(C + exchange, 2 * exchange), rtol=1e-12)


class TestRandomTimes:
    """Within the bands."""

    @pytest.mark.parametrize("compute", [HALF, EXPONENTIAL])
    @pytest.mark.parametrize("period", [1, 3])
    def test_all_together(self, compute, period):
        for n in (2, 32):
            given = {"num_workers": n, "period": period, "span": Span(0, 3000), "seeds": SEEDS}
            found = meeting_times.together(np.random.default_rng(0), compute, LINK, **given)
            known = meeting_times.expected_together(compute, LINK, num_workers=n, period=period)
            assert is_in_band(found, known)
            if period == 1:
                harmonic = sum(1 / k for k in range(1, n + 1))
                slowest = C * (1 - compute.randomness + compute.randomness * harmonic)
                assert known == pytest.approx(slowest + averaging_time.all_reduce(LINK, num_workers=n), rel=1e-8)

    @pytest.mark.parametrize("name", ["ring", "one peer"])
    def test_two_in_rounds_wait_for_the_slower(self, name):
        for compute in (HALF, EXPONENTIAL):
            found = in_rounds(name, compute, num_workers=2, span=Span(0, 1000))
            assert is_in_band(found, C * (1 + compute.randomness / 2) + M)

    @pytest.mark.parametrize("n", [2, 8, 64])
    def test_memoryless_pairs_wait_half_a_gradient_however_many_there_are(self, n):
        span = Span(20, -(-4000 // n))
        found = in_pairs(meeting_times.waiting, EXPONENTIAL, num_workers=n, span=span)
        assert is_in_band(found, meeting_times.memoryless_wait(EXPONENTIAL, M))
        if n == 2:
            found = in_pairs(meeting_times.waiting, HALF, num_workers=n, span=span)
            assert is_in_band(found, meeting_times.memoryless_wait(HALF, M))

    @pytest.mark.parametrize("n", [2, 8, 64])
    def test_without_waiting_n_makes_no_difference(self, n):
        span = Span(20, -(-6000 // n))
        found = in_pairs(meeting_times.asking, EXPONENTIAL, num_workers=n, num_steps=2, span=span, is_exclusive=False)
        assert is_in_band(found, C + M / 2)

    def test_nobody_is_faster_than_computing_or_than_the_link(self):
        """Each worker is in two exchanges for each that it asks for."""
        for exchange in (0.05, 0.5, 5.0):
            options = {"num_workers": 8, "exchange": exchange, "span": Span(30, 300)}
            band = bands.of_mean(in_pairs(meeting_times.asking, EXPONENTIAL, **options))
            assert band.high > C + exchange
            assert band.low > 2 * exchange

    def test_pushing_waits_for_less_than_exchanging(self):
        for n in (4, 16):
            push, both = (in_rounds(name, EXPONENTIAL, num_workers=n).mean() for name in ("push", "one peer"))
            assert C + M < push < 0.98 * both

    def test_meetings_in_a_batch(self):
        """In both forms of a swarm n/(2 H), n of workers who ask after every gradient."""
        for method, steps, expected in (
            (meeting_times.asking, 6, 8 / 6),
            (meeting_times.waiting, 3, 8 / 6),
            (meeting_times.asking, 1, 8.0),
        ):
            given = {"num_workers": 8, "num_steps": steps, "span": Span(30, 600)}
            timed = method(np.random.default_rng(0), EXPONENTIAL, M, **given)
            assert timed.meetings == pytest.approx(expected, rel=0.01)


class TestSchedules:
    """Step by step."""

    def test_who_asks_waits_for_both_to_be_free(self):
        """With m = 2: 0 with 1 from 1 to 3, 1 with 2, asked at 2, to 5, 2 with 0, asked at 2.5, to 7; then 7 s."""
        script = Script((1, 2, 2.5, 10, 1, 7, 20), (0, 1, 0, 1))
        timed = meeting_times.asking(script, script, 2.0, num_workers=3, num_steps=1, span=Span(0, 2))
        assert timed == (7.0, 2.0)

    def test_first_come_first_served(self):
        """With m = 2: 0 with 1 to 3, 2 with 3 to 4; then 1 with 2, and 3 with 1 to 8, so that 1 with 0 is from 8 on.

        From there 1 is with 0 to 10, has its next gradients at 10.25, 17.25 and 20.25, and is with 0 after each.
        """
        script = Script((1, 1.5, 2, 2.2, 100, 100, 0.5, 100, 0.25, 5, 1), (0, 1, 2, 1, 0, 0, 0))
        timed = meeting_times.asking(script, script, 2.0, num_workers=4, num_steps=1, span=Span(0, 2))
        assert timed == (20.25 / 2, 3.5)

    def test_who_waits_meets_the_one_it_waits_for(self):
        """With m = 1: 0 for 1 till 2, to 3; 2 for 3 till 5, to 6; 0 for 1, from 7 to 13, while 2 and 3 meet again."""
        script = Script((1, 2, 1.5, 5, 4, 10, 2, 3, 50, 50), shares=(0.4, 0.6, 0.4, 0.0))
        timed = meeting_times.waiting(script, script, 1.0, num_workers=4, num_steps=1, span=Span(0, 2))
        assert timed == (6.5, 1.5)
        with pytest.raises(ValueError, match="num_workers = 3; must be even"):
            meeting_times.waiting(script, script, 1.0, num_workers=3, num_steps=1, span=SPAN)

    @pytest.mark.parametrize("name", ROUNDS)
    def test_rounds_worker_by_worker(self, name):
        """On a slow link, which is still sending when the next message is ready."""
        n, num_rounds, link = 8, 7, Link(0.01, 1.5)
        random = np.random.default_rng(0)
        times = [EXPONENTIAL.draw(random, 1, (1, n))[0] for _ in range(num_rounds)]
        begins, free = [0.0] * n, [0.0] * n
        for t, drawn in enumerate(times):
            done = [begin + time for begin, time in zip(begins, drawn, strict=True)]
            matrix = np.asarray(mixings.one_peer_exponential(n).matrix(None, np.int32(t)))
            peers = [next(j for j in range(n) if j != i and matrix[i, j] > 0) for i in range(n)]
            if name == "push":
                free = [max(done[i], free[i]) + link.transfer for i in range(n)]
                begins = [max(done[i], free[peers[i]] + link.latency) for i in range(n)]
            elif name == "one peer":
                begins = [max(done[i], done[peers[i]]) + link.latency + link.transfer for i in range(n)]
            else:
                both = link.latency + 2 * link.transfer
                begins = [max(done[i - 1], done[i], done[(i + 1) % n]) + both for i in range(n)]
        found = in_rounds(name, EXPONENTIAL, num_workers=n, link=link, span=Span(0, num_rounds), seeds=1)
        assert found[0] == pytest.approx(np.mean(begins) / num_rounds, rel=1e-12)


def planted(old, new):
    """The module with a bug."""
    source = inspect.getsource(meeting_times)
    assert source.count(old) == 1, old
    module = types.ModuleType("planted")
    exec(compile(source.replace(old, new), "planted", "exec"), module.__dict__)
    return module


BUGS = {
    "asks one who is busy": (
        "if is_busy[worker] or is_busy[other]:",
        "if is_busy[worker]:",
        TestSchedules.test_who_asks_waits_for_both_to_be_free,
    ),
    "asks while it is busy": (
        "if is_busy[worker] or is_busy[other]:",
        "if is_busy[other]:",
        TestSchedules.test_who_asks_waits_for_both_to_be_free,
    ),
    "last come, first served": (
        "sorted(asked.items(), key=_number)",
        "sorted(asked.items(), key=_number, reverse=True)",
        TestSchedules.test_first_come_first_served,
    ),
    "the one who is asked begins anew": (
        "heapq.heappush(events, (now + next(times), worker, -1))\n        if not",
        "heapq.heappush(events, (now + next(times), other, -1))\n        if not",
        TestSchedules.test_first_come_first_served,
    ),
    "two wait for one": (
        "                take(chosen)\n",
        "",
        TestSchedules.test_who_waits_meets_the_one_it_waits_for,
    ),
    "who waits is overtaken": (
        "if waits_for_it[worker] >= 0:",
        "if waits_for_it[worker] > 0:",
        TestSchedules.test_who_waits_meets_the_one_it_waits_for,
    ),
    "gradients of a turn forgotten": (
        "num_steps\n        if self.randomness == 0",
        "1\n        if self.randomness == 0",
        TestComputing.test_several_gradients_take_their_sum,
    ),
    "a mean for the sum": (
        "standard_gamma(num_steps, shape)",
        "standard_exponential(shape) * num_steps",
        TestComputing.test_several_gradients_take_their_sum,
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_bugs_are_noticed(name, monkeypatch):
    old, new, check = BUGS[name]
    broken = planted(old, new)
    monkeypatch.setitem(globals(), "meeting_times", broken)
    monkeypatch.setitem(globals(), "HALF", broken.Compute(C, 0.5))
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check(None)  # a method that needs nothing of its class


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("np.roll(done, -_distance(number, num_workers), axis=1)", "np.roll(done, -1, axis=1)", "one peer"),
        ("np.roll(done, -1, axis=1)), done) + exchange", "np.roll(done, -1, axis=1)), done) + message(link)", "ring"),
        ("link_free[:] = sent", "pass", "push"),
        ("+ link.latency)", ")", "push"),
    ],
)
def test_bugs_of_rounds_are_noticed(old, new, name, monkeypatch):
    broken = planted(old, new)
    functions = {"ring": broken.on_a_ring, "one peer": broken.with_one_peer, "push": broken.pushing}
    monkeypatch.setitem(ROUNDS, name, functions[name])
    with pytest.raises(AssertionError):
        TestSchedules().test_rounds_worker_by_worker(name)


class TestExperiment:
    CONFIG = dataclasses.replace(swarm_time_per_batch.SIZES["smoke"], num_seeds=6)

    def curves(self, factors=(), growth=()):
        """Of which all claims hold, but for factors of some methods, or of their seconds with most workers."""
        config, found = self.CONFIG, []
        draws = np.random.default_rng(0).normal(size=(config.num_seeds, 1))
        noise = 1 + 1e-3 * (draws - draws.mean())
        whole = Method(swarm_time_per_batch.NON_BLOCKING)
        for setting in swarm_time_per_batch.settings(config):
            own = swarm_time_per_batch.compute(config, setting)
            fixed = {"D-PSGD, ring": 0.7, "D-PSGD, one peer": 0.6, "SGP, one peer": 0.5, "AD-PSGD": 1.0}
            for method in swarm_time_per_batch.methods(config):
                takes = swarm_time_per_batch.exchange(config, setting, method)
                known = [swarm_time_per_batch.expected(config, setting, method, n) for n in config.num_workers]
                if method.family == swarm_time_per_batch.BLOCKING:
                    known = [0.15 + takes / config.local_steps] * len(known)
                elif method.family == swarm_time_per_batch.NON_BLOCKING:
                    least = meeting_times.without_waiting(own, takes, num_steps=2 * config.local_steps)
                    known = [least * (1.1 if method == whole else 1)] * len(known)
                elif method.family in fixed:
                    known = [fixed[method.family]] * len(known)
                values = np.array(known) * dict(factors).get(method.name, 1.0)
                values[-1] *= dict(growth).get(method.name, 1.0)
                found.append(Curve(setting, method, values * noise))
        return found

    def failing(self, known=(), **changed):
        """What does not hold."""
        fine = {
            "meetings_library": np.full(6, 4 / 3),
            "meetings_blocking": np.linspace(1.332, 1.334, 6),
            "meetings_non_blocking": np.full(6, 4 / 3),
            "seconds_library": np.linspace(0.99, 1.01, 6),
            "seconds": np.linspace(0.99, 1.01, 6),
        }
        claims = swarm_time_per_batch.claims(self.curves(**changed), fine | dict(known), self.CONFIG)
        assert len(claims) == 2 + 3 + 10 + 3 * len(self.CONFIG.bandwidths) + 3
        return [claim.claim.split(": ")[0] for claim in claims if not claim.holds]

    def test_claims_hold_where_the_numbers_say_so(self):
        assert self.failing() == []

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"growth": {"all-reduce": 1.05}}, ["all-reduce"]),
            ({"factors": {"local SGD": 0.95}}, ["local SGD"]),
            ({"growth": {"AD-PSGD": 1.12}}, ["AD-PSGD"]),
            ({"growth": {"SwarmSGD, blocking, 4 bits": 1.12}}, ["SwarmSGD, blocking"]),
            ({"growth": {"SwarmSGD, non-blocking": 1.12}}, ["SwarmSGD, non-blocking"]),
            ({"factors": {"D-PSGD, ring": 0.8}}, ["D-PSGD, ring / D-PSGD, one peer"]),
            ({"factors": {"SGP, one peer": 1.25}}, ["D-PSGD, one peer / SGP, one peer"]),
            ({"factors": {"AD-PSGD": 0.1}}, ["AD-PSGD / SwarmSGD, non-blocking"]),
            ({"factors": {"SwarmSGD, non-blocking, 8 bits": 1.15}}, ["SwarmSGD, non-blocking"]),
            ({"factors": {"SwarmSGD, blocking, 8 bits": 1.1}}, ["SwarmSGD, blocking"]),
            ({"known": {"meetings_blocking": np.full(6, 1.3)}}, ["swarm_sgd, blocking"]),
            ({"known": {"meetings_library": np.full(6, 8 / 3)}}, ["swarm_sgd, blocking", "swarm_sgd, non-blocking"]),
            ({"known": {"seconds": np.linspace(1.04, 1.06, 6)}}, ["asynchronous_gossip_sgd"]),
        ],
    )
    def test_numbers_that_break_a_claim_are_noticed(self, changed, expected):
        assert self.failing(**changed) == expected

    def test_bits_are_those_of_the_library(self):
        bits = [swarm_time_per_batch.message_bits(self.CONFIG, number) for number in (32, 8, 4)]
        assert bits[0] == 32 * self.CONFIG.num_params
        assert bits[1:] == pytest.approx([bits[0] / 4, bits[0] / 8], rel=1e-4)

    def test_the_library_has_as_many_meetings_and_as_many_seconds(self):
        found = swarm_time_per_batch.library(dataclasses.replace(self.CONFIG, gradients=2400))
        n, steps = self.CONFIG.reference, self.CONFIG.local_steps
        np.testing.assert_allclose(found["meetings_library"], n / (2 * steps), rtol=1e-5)
        assert is_in_band(found["meetings_blocking"], n / (2 * steps))
        np.testing.assert_allclose(found["meetings_non_blocking"], n / (2 * steps), rtol=0.01)
        for name in ("seconds", "seconds_library"):
            assert found[name].mean() == pytest.approx(self.CONFIG.compute_seconds, rel=0.05)

    def test_all_is_written_from_end_to_end(self, tmp_path):
        config = dataclasses.replace(
            self.CONFIG, num_workers=(2, 4), reference=2, batches=12, gradients=48, num_seeds=3
        )
        answer = swarm_time_per_batch.main(config, size="smoke", run_dir=tmp_path)
        points = list(csv.DictReader((tmp_path / "points.csv").read_text(encoding="utf-8").splitlines()))
        num_lines = len(swarm_time_per_batch.settings(config)) * len(swarm_time_per_batch.methods(config))
        assert len(points) == num_lines * 2
        assert (tmp_path / "figure.png").stat().st_size > 50_000
        assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(swarm_time_per_batch.methods(config))
        assert answer.question == "How long does a batch take, when there are more workers?"
        again = swarm_time_per_batch.main(config, size="smoke", run_dir=tmp_path)
        assert again.claims == answer.claims
