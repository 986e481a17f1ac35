"""The folder of one experiment, `logs/<experiment>/`: the names of its files, and how to create and find it."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path

from cifar100.errors import UserError

LOGS = Path("logs")
"""Folder of all experiments, below the working directory."""


class RunFolder:
    """The paths of one experiment's files. Reads and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.training_log = path / "training.log"
        self.metrics = path / "metrics.json"
        self.model_info = path / "model_info.txt"
        self.dataset_info = path / "dataset.json"
        self.split = path / "split.npz"
        self.teacher = path / "teacher.json"
        self.custom_parts = path / "custom_parts.json"
        self.lr_finder_plot = path / "lr_finder.png"
        self.lr_finder_points = path / "lr_finder.json"
        self.checkpoints = path / "lightning_checkpoints"
        self.tensorboard = path / "lightning_logs"
        self.status = path / "status.json"
        self.lock = path / "run.lock"

    def __fspath__(self) -> str:
        """The folder itself, so that a run can be passed wherever a path can."""
        return str(self.path)

    def __repr__(self) -> str:
        """`RunFolder('logs/experiment1')`."""
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.path.name

    def evaluation(self, split: str) -> Path:
        """Return the path of the result of `cifar100 evaluate` on a split."""
        return self.path / f"evaluation_{split}.json"


def create_run_folder(experiment: str | None = None) -> RunFolder:
    """Create `logs/<experiment>/`, or the next free `logs/experiment<N>/`. Never changes an existing folder.

    Raises:
        UserError: the name is taken or invalid, or the folder cannot be created.
    """
    if experiment is not None and not re.fullmatch(r"[\w][\w.+=-]*", experiment):
        raise UserError(
            f"--experiment is {experiment!r}, but a name must start with a letter or digit and contain only "
            "letters, digits and . _ - + ="
        )
    names = [experiment] if experiment is not None else (f"experiment{number}" for number in count(1))
    for name in names:
        try:
            (LOGS / name).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"{(LOGS / name).absolute()} cannot be created ({error.strerror}); change to a writable folder."
            ) from error
        return RunFolder(LOGS / name)
    raise UserError(
        f"{LOGS / str(experiment)} exists already and is never overwritten; choose another --experiment, "
        f"or resume it: cifar100 train --resume {experiment}"
    )


def find_run_folder(run: str | Path) -> RunFolder:
    """Return an experiment by its folder or by its name below `logs/`.

    Raises:
        UserError: there is no such experiment; the message lists those that exist.
    """
    for path in (Path(run), LOGS / run):
        if (path / "config.yaml").is_file():
            return RunFolder(path)
    known = sorted(path.parent.name for path in LOGS.glob("*/config.yaml"))
    listed = f"there are: {', '.join(known[:20])}" if known else "there are none yet; create one: cifar100 train"
    raise UserError(
        f"found no run {str(run)!r} (neither a run folder nor an experiment below {LOGS.absolute()}); {listed}"
    )


def read_parts(run: RunFolder) -> dict[str, str]:
    """Return the parts that a Python caller brought along, each with its name; empty for most runs."""
    try:
        content = json.loads(run.custom_parts.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{run.custom_parts} cannot be read ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{run.custom_parts} is damaged: it holds no names of parts.")
    return {str(part): str(name) for part, name in content.items()}
