"""How this program was started, by its own name or by `uv run`, and the commands in its messages accordingly."""

from __future__ import annotations

import os
import re

COMMANDS = (
    *("prepare", "audit", "train", "find-lr", "sweep", "trials", "average", "runs", "evaluate", "report", "compare"),
    *("predict", "export", "demo", "publish", "recipes", "models", "info", "completion"),
)
"""Names of the commands; a test compares them with those of the command line."""

_COMMAND = re.compile(
    r"(?<![\w./\\=-])(?<!usage: )(?<!uv run )"
    rf"(?=cifar100 (?:{'|'.join(map(re.escape, COMMANDS))}|COMMAND|--help)(?![\w-])"
    r"|tensorboard --logdir |wandb (?:login|sync) |hf (?:auth login|repos create|upload)\b)"
)
"""The place before a command of this program, or of one that is installed with it, in any text."""

_UV = "pip install uv && "
"""Before a command of uv, for those who may not have it."""

_INSTALLATION = re.compile(r'pip install (?:"cifar100\[([\w,]+)\]"|--upgrade torch torchvision\b)')
"""A command that installs extras, or the torchvision that fits torch. The environments of uv have no pip."""


def as_started(text: str) -> str:
    """Return a message with its commands as this program was started: `uv run cifar100 train` for `cifar100 train`.

    Messages are written with the plain name, and with pip. `say`, `say_next`, `warn`, `report` and the lines of a run
    pass through here. The help (`usage: cifar100 train ...`) and all files keep the plain name: a report, the demo
    page, a model card and `config.yaml` are read later and elsewhere, by people who start the program in another way.
    So does an error that Python prints with its traceback.
    """
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return text
    return _INSTALLATION.sub(_uv_sync, _COMMAND.sub("uv run ", text.replace(_UV, "")))


def how_to_install(extra: str) -> str:
    """Return the command that installs the packages of an extra; see `as_started`."""
    return f'pip install "cifar100[{extra}]"'


def _uv_sync(command: re.Match[str]) -> str:
    """Return what installs the same in a clone of the repository: `uv sync --extra export`.

    Without extras it restores the versions that belong together.
    """
    return "uv sync" + "".join(f" --extra {extra}" for extra in (command[1] or "").split(",") if extra)
