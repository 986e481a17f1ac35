"""The processes of a run: one for each device, on one machine or on several.

They are started by torchrun, by SLURM's srun or, with neither, by the first process itself, in Lightning's way: it
starts the same command again. Importing this module imports neither torch nor Lightning.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from cifar100.config import TrainingConfig
from cifar100.errors import UserError
from cifar100.training.reporting.silence import quiet

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

Result = TypeVar("Result")

LONGEST_WAIT = timedelta(hours=2)
"""For each other: a slow download by the first process must fit in. One that has died is noticed much earlier."""

SECONDS_FOR_A_FAILURE_TO_SHOW = 3.0
"""Between the broken connection to a process and the end of that process."""

FIRST_PROCESS_VARIABLE = "CIFAR100_FIRST_PROCESS"
"""Tells the processes that the first one starts its process id."""


class Processes:
    """This process among those of a run.

    Args:
        fabric: Lightning's connection between them, launched; None for a run of one process.
    """

    def __init__(self, fabric: Fabric | None = None) -> None:
        self._fabric = fabric
        self.rank = fabric.global_rank if fabric else 0
        self.is_rank_zero = self.rank == 0

    def do_once(self, action: Callable[[], Result]) -> Result:
        """Let the first process do it while the others wait. All return its result, or end with its `UserError`."""
        outcome: Result | UserError | None = None
        if self.is_rank_zero:
            try:
                outcome = action()
            except UserError as error:
                outcome = error
        if self._fabric:
            outcome = self._fabric.broadcast(outcome)
        if isinstance(outcome, UserError):
            if not self.is_rank_zero:
                sys.exit(2)  # the first one speaks
            raise outcome
        return outcome  # type: ignore[return-value]  # the first process's, no longer None

    def do_once_on_each_machine(self, action: Callable[[], Result]) -> Result:
        """Do it in one process of each machine, those of the first machine first, for the machines may share a disk.

        The others wait. All return the first process's result.

        Raises:
            UserError: as `action`.
        """
        result = self.do_once(action)
        if self._fabric:
            if self._fabric.local_rank == 0 and not self.is_rank_zero:
                action()
            self._fabric.barrier()
        return result

    def wait_for_each_other(self) -> None:
        """Return when all processes have come here."""
        if self._fabric:
            self._fabric.barrier()


@contextmanager
def join_processes(config: TrainingConfig, *, accelerator: str) -> Iterator[Processes]:
    """Start the further processes, unless they were started from outside, and connect all.

    When the first process fails or is interrupted, those that it started end with it. When one of them fails, it says
    so, and the first ends with the same exit status.

    Raises:
        UserError: another number of processes was started than `training.devices` and `training.num_nodes` say.
    """
    with quiet():
        environment = cluster_environment()
    _check_number(config, environment)
    if config.num_processes == 1:
        yield Processes()
        return
    if not environment.creates_processes_externally:
        os.environ[FIRST_PROCESS_VARIABLE] = str(os.getpid())
    elif os.environ.get(FIRST_PROCESS_VARIABLE) == str(os.getppid()):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal reaches all; the first one ends them
        # Killed with the first, it cannot tidy up after its workers; Python's tracker does, and need not say so.
        ignored = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, ignored))
        _end_with_the_first()
    fabric = _build_fabric(config, accelerator, environment)
    try:
        with quiet():
            fabric.launch()
        processes = Processes(fabric)
        yield processes
        processes.wait_for_each_other()  # none is ended in the middle of its last words
    except KeyboardInterrupt:
        if not is_rank_zero():
            sys.exit(130)  # the first one speaks
        raise
    except UserError:
        raise
    except Exception:
        status = _status_of_a_failure(_started_by(fabric))
        if status:
            sys.exit(status)  # it has spoken; that the connection to it broke is no news
        raise
    finally:
        if sys.exc_info()[0] is not None:
            _end(_started_by(fabric))


def cluster_environment() -> ClusterEnvironment:
    """Return what Lightning should know of who started the processes, torchrun before SLURM, in which it may run.

    Raises:
        UserError: SLURM started them in a way that Lightning does not support.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if SLURMEnvironment.detect():
        try:
            # Requeueing starts the command again, which would begin a new run; a person can give --resume.
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise UserError(f"SLURM: {error}") from error
    return LightningEnvironment()


def is_rank_zero() -> bool:
    """Whether this is the first process of all, as far as the environment tells; see `cluster_environment`."""
    variables = os.environ
    if "TORCHELASTIC_RUN_ID" in variables:
        return variables.get("RANK", "0") == "0"
    if "SLURM_NTASKS" in variables and variables.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return variables.get("SLURM_PROCID", "0") == "0"
    machine = variables.get("NODE_RANK", variables.get("GROUP_RANK", "0"))
    return variables.get("LOCAL_RANK", "0") == "0" and machine == "0"


def _check_number(config: TrainingConfig, environment: ClusterEnvironment) -> None:
    """Refuse processes that would each train alone, or wait for others for ever."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    if isinstance(environment, LightningEnvironment):
        return
    launcher = "SLURM" if isinstance(environment, SLURMEnvironment) else "torchrun"
    if environment.world_size() != config.num_processes:
        raise UserError(
            f"{launcher} has started {environment.world_size()} processes, but --training.devices {config.devices} "
            f"times --training.num_nodes {config.num_nodes} is {config.num_processes}; make them equal."
        )


def _build_fabric(config: TrainingConfig, accelerator: str, environment: ClusterEnvironment) -> Fabric:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    strategy = DDPStrategy(cluster_environment=environment, timeout=LONGEST_WAIT)
    return Fabric(accelerator=accelerator, devices=config.devices, num_nodes=config.num_nodes, strategy=strategy)


def _started_by(fabric: Fabric) -> list[subprocess.Popen[Any]]:
    """Return the processes that this one has started."""
    processes: list[subprocess.Popen[Any]] = getattr(fabric.strategy.launcher, "procs", [])
    return processes


def _end(processes: list[subprocess.Popen[Any]]) -> None:
    for process in processes:
        process.kill()  # terminate would wait for their next step, for which they wait for this process
    for process in processes:
        process.wait()
    processes.clear()  # Lightning watches the list, and would kill this process after those


def _end_with_the_first() -> None:
    """End when the process that started this one has ended, even if it was killed and could do nothing about it."""
    first = os.getppid()

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with the first process").start()


def _status_of_a_failure(processes: list[subprocess.Popen[Any]]) -> int:
    """Return the exit status of a process that has failed; 0 if none has."""
    deadline = time.monotonic() + SECONDS_FOR_A_FAILURE_TO_SHOW
    while processes and time.monotonic() < deadline:
        for process in processes:
            if process.poll():
                return abs(int(process.returncode))
        time.sleep(0.1)
    return 0
