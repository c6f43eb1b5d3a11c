"""What `data.load` promises: the published formats, read exactly; anything else refused, with the remedy."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import dump_svmlight_file, load_digits

from elastic_jax import data
from elastic_jax.data import checksums, idx, libsvm

no_deadline = settings(deadline=None, max_examples=40)


def write_idx(path, array):
    """The format by its definition, written independently of the reader."""
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return content


def small_mnist(folder, suffix="", labels=(3, 1, 4, 1, 5, 9), num_images=(6, 4)):
    """Images whose every byte tells its image, row and column."""
    row, column = np.mgrid[:28, :28]
    for part, count in zip(("train", "t10k"), num_images, strict=True):
        images = np.stack([(7 * i + 3 * row + column) % 256 for i in range(count)]).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", np.array(labels[:count], np.uint8))


@pytest.fixture
def six_and_four(monkeypatch):
    monkeypatch.setattr(idx, "NUM_EXAMPLES", (6, 4))


def test_digits_are_split_once_and_evenly_by_label():
    """Every image of the source is in exactly one part, and a label's test share is a fifth, rounded down."""
    digits = data.load("digits")
    pixels, targets = load_digits(return_X_y=True)
    assert digits.train_inputs.shape[1:] == (8, 8, 1)
    assert digits.train_inputs.dtype == np.float32
    assert digits.train_targets.dtype == np.int32
    for label in range(10):
        total = int((targets == label).sum())
        assert int((digits.test_targets == label).sum()) == total // 5
        assert int((digits.train_targets == label).sum()) == total - total // 5
    ours = np.concatenate([digits.train_inputs, digits.test_inputs]).reshape(-1, 64) * 16
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], pixels[np.lexsort(pixels.T)].astype(np.float32))
    again = data.load("digits")
    np.testing.assert_array_equal(digits.test_inputs, again.test_inputs)


def test_labels_of_digits_belong_to_their_images():
    """An image and its label stay together: the mean image of a label is that of the source."""
    digits = data.load("digits")
    pixels, targets = load_digits(return_X_y=True)
    inputs = np.concatenate([digits.train_inputs, digits.test_inputs]).reshape(-1, 64)
    labels = np.concatenate([digits.train_targets, digits.test_targets])
    for label in range(10):
        np.testing.assert_allclose(inputs[labels == label].mean(0) * 16, pixels[targets == label].mean(0), atol=1e-4)


def test_an_unknown_name_is_answered_with_the_closest_one(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        data.load("cifar_10", tmp_path)
    with pytest.raises(TypeError, match="name = 3"):
        data.load(3)
    with pytest.raises(TypeError, match="root = 3"):
        data.load("mnist", 3)


@no_deadline
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)),
    is_compressed=st.booleans(),
)
def test_idx_is_read_back_as_written(tmp_path_factory, array, is_compressed):
    """Any array of bytes survives the format, plain or compressed."""
    path = tmp_path_factory.getbasetemp() / ("array.gz" if is_compressed else "array")
    write_idx(path, array)
    np.testing.assert_array_equal(idx.read(path), array)


