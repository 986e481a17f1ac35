"""Run the command line and send it a signal at a chosen moment: when a function of a file is called.

    python send_at.py SIGNAL FILE FUNCTION CALL ARGUMENT...

FILE is the end of a path, FUNCTION a qualified name (`<module>` while the file is imported), CALL counts from 1.
"""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import Any


def send_at(signum: int, file: str, function: str, call: int) -> None:
    """Send this process a signal when a function is called for the `call`-th time."""
    calls = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_qualname == function and frame.f_code.co_filename.endswith(file):
            calls += 1
            if calls == call:
                sys.setprofile(None)
                os.kill(os.getpid(), signum)

    threading.setprofile(watch)
    sys.setprofile(watch)


if __name__ == "__main__":
    from cifar100.__main__ import main

    signum, file, function, call, *arguments = sys.argv[1:]
    send_at(int(signum), file, function, int(call))
    sys.argv = ["cifar100", *arguments]
    main()
