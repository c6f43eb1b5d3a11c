"""CIFAR-10 and CIFAR-100 in every official form, and what is refused: above all, code in a pickle."""

import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_jax import data
from elastic_jax.data import cifar, pickles

FORMS = ["bin", "python2", "protocol2", "protocol4_str", "protocol5"]
VARIANTS = cifar.VARIANTS


def images_of(count, shift=0):
    """uint8[count, 3, 32, 32]: every byte tells its image, channel, row and column."""
    i, channel, row, column = np.ogrid[:count, :3, :32, :32]
    return ((shift + 11 * i + 101 * channel + 3 * row + 7 * column) % 256).astype(np.uint8)


def python2_pickle(entries):
    """What Python 2 writes by protocol 2: text and content as byte strings, old names of modules."""

    def text(value):
        return b"T" + struct.pack("<i", len(value)) + value

    def integer(value):
        return b"J" + struct.pack("<i", value)

    def array(value):
        dtype = b"cnumpy\ndtype\n" + text(b"u1") + integer(0) + integer(1) + b"\x87R"
        dtype += b"(" + integer(3) + text(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
        shape = b"(" + b"".join(map(integer, value.shape)) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b")
        state = b"(" + integer(1) + shape + dtype + b"\x89" + text(value.tobytes()) + b"t"
        return empty + b"\x87R" + state + b"b"

    content = b"\x80\x02}("
    for key, value in entries.items():
        content += text(key.encode())
        if isinstance(value, np.ndarray):
            content += array(value)
        else:
            content += b"](" + b"".join(map(integer, value)) + b"e"
    return content + b"u."


def write_batch(path, form, images, columns, keys):
    """One file; `columns` are the label bytes in their order, `keys` their names in the pickles."""
    rows = images.reshape(len(images), -1)
    if form == "bin":
        path.with_name(path.name + ".bin").write_bytes(np.concatenate([*columns, rows], 1).tobytes())
        return
    entries = {
        "data": rows,
        **{key: column[:, 0].tolist() for key, column in zip(keys, columns, strict=True)},
    }
    if form == "python2":
        path.write_bytes(python2_pickle(entries))
    elif form == "protocol4_str":
        path.write_bytes(pickle.dumps(entries, protocol=4))
    else:
        entries = {key.encode(): value for key, value in entries.items()}
        path.write_bytes(pickle.dumps(entries, protocol=int(form[-1])))


def write(name, root, form, num_train=10, num_test=2):
    """A small set in the official layout; the labels are functions of the number of the image."""
    variant = VARIANTS[name]
    folder = root / variant.folders[0 if form == "bin" else 1]
    folder.mkdir(parents=True)
    per_file = num_train // len(variant.train_files)
    files = [(stem, per_file, per_file * i) for i, stem in enumerate(variant.train_files)]
    for stem, count, shift in [*files, (variant.test_file, num_test, 100)]:
        fine = ((np.arange(count) + shift) * 3 % variant.label_limits[-1]).astype(np.uint8)[:, None]
        columns = [fine] if name == "cifar10" else [fine // 5, fine]
        keys = ["labels"] if name == "cifar10" else ["coarse_labels", "fine_labels"]
        write_batch(folder / stem, form, images_of(count, 11 * shift), columns, keys)
    return folder


@pytest.fixture
def small(monkeypatch):
    for name in VARIANTS:
        monkeypatch.setitem(VARIANTS, name, VARIANTS[name]._replace(num_examples=(10, 2)))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("form", FORMS)
def test_every_official_form_gives_the_same_pixels_and_labels(tmp_path, small, name, form):
    """Byte 1024 c + 32 r + k of an image is channel c of row r, column k; the fine label is the target."""
    write(name, tmp_path, form)
    loaded = data.load(name, tmp_path)
    limit = VARIANTS[name].label_limits[-1]
    assert loaded.num_classes == limit
    np.testing.assert_array_equal(loaded.train_targets, np.arange(10) * 3 % limit)
    np.testing.assert_array_equal(loaded.test_targets, np.arange(100, 102) * 3 % limit)
    assert loaded.train_targets.dtype == np.int32
    assert loaded.train_inputs.dtype == np.uint8
    np.testing.assert_array_equal(loaded.train_inputs, images_of(10).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(loaded.test_inputs, images_of(2, 1100).transpose(0, 2, 3, 1))


def test_an_array_stored_by_columns_is_read_in_its_own_order(tmp_path):
    """A pickle may hold the array in Fortran's order; its element [m, j] is the same."""
    rows = np.asfortranarray(images_of(3).reshape(3, -1))
    for protocol in (2, 5):
        path = tmp_path / "data_batch_1"
        path.write_bytes(pickle.dumps({"data": rows, "labels": [1, 2, 3]}, protocol=protocol))
        images, _ = cifar.read(path, VARIANTS["cifar10"])
        np.testing.assert_array_equal(images, images_of(3).transpose(0, 2, 3, 1))


@settings(deadline=None, max_examples=30)
@given(size=st.integers(0, 4 * 3073))
def test_a_binary_file_of_an_odd_size_is_refused(tmp_path_factory, size):
    """Only whole examples are a file, and at least one."""
    path = tmp_path_factory.getbasetemp() / "test_batch.bin"
    path.write_bytes(bytes(size))
    if size and size % 3073 == 0:
        assert len(cifar.read(path, VARIANTS["cifar10"])[0]) == size // 3073
    else:
        with pytest.raises(ValueError, match=f"test_batch.bin is truncated or corrupt: {size} bytes"):
            cifar.read(path, VARIANTS["cifar10"])


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_file_cut_between_two_images_is_refused(tmp_path, small, name):
    """No single file shows it; the number of images does. The error names the command."""
    folder = write(name, tmp_path, "bin")
    path = folder / f"{VARIANTS[name].train_files[0]}.bin"
    row = cifar.IMAGE_BYTES + len(VARIANTS[name].label_limits)
    path.write_bytes(path.read_bytes()[:-row])
    with pytest.raises(ValueError, match=rf"\(9, 2\).*must be \(10, 2\).*data fetch {name} --root"):
        data.load(name, tmp_path)


def test_a_missing_batch_is_named(tmp_path, small):
    folder = write("cifar10", tmp_path, "protocol2")
    (folder / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3 does not exist; get it with: elastic-jax data fetch"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize(("position", "limit"), [(0, 20), (1, 100)])
def test_labels_out_of_range_are_refused(tmp_path, position, limit):
    """Of CIFAR-100 both label bytes are looked at: a file of 3,073-byte rows read as its own shows here."""
    row = bytearray(3074)
    row[position] = limit
    path = tmp_path / "train.bin"
    path.write_bytes(row)
    with pytest.raises(ValueError, match=rf"must be in \[0, {limit}\)"):
        cifar.read(path, VARIANTS["cifar100"])


class Attack:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        """A call of `function` with `args`."""
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def attacks(flag):
    import os
    import subprocess

    command = f"touch {flag}"
    yield "os.system", pickle.dumps({"data": Attack(os.system, command)})
    yield "subprocess.Popen", pickle.dumps(Attack(subprocess.Popen, ["touch", str(flag)]))
    yield "builtins.eval", pickle.dumps([Attack(eval, f"open({str(flag)!r}, 'w')")])
    yield "builtins.getattr", pickle.dumps(Attack(getattr, 3, "real"))
    yield "numpy.load", pickle.dumps(Attack(np.load, str(flag)))
    yield "protocol 0", f"cposix\nsystem\n(S'{command}'\ntR.".encode()
    yield "instance", f"(S'{command}'\niposix\nsystem\n.".encode()
    yield "dotted name", b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93."
    yield "extension", b"\x80\x02\x82\x01."
    yield "persistent id", b"Pxyz\n."
    yield "state of a stand-in", b"\x80\x02c_codecs\nencode\n}(X\x01\x00\x00\x00aK\x01ub."
    yield "slots of a stand-in", b"\x80\x02cnumpy\nndarray\nN}(X\x01\x00\x00\x00aK\x01u\x86b."
    yield "another codec", pickle.dumps(Attack(__import__("codecs").encode, "aa", "rot13"), protocol=2)


@pytest.mark.parametrize("index", range(13))
def test_a_pickle_that_asks_for_code_is_refused_and_nothing_runs(tmp_path, index):
    """Whatever a pickle names but the seven things of an array of bytes, nothing is called or changed."""
    flag = tmp_path / "was_run"
    _, content = list(attacks(flag))[index]
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="data_batch_1 is"):
        cifar.read(path, VARIANTS["cifar10"])
    assert not flag.exists()
    assert not any(hasattr(stand_in, "a") for stand_in in pickles._KNOWN.values())


def test_the_attacks_work_on_the_unrestricted_reader(tmp_path):
    """Negative control: the same bytes do run under `pickle.loads`, so that the test above can fail."""
    flag = tmp_path / "was_run"
    by_name = dict(attacks(flag))
    for name in ("os.system", "protocol 0"):
        pickle.loads(by_name[name])
        assert flag.exists()
        flag.unlink()


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2],
        {"data": images_of(2).reshape(2, -1)},
        {"data": [0] * 3072, "labels": [1]},
        {"data": images_of(2).reshape(2, -1), "labels": [1]},
        {"data": images_of(2).reshape(2, -1), "labels": [1, "2"]},
        {"data": images_of(2).reshape(2, -1), "labels": [1, 10]},
        {"data": images_of(2).reshape(2, -1), "labels": [1, -1]},
        {"data": images_of(2).reshape(2, -1), "labels": [1, 1 << 70]},
        {"data": images_of(2).reshape(2, -1), "labels": 3},
        {"data": images_of(2).reshape(-1), "labels": [1, 2]},
        {"data": images_of(2).reshape(2, -1).astype(np.float32), "labels": [1, 2]},
        {"data": images_of(2).reshape(2, -1).astype(object), "labels": [1, 2]},
        {"data": images_of(0).reshape(0, 3072), "labels": []},
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_of_something_else_is_refused(tmp_path, batch, protocol):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(batch, protocol=protocol))
    with pytest.raises(ValueError, match="data_batch_1"):
        cifar.read(path, VARIANTS["cifar10"])


@pytest.mark.parametrize("form", ["python2", "protocol2", "protocol5"])
def test_a_pickle_cut_anywhere_is_refused(tmp_path, form):
    """No prefix of a pickle is a pickle; cut every 41 bytes, and at each of the first and last 60."""
    buffer = tmp_path / "data_batch_1"
    write_batch(buffer, form, images_of(1), [np.array([[3]], np.uint8)], ["labels"])
    content = buffer.read_bytes()
    cuts = {*range(0, len(content), 41), *range(60), *range(len(content) - 60, len(content))}
    for cut in cuts:
        buffer.write_bytes(content[:cut])
        with pytest.raises(ValueError, match="data_batch_1 is"):
            cifar.read(buffer, VARIANTS["cifar10"])


def test_the_restricted_reader_agrees_with_the_unrestricted_one(tmp_path):
    """On a batch as Python 2 wrote it, the stand-ins give what NumPy itself would have given."""
    rows = images_of(3).reshape(3, -1)
    content = python2_pickle({"data": rows, "labels": [5, 6, 7]})
    expected = _Modern(io.BytesIO(content), encoding="bytes").load()
    path = tmp_path / "batch"
    path.write_bytes(content)
    found = pickles.load(path)
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found[b"data"], expected[b"data"])
    assert found[b"labels"] == expected[b"labels"]


class _Modern(pickle.Unpickler):
    """Python's reader, with NumPy's module by its new name, so that no deprecation is met."""

    def find_class(self, module, name):
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
