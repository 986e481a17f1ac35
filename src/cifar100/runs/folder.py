"""The folder of one experiment, `logs/<experiment>/`: the names of its files, and how to create and find it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path

from cifar100.errors import UserError
from cifar100.files.atomic import partial_path, remove_partial_files, sync_folder
from cifar100.files.schema import map_of, read_as, text
from cifar100.files.user_paths import as_argument, from_here, user_path
from cifar100.foreign_text import reason
from cifar100.terminal import warn

LOGS = Path("logs")
"""Folder of all experiments, below the working directory."""

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""Names of checkpoints. `last.ckpt` and `previous.ckpt`: the two newest saved states, each complete enough to resume
from. `best.ckpt`: the weights of the epoch with the highest validation accuracy."""

MAX_NAME_BYTES = 120
"""Maximum length of a name, in UTF-8. Names of files have 255 bytes at most, and a longer name breaks every table."""


class RunFolder:
    """The paths of one experiment's files. Reads and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.training_log = path / "training.log"
        self.metrics = path / "metrics.json"
        self.metrics_table = path / "metrics.csv"
        self.learning_curves = path / "learning_curves.png"
        self.train_batch = path / "train_batch.png"
        self.model_info = path / "model_info.txt"
        self.dataset_info = path / "dataset.json"
        self.split = path / "split.npz"
        self.teacher = path / "teacher.json"
        self.initial_weights = path / "initial_weights.json"
        self.custom_parts = path / "custom_parts.json"
        self.members = path / "members.json"
        self.trackers = path / "trackers.json"
        self.request = path / "slurm_request.json"
        self.lr_finder_plot = path / "lr_finder.png"
        self.lr_finder_points = path / "lr_finder.json"
        self.calibration = path / "calibration.json"
        self.profile = path / "profile"
        self.report = path / "report.html"
        self.checkpoints = path / "lightning_checkpoints"
        self.tensorboard = path / "lightning_logs"
        self.status = path / "status.json"
        self.lock = path / "run.lock"

    def __fspath__(self) -> str:
        """The folder itself, so that a run can be passed wherever a path can."""
        return str(self.path)

    def __repr__(self) -> str:
        """`RunFolder('logs/experiment1')`."""
        return f"RunFolder({self.path.as_posix()!r})"

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.path.name

    @property
    def argument(self) -> str:
        """What the user types for this run on a command line: its name, or its path if it is not in `logs/`."""
        path = from_here(self.path)
        return as_argument(Path(self.name) if path == LOGS / self.name else path)

    def evaluation(self, split: str) -> Path:
        """Return the path of the result of `cifar100 evaluate` on a split."""
        return self.path / f"evaluation_{split}.json"

    def logits(self, split: str) -> Path:
        """Return the path of the logits behind that result."""
        return self.path / f"logits_{split}.npz"


def create_run_folder(
    experiment: str | None, fill: Callable[[RunFolder, str], None], *, below: Path = LOGS
) -> RunFolder:
    """Create `logs/<experiment>/`, or the next free `logs/experiment<N>/`. Never changes an existing folder.

    The folder gets its name once it is filled, so that a killed process leaves no incomplete run.

    Args:
        experiment: the name; None for the next free one.
        fill: writes the first files of the run; called with its folder, which has another name meanwhile, and its name.
        below: folder that takes the place of `logs`.

    Raises:
        UserError: the name is taken or invalid, or the folder cannot be created.
    """
    check_name(experiment)
    try:
        below.mkdir(parents=True, exist_ok=True)
        remove_partial_files(below)
        for name in [experiment] if experiment is not None else (f"experiment{number}" for number in count(1)):
            if not os.path.lexists(below / name) and _create(below / name, fill):
                return RunFolder(below / name)
    except OSError as error:
        where = (below if experiment is None else below / experiment).absolute()
        fix = "change to a writable folder, or free some space there"
        raise UserError(f"{where} cannot be created ({error.strerror or error}); {fix}.") from error
    raise _taken(below / str(experiment))


def check_free(experiment: str | None) -> None:
    """Check that `create_run_folder` could take this name.

    Raises:
        UserError: the name is taken or invalid.
    """
    check_name(experiment)
    if experiment is not None and os.path.lexists(LOGS / experiment):
        raise _taken(LOGS / experiment)


def check_name(experiment: str | None, *, option: str = "--experiment") -> None:
    """Check the name of an experiment. option: the one that gives it.

    Raises:
        UserError: it is not a name for a folder.
    """
    if experiment is None:
        return
    if not isinstance(experiment, str) or not re.fullmatch(r"[\w][\w.+=-]*", experiment):
        raise UserError(
            f"{option} is {experiment!r:.80}, but a name must start with a letter or digit and contain only "
            "letters, digits and . _ - + ="
        )
    if len(experiment.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"{option} is {len(experiment.encode())} bytes long, but a name may have at most {MAX_NAME_BYTES}; "
            "choose a shorter one."
        )


def _taken(path: Path) -> UserError:
    taken = RunFolder(path)
    or_resume = f", or resume it: {how_to_resume(taken)}" if taken.config.is_file() else ""
    return UserError(f"{taken.path} already exists and is never overwritten; choose another --experiment{or_resume}")


def _create(path: Path, fill: Callable[[RunFolder, str], None]) -> bool:
    """Create and fill a run folder; return False if the name is taken meanwhile."""
    partial = partial_path(path)
    try:
        partial.mkdir()
        fill(RunFolder(partial), path.name)
        sync_folder(partial)
        partial.rename(path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        if isinstance(error, UserError) and isinstance(error.__cause__, OSError):
            raise error.__cause__ from None  # its message names the folder that is gone
        raise
    with contextlib.suppress(OSError):  # the folder is there; only a power failure could still remove it
        sync_folder(path.parent)
    return True


def find_run_folder(run: str | os.PathLike[str], *, may_be_ensemble: bool = False) -> RunFolder:
    """Return an experiment by its folder or by its name below `logs/`.

    Args:
        run: the folder or the name.
        may_be_ensemble: whether an ensemble will do, which has evaluations but neither settings nor weights.

    Raises:
        UserError: there is no such experiment; the message lists those that exist. Or it is an ensemble.
    """
    given = user_path(run)
    with contextlib.suppress(OSError):  # a name that is too long
        if given.is_file():
            raise UserError(
                f"{str(given)!r:.300} is a file, expected a run folder or an experiment below {LOGS.absolute()}; give "
                "the run of the file. predict, evaluate and export take a checkpoint as --checkpoint FILE."
            )
    for found in (RunFolder(given), RunFolder(LOGS / given)):
        with contextlib.suppress(OSError):
            if found.config.is_file():
                return found
            if found.members.is_file():
                if may_be_ensemble:
                    return found
                raise UserError(
                    f"{found.path} is an ensemble, which has no weights of its own; use one of its members, which "
                    f"{found.members} lists."
                )
    known = [known.name for known in run_folders() if known.config.is_file()]
    listed = f"choose from: {', '.join(known[:20])}" if known else "there are none yet; create one: cifar100 train"
    raise UserError(
        f"found no run {str(given)!r:.300} (neither a run folder nor an experiment below {LOGS.absolute()}); {listed}"
    )


def unique_runs(runs: Iterable[str | os.PathLike[str]]) -> list[RunFolder]:
    """Return several experiments or ensembles as `find_run_folder` does, each once; says which are given again.

    Raises:
        UserError: there are none, or one does not exist.
    """
    found: dict[Path, RunFolder] = {}
    for run in (find_run_folder(run, may_be_ensemble=True) for run in runs):
        if run.path.resolve() in found:
            warn(f"{run.path} is given more than once; it counts once.")
        found.setdefault(run.path.resolve(), run)
    if not found:
        raise UserError("runs is an empty list; pass at least one run.")
    return list(found.values())


def run_folders() -> list[RunFolder]:
    """Return the folders in `logs/`, sorted by name, without those that are still being created."""
    try:
        entries = sorted(LOGS.iterdir())
    except OSError:  # there are no runs, or `logs` is no folder
        return []
    return [RunFolder(path) for path in entries if path.is_dir() and not path.name.startswith(".")]


def read_parts(run: RunFolder) -> dict[str, str]:
    """Return the parts that a Python caller brought along, each with its name; empty for most runs."""
    try:
        parts: dict[str, str] = read_as(run.custom_parts, map_of(text), limit=10_000)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{run.custom_parts} cannot be read ({reason(error)}); restore it.") from error
    return parts


def how_to_resume(run: RunFolder, changes: Mapping[str, object] | None = None) -> str:
    """Return the command that resumes a run, or the call from Python for one with custom parts.

    changes: new values of settings by name.
    """
    parts = _known_parts(run)
    if not parts:
        options = "".join(f" --{name} {value}" for name, value in (changes or {}).items())
        return f"cifar100 train --resume {run.argument}{options}"
    given = [f"resume={run.path.as_posix()!r}", *(f"{part}=..." for part in parts)]
    if changes:
        given.append(f"changes={{{', '.join(f'{name!r}: {value}' for name, value in changes.items())}}}")
    return f"train({', '.join(given)}) in Python"


def _known_parts(run: RunFolder) -> dict[str, str]:
    """Return the custom parts for a message; none if their file is damaged, which is not what the message is about."""
    with contextlib.suppress(UserError):
        return read_parts(run)
    return {}