@no_deadline
@given(cut=st.integers(0, 200), is_compressed=st.booleans())
def test_idx_cut_anywhere_is_refused(tmp_path_factory, cut, is_compressed):
    """Of a file without its end no prefix is taken for the whole."""
    path = tmp_path_factory.getbasetemp() / ("cut.gz" if is_compressed else "cut")
    write_idx(path, np.arange(192, dtype=np.uint8).reshape(4, 6, 8))
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(ValueError, match=f"{path.name} is"):
        idx.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x01\x08\x01\x00\x00\x00\x01a", "not an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01abcd", "type 0x0d"),
        (b"\x00\x00\x08\x00a", "with 0 axes"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01ab", "corrupt: more than 1 bytes"),
        (b"\x00\x00\x08\x04" + b"\xff" * 16 + b"a", "truncated: 1 bytes"),
        (b"\x89PNG\r\n", "not an IDX file"),
    ],
)
def test_idx_with_a_wrong_header_is_refused(tmp_path, content, message):
    """Magic, type, number of axes and length are checked; a header of 2^128 bytes allocates none."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        idx.read(path)


def test_a_compressed_bomb_is_not_unpacked_past_its_header(tmp_path, monkeypatch):
    """What lies behind the declared end is not read, however much it is."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2) + b"\0" * (64 << 20)))
    largest = 0
    original = gzip.GzipFile.read

    def spy(self, size=-1):
        nonlocal largest
        largest = max(largest, size if size >= 0 else 1 << 40)
        return original(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", spy)
    with pytest.raises(ValueError, match="corrupt"):
        idx.read(path)
    assert largest <= 4


@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_found_in_the_usual_layouts(tmp_path, six_and_four, layout, suffix):
    """A folder in the root, torchvision's folders, and the folder itself give the same pixels in NHWC."""
    small_mnist(tmp_path / layout, suffix)
    loaded = data.load("mnist", tmp_path)
    assert loaded.train_inputs.shape == (6, 28, 28, 1)
    assert loaded.test_inputs.shape == (4, 28, 28, 1)
    assert loaded.train_inputs.dtype == np.uint8
    assert loaded.train_inputs[5, 2, 20, 0] == (7 * 5 + 3 * 2 + 20) % 256
    np.testing.assert_array_equal(loaded.train_targets, [3, 1, 4, 1, 5, 9])
    assert loaded.num_classes == 10


def test_mnist_with_too_few_images_is_refused(tmp_path):
    """A whole file of fewer images than the data set has is another data set, or an older truncation."""
    small_mnist(tmp_path / "mnist")
    with pytest.raises(ValueError, match=r"6 images and 6 labels, must be 60000 .*data fetch mnist --root"):
        data.load("mnist", tmp_path)


def test_mnist_with_an_impossible_label_is_refused(tmp_path, six_and_four):
    small_mnist(tmp_path, labels=(3, 1, 4, 1, 10, 9))
    with pytest.raises(ValueError, match=r"labels in \[1, 10\], must be in \[0, 10\)"):
        data.load("mnist", tmp_path)


def test_fashion_mnist_is_not_taken_for_mnist(tmp_path, six_and_four, monkeypatch):
    """The two have the same file names and shapes; the labels tell them apart."""
    import hashlib

    small_mnist(tmp_path / "mnist")
    content = (tmp_path / "mnist/train-labels-idx1-ubyte").read_bytes()
    known = {"fashion_mnist": {"train-labels-idx1-ubyte": hashlib.sha256(content).hexdigest()}}
    monkeypatch.setattr(checksums, "CONTENT_SHA256", known)
    with pytest.raises(ValueError, match="belongs to fashion_mnist, not to mnist"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "a9a"])
def test_a_missing_folder_is_answered_with_the_command_that_gets_it(tmp_path, name):
    """The exact command, with the root that was asked for, quoted for the shell."""
    for root, shown in (
        (tmp_path / "nowhere", f"{tmp_path}/nowhere"),
        (tmp_path / "a b", f"'{tmp_path}/a b'"),
    ):
        with pytest.raises(FileNotFoundError) as error:
            data.load(name, root)
        assert f"elastic-jax data fetch {name} --root {shown}" in str(error.value)


