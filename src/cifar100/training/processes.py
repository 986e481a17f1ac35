"""The processes of a run: one for each device, on one machine or on several.

torchrun, SLURM's srun or `cifar100.training.launcher` starts them. Lightning's DDP connects them. Importing this module
imports neither torch nor Lightning.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from cifar100.config import TrainingConfig
from cifar100.errors import Diverged, Stopped, UserError
from cifar100.process.heartbeat import heartbeat
from cifar100.process.launchers import launcher
from cifar100.terminal import warn
from cifar100.training.reporting.silence import quiet

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from torch.distributed.distributed_c10d import Store

Result = TypeVar("Result")

LONGEST_WAIT = timedelta(hours=2)
"""Timeout of a collective: rank 0 may download the data meanwhile. A dead process is noticed much earlier."""

_STOPPED = "cifar100/stopped"
"""Key of torch's store between the processes: the signal that has stopped one of them."""

_SIGNS_OF_A_CONNECTION = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""Parts of the messages of torch's errors when a connection between processes breaks."""

SECONDS_TO_END = 5.0
"""How long a process may take to end after another machine has gone, before it exits without cleaning up."""

SECONDS_FOR_RANK_ZERO = 1.0
"""How long another rank waits before it exits with an error. Launchers end all ranks with the first that fails, and
rank 0 may still be writing the run's status. Rank 0 waits as long after a broken connection: the launcher then first
notices the rank that broke it, and reports why."""


class Processes:
    """This process among those of a run.

    Args:
        fabric: Lightning's connection between them, launched; None for a run of one process.
        store: torch's store between them.
        num_machines: on which they run.
    """

    def __init__(self, fabric: Fabric | None = None, store: Store | None = None, *, num_machines: int = 1) -> None:
        self._fabric = fabric
        self._num_machines = num_machines
        self._store = store
        self.rank = fabric.global_rank if fabric else 0
        self.is_rank_zero = self.rank == 0
        self._lost = ""
        """Why another machine counts as gone; empty as long as none does."""
        self._resume = "cifar100 train --resume RUN"
        self._record: Callable[[str], None] = lambda reason: None

    def do_once(self, action: Callable[[], Result]) -> Result:
        """Call `action` in rank 0 while the others wait. All return its result or end with its `UserError`."""
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
                sys.exit(outcome.exit_status)  # rank 0 reports it
            raise outcome
        return outcome  # type: ignore[return-value]  # rank 0's, no longer None

    def do_once_on_each_machine(self, action: Callable[[], Result]) -> Result:
        """Call `action` in one process of each machine, rank 0 first: the machines may share a disk.

        The others wait. All return rank 0's result.

        Raises:
            UserError: as `action`.
        """
        result = self.do_once(action)
        if self._fabric:
            if self._fabric.local_rank == 0 and not self.is_rank_zero:
                action()
            self._fabric.barrier()
        return result

    @contextmanager
    def failing_together(
        self, *, resume: str = "", record: Callable[[str], None] = lambda reason: None
    ) -> Iterator[None]:
        """Tell the other processes if a signal ends the block, and raise `Stopped` if it fails because theirs was.

        Args:
            resume: the command that resumes the run.
            record: records in rank 0 why the run has failed, if this process cannot leave the block: see `lose`.

        Raises:
            UserError: another machine has gone.
        """
        self._resume, self._record = resume or self._resume, record
        try:
            yield
        except KeyboardInterrupt as stopped:
            if self._store is not None:
                try:
                    self._store.set(_STOPPED, str(int(getattr(stopped, "signum", signal.SIGINT))))
                    self._store.check([_STOPPED])  # waits for an answer
                except RuntimeError:  # the process that holds the store has ended
                    if self._num_machines > 1:  # and torchrun here has noticed it first
                        raise self._gone() from stopped
            raise
        except RuntimeError as error:  # torch's, if a connection broke
            signum = self._signal_of_another()
            if signum is not None:
                raise Stopped("", signum) from error
            if not self._is_of_another_machine(error):
                raise
            raise self._gone() from error

    def lose(self, reason: str) -> None:
        """End this process because another machine has gone: what waits for it fails, or the process exits."""
        self._lost = reason
        last_resort = threading.Timer(SECONDS_TO_END, self._exit)
        last_resort.daemon = True
        last_resort.start()
        abort_collectives()

    def _exit(self) -> None:
        """Exit although the main thread still waits for the other machine."""
        error = self._gone()
        if self.is_rank_zero:
            self._record(str(error))
        warn(str(error))
        os._exit(UserError.exit_status)

    def _is_of_another_machine(self, error: RuntimeError) -> bool:
        """Return whether an error is that of a connection between machines. On one, the launcher says what happened."""
        if self._num_machines == 1:
            return False
        return bool(self._lost) or _is_of_a_connection(error)

    def _gone(self) -> UserError:
        reason = self._lost or "the connection to another machine broke; its own output may say why"
        error = UserError(f"{reason}; resume the run: {self._resume}")
        error.only_here = True
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process ends, and torchrun's signal would hide why
        return error

    def _signal_of_another(self) -> int | None:
        try:
            if self._store is not None and self._store.check([_STOPPED]):
                return int(self._store.get(_STOPPED))
        except RuntimeError:  # the process that holds the store has ended
            pass
        return None

    def barrier(self) -> None:
        """Return when all processes have called it."""
        if self._fabric:
            self._fabric.barrier()


def _is_of_a_connection(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_A_CONNECTION)


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
        if processes.is_rank_zero and not _is_of_a_connection(error):
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
    """Exchange signs of life between the machines of a run, in one process of each."""
    if machines == 1 or fabric.local_rank != 0:
        yield
        return
    from torch.distributed.distributed_c10d import _get_default_store

    default: Any = _get_default_store()
    store = default.clone()  # a connection of its own, which may hang
    with heartbeat(store, machine=fabric.node_rank, machines=machines, lost=processes.lose):
        yield


def abort_collectives() -> None:
    """Let the collectives that wait for other processes fail."""
    from torch import device as torch_device
    from torch.distributed import group

    for device in ("cpu", "cuda"):
        with suppress(RuntimeError):  # the group has no such backend
            group.WORLD._get_backend(torch_device(device)).abort()  # type: ignore[union-attr]


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
