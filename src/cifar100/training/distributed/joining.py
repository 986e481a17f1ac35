"""Connect the processes that torchrun, SLURM's srun or `launcher` has started, with Lightning's DDP.

Importing this module imports neither torch nor Lightning.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cifar100.config import TrainingConfig
from cifar100.errors import Diverged, UserError
from cifar100.process.heartbeat import heartbeat
from cifar100.process.launchers import launcher
from cifar100.training.distributed.processes import Processes, is_of_a_connection
from cifar100.training.reporting.silence import quiet

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

LONGEST_WAIT = timedelta(hours=2)
"""Timeout of a collective: rank 0 may download the data meanwhile. A dead process is noticed much earlier."""

SECONDS_FOR_RANK_ZERO = 1.0
"""How long another rank waits before it exits with an error. Launchers end all ranks with the first that fails, and
rank 0 may still be writing the run's status. Rank 0 waits as long after a broken connection: the launcher then first
notices the rank that broke it, and reports why."""


@contextmanager
def join_processes(config: TrainingConfig, *, accelerator: str) -> Iterator[Processes]:
    """Connect the processes of a run, which torchrun, srun or our launcher has started.

    Raises:
        UserError: the number of processes is not `training.devices` times `training.num_nodes`.
    """
    with quiet():
        environment = cluster_environment()
    _check_number(config, environment)
    if config.num_processes == 1:
        yield Processes()
        return
    from torch.distributed import destroy_process_group
    from torch.distributed.distributed_c10d import _get_default_store

    fabric = _build_fabric(config, accelerator, environment)
    with quiet():
        fabric.launch()
    processes = Processes(fabric, _get_default_store(), num_machines=config.num_nodes)
    was_stopped = False
    try:
        with _watching_the_machines(processes, fabric, config.num_nodes), processes.failing_together():
            yield processes
        processes.barrier()  # launchers end all ranks with the first that fails
    except BaseException as error:
        was_stopped = isinstance(error, KeyboardInterrupt)
        if processes.is_rank_zero and not is_of_a_connection(error):
            raise
        time.sleep(SECONDS_FOR_RANK_ZERO)
        if isinstance(error, (KeyboardInterrupt, Diverged)):  # all ranks raise it; rank 0 reports it
            raise SystemExit(getattr(error, "exit_status", 128 + signal.SIGINT)) from error
        if isinstance(error, UserError):
            error.only_here = True
        raise
    finally:
        with suppress(RuntimeError):  # a connection is broken
            destroy_process_group()  # its threads abort a process that ends without it
        if was_stopped and processes.is_rank_zero:
            time.sleep(SECONDS_FOR_RANK_ZERO)  # the others ask its store why their connections broke


@contextmanager
def _watching_the_machines(processes: Processes, fabric: Fabric, machines: int) -> Iterator[None]:
    """Exchange heartbeats between the machines of a run, in one process of each."""
    if machines == 1 or fabric.local_rank != 0:
        yield
        return
    from torch.distributed.distributed_c10d import _get_default_store

    default: Any = _get_default_store()
    store = default.clone()  # a connection of its own, which may hang
    with heartbeat(store, machine=fabric.node_rank, machines=machines, lost=processes.lose):
        yield


def cluster_environment() -> ClusterEnvironment:
    """Return Lightning's description of the launcher.

    Raises:
        UserError: SLURM started the processes in a way that Lightning does not support.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    class SingleProcess(LightningEnvironment):
        """Without a launcher: one process, whatever variables a shell has inherited."""

        creates_processes_externally = False  # a property of the base class

        def local_rank(self) -> int:
            return 0

        def node_rank(self) -> int:
            return 0

    started_by = launcher()
    if started_by == "torchrun":
        return TorchElasticEnvironment()
    if started_by == "srun":
        try:
            # `requeueing` requeues the job, after the run is saved.
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise UserError(f"SLURM: {error}") from error
    return SingleProcess()


def _check_number(config: TrainingConfig, environment: ClusterEnvironment) -> None:
    """Refuse processes that would each train alone or wait for others for ever."""
    started_by = launcher()
    if started_by is None:
        return
    if environment.world_size() != config.num_processes:
        raise UserError(
            f"{started_by} has started {environment.world_size()} processes, but --training.devices {config.devices} "
            f"times --training.num_nodes {config.num_nodes} is {config.num_processes}; make them equal."
        )
    if environment.local_rank() >= config.processes_here:
        raise UserError(
            f"{started_by} has started more than {config.devices} processes on this machine, but --training.devices "
            f"is {config.devices}; start {config.devices} on each of {config.num_nodes} machines."
        )


def _build_fabric(config: TrainingConfig, accelerator: str, environment: ClusterEnvironment) -> Fabric:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    strategy = DDPStrategy(cluster_environment=environment, timeout=LONGEST_WAIT)
    return Fabric(accelerator=accelerator, devices=config.processes_here, num_nodes=config.num_nodes, strategy=strategy)
