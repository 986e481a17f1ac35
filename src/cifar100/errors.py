"""The exceptions that are meant for the user."""

import signal
from typing import ClassVar


class UserError(Exception):
    """A mistake or a circumstance outside the program that the user can fix.

    The message is one line that says what was found, what was expected and what to do next. The command line prints it
    without a traceback and exits with `exit_status`. Anything else that is raised is a bug and keeps its traceback.
    """

    exit_status: ClassVar[int] = 2

    only_here: bool = False
    """Whether one process of several has found the mistake, not all of them alike. Rank 0 reports those of all."""


class Diverged(UserError):  # noqa: N818  # the status of the run is "diverged"
    """The loss or the weights are no longer finite."""

    exit_status: ClassVar[int] = 3


class Incomplete(UserError):  # noqa: N818  # what it says of the result
    """A part of many was left out, such as an image that cannot be read; the result has all others and says so."""

    exit_status: ClassVar[int] = 4


class Stopped(KeyboardInterrupt):
    """A signal ended the run. The command line exits with 128 and the signal's number, as shells do.

    Args:
        message: what was saved, and how to resume.
        signum: the signal; None: SIGINT.
    """

    def __init__(self, message: str, signum: int | None = None) -> None:
        super().__init__(message)
        self.signum = signal.SIGINT if signum is None else signum
        self.exit_status = 128 + self.signum
