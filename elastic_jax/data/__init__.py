"""Data sets: loaded from their published formats, fetched, split over workers, fed in batches.

`load(name)` gives a `Dataset` of host arrays; `shard` puts one on the device, split over the workers, for
oracles that draw their own mini-batches; `batches` feeds it from the host, a batch for each worker at a time;
`grain_batches` does so for a source of examples that does not fit in memory.
"""

from elastic_jax.data.dataset import Dataset, check
from elastic_jax.data.feeding import batches, grain_batches
from elastic_jax.data.fetching import fetch, fetched
from elastic_jax.data.libsvm import load_path as load_libsvm
from elastic_jax.data.loading import load, names
from elastic_jax.data.splits import check_batch_size, partition, shard
from elastic_jax.data.subwords import Subwords
from elastic_jax.data.translation import Translation, load_translation

__all__ = [
    "Dataset",
    "Subwords",
    "Translation",
    "batches",
    "check",
    "check_batch_size",
    "fetch",
    "fetched",
    "grain_batches",
    "load",
    "load_libsvm",
    "load_translation",
    "names",
    "partition",
    "shard",
]
