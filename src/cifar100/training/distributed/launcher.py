"""Start the processes of a run on this machine with torch's elastic launcher.

Importing this module imports neither torch nor Lightning.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial, wraps
from multiprocessing import active_children, get_context
from types import FrameType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from cifar100.config import Config, TrainingConfig
from cifar100.errors import Stopped, UserError
from cifar100.process.launchers import is_rank_zero, launcher
from cifar100.process.parent import StopRequest, when_the_parent_ends
from cifar100.process.stopping import stop_signals
from cifar100.terminal import has_temporary_line, take_over_temporary_line
from cifar100.training.preflight.main_guard import require_main_guard

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_every_process(
    function: Callable[Concatenate[Config, Parameters], Result],
) -> Callable[Concatenate[Config, Parameters], Result]:
    """Decorate a function of a `Config` so that it runs in every process of the run.

    If torchrun or srun has not started the processes, torch's elastic launcher does. The calling process waits. It
    returns the result of rank 0 or raises the exception of the first rank that failed. The function must be at the top
    level of a module, and its arguments must be picklable.
    """

    @wraps(function)
    def call(config: Config, /, *arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        if config.training.num_processes == 1 or launcher() is not None:
            return function(config, *arguments, **options)
        return _launch(partial(call, config, *arguments, **options), config.training)

    return call


def _launch(work: Callable[[], Result], config: TrainingConfig) -> Result:
    """Run `work` in `training.devices` new processes; return the result of rank 0."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from cifar100.training.preflight.resources import check_processes

    if config.num_nodes > 1:
        raise UserError(
            f"--training.num_nodes is {config.num_nodes}, but no launcher has started the processes; start the "
            "command with torchrun or srun on every machine."
        )
    check_processes(config.processes_here)
    require_main_guard()
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=config.processes_here,
        run_id="cifar100",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # any free port
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(os.devnull),
    )
    pickled = _pickled(work)
    context = get_context("spawn")
    errors: Any = context.SimpleQueue()
    request = StopRequest(context)
    # The launcher runs in a thread: the main thread handles the signals, and a blocked signal stays blocked in the new
    # processes until they can handle it.
    with (
        _elastic_silenced(),
        _signals_forwarded(request) as received,
        ThreadPoolExecutor(1, initializer=_block_signals) as pool,
    ):
        try:
            run = elastic_launch(settings, _work)
            results = pool.submit(run, pickled, errors, request, has_temporary_line()).result()
        except ChildFailedError as failed:
            error = _first_error(failed, errors, received)
        else:
            return results[0]  # type: ignore[no-any-return]
    raise error


def _pickled(work: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"an argument cannot be sent to the processes of the run ({error}); define its class or function at the "
            "top level of a module, or start the script with torchrun."
        ) from error


def _work(pickled: bytes, errors: Any, request: StopRequest, temporary_line: bool) -> Any:
    """Do the work in a new process; return its result in rank 0.

    If the launcher is killed, this process stops. On Linux torch arranges for SIGINT then, which the background jobs of
    a shell script ignore.

    temporary_line: whether the launcher shows one, which the first output of rank 0 replaces.
    """
    import torch

    if temporary_line and is_rank_zero():
        take_over_temporary_line()
    if not sys.platform.startswith("linux") or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        when_the_parent_ends(lambda: signal.raise_signal(signal.SIGTERM))
    request.heed()

    try:
        if os.name == "posix":
            os.setsid()  # Ctrl-C on the terminal reaches only the launcher, which forwards it
            signal.pthread_sigmask(signal.SIG_UNBLOCK, set(stop_signals()))
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ["LOCAL_WORLD_SIZE"])))
        result = pickle.loads(pickled)()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        cause = error.__cause__ if isinstance(error, SystemExit) else error
        if cause is not None:
            told = cause if isinstance(cause, (UserError, KeyboardInterrupt)) else traceback.format_exc().rstrip()
            errors.put((int(os.environ["RANK"]), told))
        sys.exit(1)
    return result if is_rank_zero() else None


def _first_error(failed: ChildFailedError, errors: Any, received: list[int]) -> BaseException:
    """Return what the first rank that failed has raised, or what ended it."""
    raised: list[tuple[int, Any]] = []
    while not errors.empty():
        raised.append(errors.get())
    rank, failure = failed.get_first_failure()
    was_killed = failure.exitcode < 0 and not received
    first = dict(raised).get(rank)
    has_failed = first is not None and not isinstance(first, KeyboardInterrupt) and not received
    if was_killed or has_failed:  # torch ends the other ranks by SIGTERM: that they were stopped is the consequence
        raised = [item for item in raised if not isinstance(item[1], KeyboardInterrupt)]
    raised.sort(key=lambda item: not isinstance(item[1], BaseException))  # a traceback may only be the consequence
    error = raised[0][1] if raised else None
    if isinstance(error, KeyboardInterrupt):  # only rank 0 says what was done about it, such as a requeued job
        stops = [(rank, other) for rank, other in raised if isinstance(other, KeyboardInterrupt)]
        return min(stops, key=lambda item: item[0])[1]
    if isinstance(error, BaseException):
        return error
    if received:
        return Stopped("", received[0])
    if was_killed:  # the text of another rank only says that its connection broke
        return UserError(
            f"the process of rank {rank} was killed ({signal.Signals(-failure.exitcode).name}), perhaps because memory "
            "ran out, and the other processes were stopped; resume the run: cifar100 train --resume RUN"
        )
    return failed if error is None else RuntimeError(f"a process of the run failed:\n{error}")


def _block_signals() -> None:
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(stop_signals()) - {signal.SIGTERM})  # torch ends processes by it


@contextmanager
def _signals_forwarded(request: StopRequest) -> Iterator[list[int]]:
    """Forward the signals that end a run to its processes, and kill them the third time. Yields those received.

    request: what ends the processes on Windows, where they do not get the signal itself.
    """
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in active_children():
            if len(received) >= 3:
                process.kill()
            elif os.name != "posix":  # os.kill would end the process at once
                request.send(process)
            elif process.pid is not None:
                os.kill(process.pid, number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    heeded = [number for number in stop_signals() if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heeded}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _elastic_silenced() -> Iterator[None]:
    """Silence torch's launcher, which logs every failure at length in loggers of its own levels."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
