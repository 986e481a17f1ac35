"""`python -m cifar100` and the script `cifar100`."""

import atexit
import os
import signal
import sys

from cifar100.process.stopping import StopSignal, stop_signals


def main() -> None:
    """Run the command line of this process."""
    _end_at_once_at_a_signal()  # before and after `run_until_stopped`
    run_until_stopped()


def run_until_stopped() -> None:
    """Run the command line. A signal ends it with one line from here on, before anything slow is imported."""
    with StopSignal():
        try:
            from cifar100.cli.main import main as run

            run()
        except KeyboardInterrupt as error:
            sys.exit(_interrupted(error))
        finally:
            atexit.register(_end_at_once_at_a_signal)


def _interrupted(error: KeyboardInterrupt) -> int:
    """Say how the program was interrupted; return its exit status."""
    from cifar100.process.launchers import is_rank_zero
    from cifar100.terminal import is_terminal, report, warn

    if is_rank_zero():
        if is_terminal(sys.stderr):
            report("")  # past the ^C
        warn(f"interrupted. {error}".rstrip())
    return int(getattr(error, "exit_status", 128 + signal.SIGINT))


def _end_at_once_at_a_signal() -> None:
    """Handle the signals of the first and last moments, in which an exception would be printed as a traceback."""
    for number in stop_signals():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))


if __name__ == "__main__":
    main()
