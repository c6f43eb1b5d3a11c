"""A process that is killed at any moment, by SIGKILL, costs what came after its last checkpoint and nothing else."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pytest
import test_run

from elastic_jax.algorithms import local_sgd

PATIENCE = 300
"""Seconds after which a process that says nothing has hung."""


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block, however that ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(command: list[str]) -> None:
    """Run to the end, which is a success."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is so, or the process has ended."""
    begin = time.monotonic()
    while process.poll() is None and not is_so():
        assert time.monotonic() - begin < PATIENCE, "the process hangs"
        time.sleep(0.005)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def newest(folder: Path) -> int:
    """The last step of which there is a complete checkpoint, or 0."""
    return max((int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()), default=0)


VICTIM = """
    import sys
    import jax
    jax.config.update("jax_enable_x64", True)
    sys.path.insert(0, sys.argv[1])
    import test_run
    result = test_run.start(
        test_run.build(test_run.local_sgd), 600, run_dir=sys.argv[2], checkpoint_every=10, chunk=5
    )
    test_run.np.save(sys.argv[3], result.params["w"])
"""


@pytest.mark.slow
def test_a_run_survives_being_killed(tmp_path: Path) -> None:
    """At any moment, several times; in the end parameters and metrics are those of a run left in peace."""
    folder, final, local = tmp_path / "run", tmp_path / "final.npy", test_run.build(local_sgd)
    command = [sys.executable, "-c", textwrap.dedent(VICTIM), str(Path(__file__).parent), str(folder), str(final)]
    moments = random.Random(os.getpid())
    reached = []
    for _ in range(3):
        before = size(folder / "metrics.csv")
        with started(command) as process:
            wait_until(lambda before=before: size(folder / "metrics.csv") != before, process)
            time.sleep(moments.uniform(0.0, 0.7))
        assert process.returncode in (0, -signal.SIGKILL), "the process died of something else"
        reached.append(newest(folder / "checkpoints"))
    finish(command)
    assert reached[0] < 600, "the process was not killed in time to show anything"
    whole = test_run.start(local, 600)
    np.testing.assert_array_equal(np.load(final), whole.params["w"])
    again = test_run.start(local, 600, run_dir=folder)
    test_run.assert_same_tree(again.history, whole.history)
    assert not list((folder / "checkpoints").glob("*tmp*"))


NUM_STEPS, EVERY = 1000, 50
MARK = 1234.5


def train(folder: Path) -> list[str]:
    """A training as a user would start it, and start it again."""
    return [
        *(sys.executable, "-c", "from elastic_jax import cli; cli.main()"),
        *("train", "--algorithm", "local_sgd", "--problem", "log_cosh"),
        *("--num-workers", "4", "--num-steps", str(NUM_STEPS), "--checkpoint-every", str(EVERY)),
        *("--set", "period=5", "--run-dir", str(folder / "run"), "--json", str(folder / "result.json")),
    ]


@pytest.mark.slow
def test_a_training_survives_being_killed(tmp_path: Path) -> None:
    """`elastic-jax train`, killed and started again, ends with the bits of one left in peace: record and last state.

    A training that starts over would, too; that this one does not is seen by a mark in what it had measured, which is
    still there at the end.
    """
    killed, left_in_peace = tmp_path / "killed", tmp_path / "left_in_peace"
    with started(train(killed)) as process:
        wait_until(lambda: newest(killed / "run" / "checkpoints") >= 2 * EVERY, process)
    assert process.returncode == -signal.SIGKILL, "the process ended before it was killed"
    assert 2 * EVERY <= newest(killed / "run" / "checkpoints") < NUM_STEPS
    assert not (killed / "result.json").exists()
    measured = mark(killed / "run" / "metrics.csv")

    finish(train(killed))
    finish(train(left_in_peace))
    found, expected = (json.loads((each / "result.json").read_text()) for each in (killed, left_in_peace))
    assert found["metrics"]["loss"]["values"][0] == MARK, "it has started over"
    found["metrics"]["loss"]["values"][0] = measured
    assert found.pop("run_dir") != expected.pop("run_dir")
    assert found == expected
    assert last_state(killed) == last_state(left_in_peace)


def mark(path: Path) -> float:
    """Overwrite the first loss in a file of measurements; what it was."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    index = next(index for index, row in enumerate(rows) if row[:3] == ["0", "0", "loss"])
    measured = float(rows[index][4])
    rows[index][4] = repr(MARK)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return measured


def last_state(folder: Path) -> dict[str, Any]:
    """The bytes of every array in the checkpoint of the last step."""
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(folder / "run" / "checkpoints" / str(NUM_STEPS) / "default")
    assert any("params" in name for name in saved)
    return {name: (str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()) for name, leaf in saved.items()}
