"""`elastic-jax train`: any variant on any problem, from flags, into a run folder."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console

from elastic_jax import algorithms, arguments, base, by_name, data, devices, metrics, problems, run


@dataclass(frozen=True)
class Train:
    """Train with any variant on any problem and data set; started again with the same run folder, it resumes.

    Example: elastic-jax train --algorithm local_sgd --problem cnn --data digits --set period=8
    """

    algorithm: str
    """The variant; `elastic-jax list` shows them."""
    problem: str
    """The problem: quadratic, logistic, nonconvex_logistic, log_cosh, mlp, cnn, resnet, wide_resnet, transformer."""
    data: str | None = None
    """The data set, for problems that take one: digits, mnist, fashion_mnist, cifar10, cifar100, or a LIBSVM file."""
    root: Path | None = None
    """Folder of the data sets; default $ELASTIC_JAX_DATA, or ~/.cache/elastic_jax."""
    num_workers: int = 8
    """n."""
    num_steps: int = 1000
    """Steps: updates of the global parameters."""
    step_size: float | None = None
    """α > 0; default 0.1."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    """Further arguments of the variant, e.g. --set period=8 'delays=uniform(4)' 'compressor=top_k(0.01)'
    error_feedback=True 'optimizer=adam(0.001)'."""
    problem_set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    """Further arguments of the problem, e.g. --problem-set batch_size=16 split=dirichlet alpha=0.1."""
    seed: int = 0
    """Seed of everything random: initial parameters, schedule, samples."""
    num_seeds: int = 1
    """Independent runs from the same initial parameters."""
    measure_every: int | None = None
    """Steps between two measurements of the cheap metrics; default: 200 measurements in the run."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints; default: only at the end or when interrupted."""
    num_devices: int | None = None
    """Spread the workers over this many devices; on a CPU, as many virtual ones are asked for."""
    run_dir: Path | None = None
    """Where config, metrics and checkpoints go; default runs/ALGORITHM-PROBLEM-DATA-SEED."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {config, metrics, final, run_dir} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Trains; {config, metrics, final, run_dir} and status 0."""
        num_workers = arguments.integer("--num-workers", self.num_workers, low=1)
        num_steps = arguments.integer("--num-steps", self.num_steps, low=1)
        if self.num_devices is not None:
            devices.request_cpu_devices(arguments.integer("--num-devices", self.num_devices, low=1))
        mesh = devices.make_mesh(self.num_devices) if self.num_devices is not None else None

        problem = self._problem(num_workers, mesh)
        build = algorithms.variant(self.algorithm).build
        bound = by_name.assignments(self.set, flag="--set")
        algorithm = by_name.call(
            _with_oracle(build, problem.oracle), bound, what=self.algorithm,
            num_workers=num_workers, **({} if self.step_size is None else {"step_size": self.step_size}),
        )

        every = self.measure_every or max(1, num_steps // 200)
        rarely = max(every, num_steps // 10)
        measured = {
            "loss": metrics.loss(every),
            "consistency_distance_sq": metrics.consistency_distance_sq(every),
            "staleness": metrics.staleness(every),
            "objective": metrics.objective(problem, rarely),
        }
        key_params, key_run = jax.random.split(jax.random.key(self.seed))
        run_dir = self.run_dir or Path("runs") / "-".join(
            [self.algorithm, self.problem, *([Path(self.data).name] if self.data else []), str(self.seed)]
        )
        config = {
            "algorithm": self.algorithm, "problem": self.problem, "data": self.data, "num_workers": num_workers,
            "step_size": self.step_size, "set": list(self.set), "problem_set": list(self.problem_set),
            "seed": self.seed, "num_seeds": self.num_seeds, "measure_every": every,
        }
        result = run.run(
            algorithm, problem.init(key_params), problem.data, num_steps=num_steps, key=key_run,
            seeds=None if self.num_seeds == 1 else arguments.integer("--num-seeds", self.num_seeds, low=1),
            metrics=measured, mesh=mesh, run_dir=run_dir, checkpoint_every=self.checkpoint_every, config=config,
        )
        return self._record(algorithm, problem, result, config, run_dir), 0
