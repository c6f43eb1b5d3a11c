"""`elastic-jax train`: any variant on any problem, from flags, into a run folder."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from elastic_jax import algorithms, arguments, base, by_name, data, devices, metrics, problems, run
from elastic_jax.cli.proofs import PROOFS, Proofs


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
    measure_every: int = 10
    """Steps between two measurements; f on all training data is measured a tenth as often."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints; default: only at the end or when interrupted."""
    num_devices: int | None = None
    """Spread the workers over this many devices; on a CPU, as many virtual ones are asked for."""
    run_dir: Path | None = None
    """Where config, metrics and checkpoints go; default runs/ALGORITHM-PROBLEM-DATA-SEED."""
    prove: bool = False
    """Check the theory's identities and pathwise inequalities in every step; exits with 1 if one is violated."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write {config, metrics, final, run_dir, proofs} to this file."""

    def execute(self) -> tuple[dict[str, Any], int]:
        """Trains; {config, metrics, final, run_dir, proofs} and status 0, or 1 where something proved is violated."""
        build = algorithms.variant(self.algorithm).build
        bound = by_name.assignments(self.set, flag="--set")
        num_workers = arguments.integer("--num-workers", self.num_workers, low=1)
        num_steps = arguments.integer("--num-steps", self.num_steps, low=1)
        if self.num_devices is not None and self.num_devices != 1:
            devices.request_cpu_devices(arguments.integer("--num-devices", self.num_devices, low=1))
        mesh = devices.make_mesh(self.num_devices) if self.num_devices is not None else None

        problem = self._problem(num_workers, mesh)
        algorithm = by_name.call(
            partial(build, problem.oracle),
            bound,
            what=self.algorithm,
            num_workers=num_workers,
            **({} if self.step_size is None else {"step_size": self.step_size}),
        )
        every = arguments.integer("--measure-every", self.measure_every, low=1)
        key_params, key_run = jax.random.split(jax.random.key(self.seed))
        run_dir = self.run_dir or Path("runs") / "-".join(
            [self.algorithm, self.problem, *([Path(self.data).name] if self.data else []), str(self.seed)]
        )
        params = problem.init(key_params)
        proofs = Proofs(algorithm, params, problem, every, run_dir) if self.prove else None
        train = partial(
            run.run,
            algorithm,
            params,
            problem.data,
            num_steps=num_steps,
            key=key_run,
            seeds=None if self.num_seeds == 1 else arguments.integer("--num-seeds", self.num_seeds, low=1),
            metrics={
                "loss": metrics.loss(every),
                "consistency_distance_sq": metrics.consistency_distance_sq(every),
                "staleness": metrics.staleness(every),
                "total_bits": metrics.total_bits(every),
                "total_seconds": metrics.total_seconds(every),
                "objective": metrics.objective(problem, 10 * every),
                **(proofs.metrics if proofs else {}),
            },
            mesh=mesh,
            run_dir=run_dir,
            checkpoint_every=self.checkpoint_every,
            config=self._config(),
        )
        if proofs is None:
            return self._record(problem, train(), run_dir), 0
        result = proofs.watched(train)
        record, status = proofs.tell(result)
        return self._record(problem, result, run_dir) | {"proofs": record}, status

    def _problem(self, num_workers: int, mesh: Mesh | None) -> base.Problem:
        """The problem on its data set, with what `--problem-set` says."""
        build = problems.problem(self.problem).build
        takes = inspect.signature(build).parameters
        fixed: dict[str, Any] = {"num_workers": num_workers}
        if mesh is not None and "mesh" in takes:
            fixed["mesh"] = mesh
        if self.data is not None:
            if "dataset" not in takes:
                raise ValueError(f"--data {self.data!r} does not apply: the problem {self.problem!r} takes no data set")
            fixed["dataset"] = data.load(self.data, self.root)
        bound = by_name.assignments(self.problem_set, flag="--problem-set")
        return by_name.call(build, bound, what=self.problem, **fixed)

    def _config(self) -> dict[str, Any]:
        """What defines the run: its flags but those that may change when it is started again."""
        flags = {name: value for name, value in asdict(self).items() if name not in MAY_CHANGE}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()}

    def _record(self, problem: base.Problem, result: run.Result, run_dir: Path) -> dict[str, Any]:
        """The machine-readable result; prints the last values."""
        final = {name: plain(values) for name, values in self._last(result).items()}
        params = (
            [result.params]
            if self.num_seeds == 1
            else [jax.tree.map(lambda leaf, s=seed: leaf[s], result.params) for seed in range(self.num_seeds)]
        )
        scores = [problem.evaluate(each) for each in params]
        final |= {name: plain(np.asarray([score[name] for score in scores])) for name in scores[0]}
        table = Table("after the last step", "mean over seeds" if self.num_seeds > 1 else "value")
        table.add_row("steps", str(result.num_steps))
        for name, value in final.items():
            table.add_row(name, f"{np.mean(np.asarray(value, float)):.6g}")
        console = Console(soft_wrap=True)
        console.print(table)
        console.print(
            f"{result.seconds:.1f} s and {result.compile_seconds:.1f} s of compilation; all of it is in {run_dir}"
        )
        return {
            "config": self._config() | {"num_steps": self.num_steps},
            "metrics": {
                name: {"steps": plain(steps), "values": plain(values)}
                for name, (steps, values) in result.history.items()
                if name != PROOFS
            },
            "final": {"num_steps": result.num_steps, **final},
            "run_dir": str(run_dir),
        }

    def _last(self, result: run.Result) -> dict[str, np.ndarray]:
        """The last value of each metric, a mean over workers: [] or [S]."""
        axis = 0 if self.num_seeds == 1 else 1
        last = {name: np.take(values, -1, axis=axis) for name, (_, values) in result.history.items() if name != PROOFS}
        return {name: value if value.ndim <= axis else value.mean(axis=-1) for name, value in last.items()}


MAY_CHANGE = ("json", "num_steps", "run_dir", "checkpoint_every", "root")


def plain(values: Any) -> Any:
    """Numbers and lists for JSON; what is not finite becomes None."""
    array = np.asarray(values)
    if array.ndim:
        return [plain(each) for each in array]
    number = array.item()
    return None if isinstance(number, float) and not np.isfinite(number) else number
