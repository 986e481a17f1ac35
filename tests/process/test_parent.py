"""A process ends with the process that has started it, or when that asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, os, sys, time

def work(connection):
    from cifar100.process.parent import when_the_parent_ends
    when_the_parent_ends(lambda: (open(sys.argv[1], "w").close(), os._exit(1)))
    connection.send("watching")
    time.sleep(60)

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=work, args=(theirs,)).start()
    ours.recv()
    os.kill(os.getpid(), 9) if os.name == "posix" else os._exit(9)
"""


def test_a_process_notices_that_its_parent_was_killed(tmp_path: Path) -> None:
    program, noticed = tmp_path / "program.py", tmp_path / "noticed"
    program.write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, str(program), str(noticed)], stdout=subprocess.PIPE)
    process.communicate(timeout=60)  # the pipe is open as long as the child lives
    assert process.returncode != 0
    assert noticed.exists()


ASKING = """
import multiprocessing, signal, sys, time
from cifar100.process.parent import StopRequest

def work(connection, request):
    request.heed()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    connection.send("ready")
    while True:
        time.sleep(0.05)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    request = StopRequest(context)
    if sys.argv[1] == "Windows":
        request._event = context.Event()
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, request), daemon=True)
    process.start()
    ours.recv()
    request.send(process)
    process.join(30)
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("system", ["this one", "Windows"])
def test_a_process_that_is_asked_to_end_handles_sigterm(system: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(ASKING)
    assert subprocess.run([sys.executable, str(program), system], timeout=60).returncode == 7