def test_a_wrong_folder_is_answered_with_what_is_in_it(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds nothing; .* holds cifar-10-batches-bin, holiday.jpg"):
        data.load("cifar10", tmp_path)
    with pytest.raises(NotADirectoryError, match=r"holiday.jpg is a file"):
        data.load("cifar10", tmp_path / "holiday.jpg")


def test_one_missing_file_is_named(tmp_path, six_and_four):
    small_mnist(tmp_path / "mnist")
    (tmp_path / "mnist/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte does not exist; .*fetch mnist"):
        data.load("mnist", tmp_path)


def test_root_is_the_argument_then_the_variable_then_the_cache(tmp_path, six_and_four, monkeypatch):
    small_mnist(tmp_path / "variable/mnist", labels=(0, 0, 0, 0, 0, 0))
    small_mnist(tmp_path / "home/.cache/elastic_jax/mnist", labels=(1, 1, 1, 1, 1, 1))
    small_mnist(tmp_path / "argument/mnist", labels=(2, 2, 2, 2, 2, 2))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ELASTIC_JAX_DATA", str(tmp_path / "variable"))
    assert data.load("mnist", tmp_path / "argument").train_targets[0] == 2
    assert data.load("mnist").train_targets[0] == 0
    monkeypatch.delenv("ELASTIC_JAX_DATA")
    assert data.load("mnist").train_targets[0] == 1


SPARSE = np.array([[0, 0.5, 0], [1, 0, 0], [0, 0, 2], [0, 3, 0], [4, 0, 0], [0, 0, 0.25]])


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "set.svm"
    dump_svmlight_file(SPARSE, [-1, 1, -1, -1, -1, -1], str(path), zero_based=False)
    return path


def test_libsvm_text_is_read_as_dense_rows_and_labels_from_zero(binary):
    """-1 and +1 become 0 and 1; every fifth example of a label is for testing."""
    loaded = data.load(binary)
    np.testing.assert_array_equal(loaded.train_inputs, SPARSE[:5].astype(np.float32))
    np.testing.assert_array_equal(loaded.test_inputs, SPARSE[5:].astype(np.float32))
    np.testing.assert_array_equal(loaded.train_targets, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(loaded.test_targets, [0])
    assert (loaded.name, loaded.num_classes) == ("set.svm", 2)
    assert loaded.train_inputs.dtype == np.float32
    everything = data.load_libsvm(binary, test_every=None)
    np.testing.assert_array_equal(everything.train_inputs, SPARSE.astype(np.float32))
    assert everything.test_inputs.shape == (0, 3)


def test_libsvm_test_file_has_the_columns_of_the_training_file(binary):
    """A test file whose last columns are empty, as that of a9a, gets them all the same; labels agree too."""
    binary.with_name("set.svm.t").write_text("+1 1:7\n")
    loaded = data.load("set.svm", binary.parent)
    np.testing.assert_array_equal(loaded.train_inputs, SPARSE.astype(np.float32))
    np.testing.assert_array_equal(loaded.test_inputs, [[7, 0, 0]])
    np.testing.assert_array_equal(loaded.test_targets, [1])


def test_libsvm_targets_that_are_no_labels_stay_numbers(tmp_path):
    path = tmp_path / "regression"
    path.write_text("".join(f"{i / 2} 1:{i}\n" for i in range(10)))
    loaded = data.load(path)
    assert loaded.num_classes == 0
    assert loaded.train_targets.dtype == np.float32
    np.testing.assert_array_equal(loaded.test_targets, [2, 4.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1:2\n1 2:", "truncated or no LIBSVM text"),
        ("hello world\n", "truncated or no LIBSVM text"),
        ("", "0 examples|truncated or no LIBSVM text"),
        ("1 1:nan\n", "not finite"),
        ("1 2000000000:1\n2 1:1\n", r"dense float32 are 14\.9 GiB, must be at most 8"),
        ("1 3:1 2:1\n", "truncated or no LIBSVM text"),
    ],
)
def test_damaged_libsvm_text_is_refused(tmp_path, text, message):
    path = tmp_path / "damaged"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        data.load(path)


@no_deadline
@given(content=st.binary(max_size=60) | st.text(alphabet="01-+.:e \n#", max_size=60).map(str.encode))
def test_any_bytes_are_a_data_set_or_a_value_error(tmp_path_factory, content):
    """Nothing that a file may hold gets through as another error, or as numbers that are not finite."""
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    try:
        loaded = data.load(path)
    except ValueError as refusal:
        message = str(refusal)
    else:
        message = str(path)
        assert np.isfinite(loaded.train_inputs).all()
        assert len(loaded.train_inputs) == len(loaded.train_targets) >= 1
    assert str(path) in message


def test_a_named_libsvm_set_must_have_its_published_shape(tmp_path, monkeypatch):
    """A file cut at the end of a line is good text; only the number of examples tells."""
    known = checksums.LibsvmSet(("a9a", "a9a.t"), (6, 1), 4)
    monkeypatch.setitem(checksums.LIBSVM, "a9a", known)
    dump_svmlight_file(SPARSE, [-1, 1, -1, -1, -1, 1], str(tmp_path / "a9a"), zero_based=False)
    (tmp_path / "a9a.t").write_text("+1 1:7\n")
    assert data.load("a9a", tmp_path).train_inputs.shape == (6, 4)
    lines = (tmp_path / "a9a").read_text().splitlines(keepends=True)
    (tmp_path / "a9a").write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match=r"\(5, 1\) examples, must be \(6, 1\).*data fetch a9a"):
        data.load("a9a", tmp_path)
    (tmp_path / "a9a").write_text("1 9:1\n")
    with pytest.raises(ValueError, match="truncated or no LIBSVM text"):
        data.load("a9a", tmp_path)


def test_the_dense_limit_is_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(libsvm, "MAX_DENSE_BYTES", 4 * 6 * 3)
    path = tmp_path / "fits"
    dump_svmlight_file(SPARSE, np.zeros(6), str(path), zero_based=False)
    assert data.load(path).train_inputs.shape == (5, 3)
    monkeypatch.setattr(libsvm, "MAX_DENSE_BYTES", 4 * 6 * 3 - 1)
    with pytest.raises(ValueError, match="dense float32"):
        data.load(path)
