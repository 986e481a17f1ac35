"""A process ends with the process that has started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
