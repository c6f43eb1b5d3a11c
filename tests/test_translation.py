"""Decoding is greedy, BLEU is BLEU, and what the experiment on translation says follows its numbers."""

import builtins
import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from elastic_jax.problems import bleu, decoding, sequences, transformer
from elastic_jax.problems.sequences import END, PADDING
from experiments import translation
from experiments.translation import LARGE_BATCH, Training

# decoding


def model(*, is_tied=True):
    """A transformer of two layers, or one, with parameters, float64, drawn so that sentences differ."""
    sizes = {"width": 12, "num_heads": 3, "num_layers": 1 + is_tied, "hidden_width": 20, "is_tied": is_tied}
    problem = transformer.build(num_workers=2, **sizes)
    rng = np.random.default_rng(19 if is_tied else 4)
    shapes = jax.eval_shape(problem.init, jax.random.key(0))

    def draw(path, leaf):
        name = path[-1].key
        spread = 0.7 if name in ("kernel", "embedding") else 0.1
        return jnp.asarray((name == "scale") + rng.normal(0, spread, leaf.shape))

    params = jax.tree_util.tree_map_with_path(draw, shapes)
    return params, problem.init.keywords["module"]


SOURCES = sequences.reversal(num_test=50).test_inputs


@pytest.mark.parametrize("is_tied", [True, False])
def test_decoding_is_the_argmax_of_the_whole_model_step_by_step(is_tied):
    """Written down without caches or loops on the device; groups of 16 leave a rest of 2."""
    params, module = model(is_tied=is_tied)
    found = decoding.greedy(params, SOURCES, module=module, max_length=9, batch_size=16)
    written = np.full((len(SOURCES), 9), PADDING, np.int32)
    apply = jax.jit(lambda targets: transformer.flax_modules.apply(module, {"params": params}, SOURCES, targets))
    for place in range(9):
        logits = np.array(apply(jnp.asarray(written))[:, place])
        logits[:, [PADDING, sequences.START]] = -np.inf
        has_ended = (written[:, :place] == END).any(axis=1)
        written[:, place] = np.where(has_ended, PADDING, logits.argmax(axis=1))
    assert_array_equal(found, written)
    assert len(np.unique(found, axis=0)) > 10


def test_a_translation_does_not_depend_on_its_group():
    """Others end earlier or later; some never do. Without ends the test above would not have seen what they do."""
    params, module = model(is_tied=False)
    whole = decoding.greedy(params, SOURCES, module=module, max_length=9, batch_size=16)
    some = decoding.greedy(params, SOURCES[20:25], module=module, max_length=9, batch_size=16)
    assert_array_equal(some, whole[20:25])
    assert len(set(sequences.lengths(whole).tolist())) > 3
    assert 0 < (whole == END).any(axis=1).mean() < 1
    assert decoding.greedy(params, SOURCES[:0], module=module, max_length=9).shape == (0, 9)


def test_wrong_arguments_of_decoding_are_named():
    params, module = model()
    for wrong, error, message in (
        ({"max_length": 0}, ValueError, "max_length = 0"),
        ({"batch_size": 0}, ValueError, "batch_size = 0"),
        ({"module": 3}, TypeError, "module = 3"),
        ({"sources": np.zeros(3, np.int32)}, ValueError, r"sources has shape \[3\]"),
        ({"sources": np.zeros((3, 2))}, ValueError, "dtype float64"),
    ):
        given = {"sources": SOURCES, "module": module, "max_length": 9, **wrong}
        with pytest.raises(error, match=message):
            decoding.greedy(params, given.pop("sources"), **given)


# scores

REFERENCES = ["Öffnet die ausgewählte Tabelle, damit Sie sie ändern können.", "Wählen Sie Extras – Optionen."]
SENTENCES = ["Opens the selected table so you can change it.", "Choose Tools - Options."]


def test_references_score_100_and_copies_next_to_nothing():
    assert bleu.corpus_bleu(REFERENCES, REFERENCES) == pytest.approx(100)
    assert bleu.corpus_bleu(SENTENCES, REFERENCES) < 10
    assert 10 < bleu.corpus_bleu([REFERENCES[0], SENTENCES[1]], REFERENCES) < 100
    assert bleu.corpus_bleu(REFERENCES[::-1], REFERENCES) < 10
    assert "tok:13a" in bleu.signature()


def test_bleu_is_the_formula_of_its_authors():
    """Three of four words right in a row, no brevity penalty: (3/4 · 2/3 · 1/2 · 1/(2 · 1))^(1/4), smoothed at 0."""
    expected = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert bleu.corpus_bleu(["a b c x"], ["a b c d"]) == pytest.approx(expected)


def test_wrong_texts_are_named():
    with pytest.raises(ValueError, match="outputs has 1 texts, references 2"):
        bleu.corpus_bleu(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="1 at least"):
        bleu.corpus_bleu([], [])
    with pytest.raises(TypeError, match=r"^outputs = 'a' is no list of texts"):
        bleu.corpus_bleu("a", ["a"])
    with pytest.raises(TypeError, match=r"^references = \[3\] is no list of texts"):
        bleu.corpus_bleu(["a"], [3])


def test_without_its_package_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "elastic-jax\[translation\]"'):
        bleu.corpus_bleu(["a"], ["a"])


# the experiment

NOISE = np.array([-0.1, 0.0, 0.1])


def trained(way, *, mean=25.0, worker=25.0, copies=4.0):
    """Three seeds."""
    return Training(
        way,
        losses=np.linspace(4, 2, 5)[None] + NOISE[:, None],
        test_losses=3 + NOISE,
        copies=np.full(3, copies),
        of_mean=mean + NOISE,
        of_worker=worker + NOISE[::-1],
        outputs=["eins", "zwei"],
    )


