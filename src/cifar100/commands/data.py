"""The commands about data: `prepare`, `audit`."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

from cifar100.commands.loading import loading
from cifar100.config import Config, settings
from cifar100.config.arguments import check_config
from cifar100.config.checks import check_range
from cifar100.config.conversion import convert
from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.runs.folder import find_run_folder
from cifar100.settings import load_complete_config, load_config

if TYPE_CHECKING:
    from cifar100.data.dataset_info import DatasetInfo
    from cifar100.models import NetworkSource
    from cifar100.results.audit import AuditReport
    from cifar100.results.exclusion import Exclusion


def prepare(
    source: str | PathLike[str] = "download",
    root: str | PathLike[str] = "dataset",
    *,
    image_size: int = 32,
    skip_damaged: bool = False,
) -> DatasetInfo:
    """Fetch and verify the data, write images, labels and packed arrays.

    Args:
        source: `download`, `generated` (Shapes-100), or the path of labelled images: class folders, a folder with a
            `train.csv`, parquet, .npz, or an official folder or archive.
        root: folder to write to; or a folder of custom images, which is prepared in place.
        image_size: side in pixels to which custom images are scaled, as in `data.image_size`.
        skip_damaged: leave out custom images that cannot be read; `skipped_images.csv` lists them.

    Returns:
        The description of the data: classes, numbers of images, identity.

    Raises:
        UserError: the source cannot be reached or read, or holds no labelled images; or the folder holds other things.
    """
    from cifar100.data.prepare import prepare

    allowed = settings()["data.image_size"].annotation
    check_range("image-size", convert("image-size", image_size, allowed), allowed)
    return prepare(
        source=str(user_path(source)), root=user_path(root), image_size=image_size, skip_damaged=skip_damaged
    )


def audit(
    root: str | PathLike[str] | None = None,
    *,
    run: str | PathLike[str] | None = None,
    folds: int | None = None,
    probabilities: str | PathLike[str] | None = None,
    config: Config | None = None,
    out: str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> AuditReport:
    """Find duplicates, label errors and odd images in the data.

    Writes `audit.html`, and `audit.csv`, whose column `verdict` a person edits; see `apply_audit`. The data are never
    changed.

    Args:
        root: data folder; the default is that of `run` or of `config`, else `dataset`.
        run: a run on these data. Its network finds more duplicates, odd images, and the label errors of the images
            that it has not seen.
        folds: train this many networks, each without one fold, to find the label errors of all images.
        probabilities: the file of `trials --folds`, to find the label errors of all training images without training.
        config: with `folds`, the settings of these runs; the default is the recipe `laptop`.
        out: folder to write to; the default is `audit-NAME`, with the name of the data folder.
        checkpoint: with `run`: `best`, `last` or a path.
        network: with `run`, see `evaluate`.

    Returns:
        The number of findings of each kind, and the paths of both files.

    Raises:
        UserError: the data or the run cannot be used; or `out` holds an edited table.
    """
    check_config(config)
    given = {"--run": run, "--folds": folds, "--probabilities": probabilities}
    if len(both := [option for option, value in given.items() if value is not None]) > 1:
        raise UserError(f"{both[0]} and {both[1]} cannot be used together; use only one.")
    if folds is None and config is not None:
        raise UserError("config has no effect without folds: it holds the settings of the runs of --folds K.")
    if folds is not None and (not isinstance(folds, int) or isinstance(folds, bool) or not 2 <= folds <= 100):
        raise UserError(f"--folds is {shown(folds)}, but it must be a whole number from 2 to 100.")
    if folds is not None:
        config = config or load_config("laptop")
        if root is not None:
            config = replace(config, data=replace(config.data, root=user_path(root)))
        with loading():
            from cifar100.results.audit import audit_name
            from cifar100.search.folds import audit_with_folds
        return audit_with_folds(config, num_folds=folds, out=user_path(out or audit_name(config.data.root)))
    if probabilities is not None:
        with loading():
            from cifar100.results.audit import audit_name
            from cifar100.results.saved_probabilities import audit_with_probabilities
        place = user_path(root or "dataset")
        return audit_with_probabilities(place, user_path(probabilities), out=user_path(out or audit_name(place)))
    run_folder = None if run is None else find_run_folder(run)
    if root is None:
        root = "dataset" if run_folder is None else load_complete_config(run_folder.config).data.root
    with loading():
        from cifar100.results.audit import audit_folder, audit_name
    root = user_path(root)
    return audit_folder(
        root, user_path(out or audit_name(root)), run=run_folder, checkpoint=checkpoint, network=network
    )


def apply_audit(table: str | PathLike[str], root: str | PathLike[str] = "dataset") -> Exclusion:
    """Check an edited `audit.csv` against the data, and return what it rejects.

    Train without the rejected images: `train(load_config(overrides={"data.exclude": table}))`.

    Args:
        table: the edited file.
        root: the data folder that was audited.

    Returns:
        The indices of the rejected training images and test images, int64, as in the packed arrays.

    Raises:
        UserError: the table cannot be read, or does not fit the data.
    """
    from cifar100.results.exclusion import read_exclusion

    return read_exclusion(user_path(table), user_path(root))
