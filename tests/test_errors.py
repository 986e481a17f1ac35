"""Exit statuses, and errors that travel between processes."""

from __future__ import annotations

import pickle
import signal

import pytest

from cifar100.errors import Diverged, Stopped, UserError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("a line"), 2),
        (Diverged("a line"), 3),
        (Stopped("a line", signal.SIGINT), 130),
        (Stopped("a line", signal.SIGTERM), 143),
    ],
)
def test_an_error_keeps_its_message_and_status_in_another_process(error: UserError | Stopped, status: int) -> None:
    received = pickle.loads(pickle.dumps(error))
    assert (type(received), str(received), received.exit_status) == (type(error), "a line", status)


def test_a_stopped_run_is_an_interruption_and_a_divergence_a_users_error() -> None:
    assert issubclass(Stopped, KeyboardInterrupt)
    assert issubclass(Diverged, UserError)
