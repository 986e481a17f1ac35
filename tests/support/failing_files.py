"""Run short trainings in each of which one file operation fails: the n-th write, rename, fsync, mkdir or creation.

    LD_PRELOAD=failing_files.so python failing_files.py FOLDER ERRNO [OPTION...]

Forks one process for each operation, after torch and Lightning are loaded. Each trains in a folder of its own with the
given options, then resumes without failures. Prints one line of JSON for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_suffix(".c")


def compile_library(folder: Path) -> Path:
    """Compile the library that makes operations fail.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    library = folder / "failing_files.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def command(arguments: list[str]) -> tuple[int, str]:
    """Run the command line in this process; return its exit status and what it says on standard error."""
    from cifar100.cli.main import main

    sys.argv = ["cifar100", *arguments]
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), errors.getvalue()
        except BaseException:
            import traceback

            return 1, errors.getvalue() + traceback.format_exc()
    return 0, errors.getvalue()


def one_training(folder: Path, number: int, error: int, options: list[str]) -> dict[str, Any]:
    """Train in `folder` with a failure, then once more without; return what happened."""
    library = ctypes.CDLL(None)
    folder.mkdir()
    os.chdir(folder)
    library.arm(str(folder / "logs").encode(), ctypes.c_long(number), error)
    status, said = command(["train", "--recipe", "quickstart", "--experiment", "run", *options])
    operations = library.operations()
    library.arm(b"", ctypes.c_long(0), 0)
    exists = Path("logs/run").exists()
    again = ["--resume", "run"] if exists else ["--recipe", "quickstart", "--experiment", "run", *options]
    second = (0, "") if status == 0 else command(["train", *again])
    return {
        "number": number,
        "operations": operations,
        "status": status,
        "said": said,
        "run": exists,
        "second_status": second[0],
        "second_said": second[1],
        "left": [str(path) for path in Path("logs").rglob("*.partial")],
        "weights": digest(Path("logs/run/lightning_checkpoints")),
    }


def digest(checkpoints: Path) -> str:
    """Return the sha256 of all weights and of the state of the optimizer in the last and the best checkpoint."""
    from cifar100.runs.checkpoints import read_checkpoint

    total = hashlib.sha256()
    for name in ("last.ckpt", "best.ckpt"):
        content = read_checkpoint(checkpoints / name)
        momenta = content["optimizer_states"][0]["state"] if name == "last.ckpt" else {}
        tensors = [*content["state_dict"].values(), *(value for state in momenta.values() for value in state.values())]
        for tensor in tensors:
            total.update(repr(tensor.tolist() if hasattr(tensor, "tolist") else tensor).encode())
    return total.hexdigest()


def main() -> None:
    """Train again and again until no operation is left to fail."""
    folder, error, options = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    import torch

    import cifar100.results.evaluate
    import cifar100.training.train  # noqa: F401  # loaded once, before the forks

    torch.set_num_threads(1)
    number = int(os.environ.get("FIRST_OPERATION", "0"))
    while True:
        reading, writing = os.pipe()
        if os.fork() == 0:
            result = one_training(folder / str(number), number, error, options)
            os.write(writing, json.dumps(result).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            content = pipe.read()
        os.wait()
        result = json.loads(content or b'{"number": %d, "status": -1, "operations": 0}' % number)
        print(json.dumps(result), flush=True)
        if number and result["operations"] < number:
            return  # the run has fewer operations, so none failed
        number += 1


if __name__ == "__main__":
    main()
