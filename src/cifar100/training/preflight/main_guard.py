"""Find a script that would start itself again: it starts processes and has no `if __name__ == "__main__":`.

A process that is not forked begins by importing the script. Without the guard it trains again, and so on, until Python
ends each process with a traceback. Here the script is examined before any process starts.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType

from cifar100.terminal import warn

SENTENCE = (
    "this script starts processes, and each of them imports it again; put the code that trains below "
    'if __name__ == "__main__": (or use --training.devices 1 and --data.pipeline packed).'
)

NO_FILE = (
    "a script from standard input cannot start processes, which import it from its file; save it to a file (or use "
    "--training.devices 1 and --data.pipeline packed)."
)

EXIT_STATUS = 2


def require_main_guard() -> None:
    """End a script with one sentence if the processes that it is about to start would run it again.

    Raises:
        SystemExit: the caller is the top level of a script, where an exception would only be a traceback.
    """
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is not None and not Path(path).exists():
        warn(NO_FILE)
        raise SystemExit(EXIT_STATUS)
    if not _is_guarded(sys._getframe()):
        warn(SENTENCE)
        raise SystemExit(EXIT_STATUS)


def _is_guarded(frame: FrameType | None) -> bool:
    """Return whether importing the main module would not reach this call again."""
    main = sys.modules.get("__main__")
    path, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if main is None or path is None or (spec is not None and spec.name.rpartition(".")[2] == "__main__"):
        return True  # a notebook or `python -m PACKAGE`, which processes do not import
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
            return _has_guard(Path(path), frame.f_lineno)
        frame = frame.f_back
    return True


def _has_guard(script: Path, line: int) -> bool:
    """Return whether a line of a script lies in an `if` that looks at `__name__`."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):  # no Python source, such as a program in a zip file
        return True
    return any(
        isinstance(node, ast.If)
        and node.lineno <= line <= (node.end_lineno or line)
        and any(isinstance(name, ast.Name) and name.id == "__name__" for name in ast.walk(node.test))
        for node in ast.walk(tree)
    )
