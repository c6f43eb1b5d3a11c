"""Two processes of two devices each take the steps of one; as a script, this file is one of the two."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

NUM_PROCESSES = 2
DTYPE = "float64"


def take_part(process: int, port: int, directory: Path) -> None:
    """Run every variant as one of the processes and write what it saw.

    Args:
        process: 0 or 1.
        port: where process 0 is reached on this machine.
        directory: for the results.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    jax.distributed.initialize(f"127.0.0.1:{port}", NUM_PROCESSES, process, initialization_timeout=60)

    import trajectories  # only now, since it makes arrays

    from elastic_jax import devices

    mesh = devices.make_mesh()
    results: dict[str, Any] = {
        variant: trajectories.run(variant, DTYPE, mesh=mesh, oracle_mesh=mesh) for variant in trajectories.VARIANTS
    }
    data = trajectories.make_data(DTYPE)
    placed = devices.place_data(data, mesh)
    key = devices.replicate(jax.random.key(3), mesh)
    results["placed"] = {
        "devices": mesh.size,
        "rows here": sum(len(shard.data) for shard in placed.sizes.addressable_shards),
        "data": jax.tree.leaves(devices.gather(placed)),
        "key": devices.gather(key),
        "key of": str(key.dtype),
    }
    try:
        trajectories.run(trajectories.VARIANTS[0], DTYPE, strategy="pmap")
    except ValueError as error:
        results["pmap"] = str(error)
    (directory / f"{process}.pickle").write_bytes(pickle.dumps(results))
    jax.distributed.shutdown()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the processes saw."""
    directory = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(process), str(port), str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(NUM_PROCESSES)
    ]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * NUM_PROCESSES, "\n".join(outputs)
    return [pickle.loads((directory / f"{each}.pickle").read_bytes()) for each in range(NUM_PROCESSES)]


def test_two_processes_give_the_trajectory_of_one(seen):
    """Law 8 across processes, every variant, as seen by each process; by one compilation."""
    import trajectories

    for variant in trajectories.VARIANTS:
        for results in seen:
            trajectories.assert_same(results[variant], trajectories.reference(variant, DTYPE), DTYPE)
            assert results[variant].num_compilations == 1


def test_data_and_keys_span_the_processes(seen):
    """Each process holds its half of the rows; gathering gives everything to both."""
    import trajectories

    expected = jax.tree.leaves(trajectories.make_data(DTYPE))
    for results in seen:
        placed = results["placed"]
        assert placed["devices"] == 4
        assert placed["rows here"] == trajectories.NUM_WORKERS // 2
        for found, original in zip(placed["data"], expected, strict=True):
            np.testing.assert_array_equal(found, original)
        np.testing.assert_array_equal(placed["key"], jax.random.key_data(jax.random.key(3)))
        assert placed["key of"] == str(jax.random.key(3).dtype)


def test_pmap_is_refused_where_there_are_several_processes(seen):
    assert all("give mesh=" in results["pmap"] for results in seen)


if __name__ == "__main__":
    take_part(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
