"""The processes of a run: one for each device, on one machine or on several.

`joining` connects them. Importing this module imports neither torch nor Lightning.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from cifar100.errors import Stopped, UserError
from cifar100.terminal import warn

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch.distributed.distributed_c10d import Store

Result = TypeVar("Result")

_STOPPED = "cifar100/stopped"
"""Key of torch's store between the processes: the signal that has stopped one of them."""

_SIGNS_OF_A_CONNECTION = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""Parts of the messages of torch's errors when a connection between processes breaks."""

SECONDS_TO_END = 5.0
"""How long a process may take to end after another machine has gone, before it exits without cleaning up."""


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
        return bool(self._lost) or is_of_a_connection(error)

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


def is_of_a_connection(error: BaseException) -> bool:
    """Return whether an error is torch's for a broken connection between processes."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_A_CONNECTION)


def abort_collectives() -> None:
    """Let the collectives that wait for other processes fail."""
    from torch import device as torch_device
    from torch.distributed import group

    for device in ("cpu", "cuda"):
        with suppress(RuntimeError):  # the group has no such backend
            group.WORLD._get_backend(torch_device(device)).abort()  # type: ignore[union-attr]