@pytest.mark.parametrize(
    ("other", "failing"),
    [
        ({}, set()),
        ({"mean": 9.0, "worker": 9.0}, {"that of the source itself", "that of large-batch Adam"}),
        ({"mean": 23.5, "worker": 23.5}, {"that of large-batch Adam"}),
        ({"worker": 23.5}, {"that of x"}),
        ({"copies": 16.0}, {"bits that a worker sends"}),
    ],
)
def test_what_a_way_costs_is_read_off_its_scores(other, failing):
    """It translates, x and a worker alike, as well as large-batch Adam, and sends less."""
    both = [trained(LARGE_BATCH, copies=16.0), trained("other", **other)]
    judged = [claim for claim in translation.claims(both, 5.0) if claim.claim.startswith("other")]
    assert len(judged) == 4
    for claim in judged:
        assert claim.holds != any(f"less {part}" in claim.claim or part in claim.claim[:40] for part in failing), claim
    (alone,) = translation.claims(both[:1], 5.0)
    assert alone.holds
    assert alone.measured == pytest.approx(20)
    assert not translation.claims(both[:1], 21.0)[0].holds


def test_all_is_written(tmp_path):
    config = translation.Config(num_points=5, num_steps=10, num_samples=1)
    both = [trained(LARGE_BATCH), trained("other")]
    translation.plot(config, both, 5.0, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    translation.save_points(config, both, tmp_path / "points.csv")
    with (tmp_path / "points.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 3 * 5
    assert [line["bleu"] for line in lines[:5]] == ["", "", "", "", "24.9"]
    assert lines[0]["gradients"] == "1"
    headings, shown = translation.rows(both, 5.0)
    assert {len(line) for line in shown} == {len(headings)}
    corpus = translation.Corpus(None, ["one", "two"], ["ein", "zwei"], None)
    (sample,) = translation.samples(config, corpus, both)
    assert sample == translation.Sample("one", "ein", {LARGE_BATCH: "eins", "other": "eins"})


TINY = translation.Config(
    corpus=translation.REVERSAL,
    width=8,
    num_heads=2,
    num_layers=1,
    hidden_width=8,
    num_workers=2,
    batch_size=4,
    num_steps=6,
    warm_up=2,
    num_test=9,
    num_points=3,
    num_samples=2,
    checkpoint_every=3,
)


@pytest.fixture
def users_rules():
    """JAX as it comes: Adam of optax mixes integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_every_way_takes_as_many_gradients(users_rules):
    """By as many steps as its active workers need for them."""
    problem = translation.build_problem(TINY, translation.load(TINY))
    for name in translation.WAYS:
        program = translation.build(TINY, problem, name)
        active = translation.base.num_active(program.algorithm, problem.init(jax.random.key(0)), problem.data)
        assert program.num_steps * active == TINY.num_steps * TINY.num_workers
        assert program.num_steps % TINY.num_points == 0


def test_large_batch_adam_is_adam_on_the_mean_gradient(key, users_rules):
    """Three steps by hand, with the schedule of the configuration."""

    def oracle(keys, views, targets, workers):
        return jnp.zeros(len(workers)), views - targets[workers]

    def start(key):
        return jnp.zeros(2, jnp.float32)

    targets = jnp.array([[1.0, 4.0], [3.0, -2.0]], jnp.float32)
    problem = translation.base.Problem(oracle, start, targets, None, None, None, 2)
    config = dataclasses.replace(TINY, warm_up=3)
    algorithm = translation.build(config, problem, LARGE_BATCH).algorithm
    state, x, first, second = algorithm.init(key, problem.init(key)), np.zeros(2), np.zeros(2), np.zeros(2)
    for t in range(3):
        state, _ = algorithm.step(key, state, (3 - t) * targets)
        grad = x - (3 - t) * np.array([2.0, 1.0])
        first, second = 0.9 * first + 0.1 * grad, 0.98 * second + 0.02 * grad**2
        corrected = first / (1 - 0.9 ** (t + 1)), second / (1 - 0.98 ** (t + 1))
        x = x - config.step_size * t / 3 * corrected[0] / (corrected[1] ** 0.5 + 1e-9)
    np.testing.assert_allclose(algorithm.global_params(state), x, rtol=1e-5)
    assert np.all(x != 0)


def test_a_run_is_kept_and_shows_what_it_translates(tmp_path, monkeypatch, users_rules):
    """The second time nothing is trained; the answer has sentences, references and outputs."""
    answer = translation.main(TINY, size="tiny", run_dir=tmp_path / "run")
    written = json.loads((tmp_path / "run/answer.json").read_text(encoding="utf-8"))
    assert len(written["samples"]) == 2
    source, reference = (written["samples"][0][side] for side in ("source", "reference"))
    assert source.split() == reference.split()[::-1]
    assert set(written["samples"][0]["outputs"]) == set(translation.WAYS)
    assert written["score"].startswith("nrefs:1")
    assert not answer.claims[0].holds  # six steps teach nothing
    monkeypatch.setattr(translation, "train", pytest.fail)
    again = translation.main(TINY, size="tiny", run_dir=tmp_path / "run")
    assert again.claims == answer.claims
    with pytest.raises(ValueError, match="another configuration"):
        translation.main(translation.SIZES["smoke"], size="smoke", run_dir=tmp_path / "run")


def test_a_cut_sentence_is_scored_as_it_is():
    assert translation.as_numbers(np.array([[5, 4, END, 0], [7, 8, 9, 3]])) == ["5 4", "7 8 9 3"]
