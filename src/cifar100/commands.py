"""The commands as plain Python functions, for the command line, notebooks and scripts.

Each function imports what it needs when it is called, which keeps importing this module and `--help` fast.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cifar100.config import Config
from cifar100.config.arguments import check_config, check_flag, check_mapping, image_paths, run_arguments
from cifar100.config.shown_values import shown
from cifar100.errors import UserError
from cifar100.files.user_paths import user_path
from cifar100.process.launchers import check_launcher
from cifar100.runs.folder import RunFolder, check_name, find_run_folder, unique_runs
from cifar100.settings import load_complete_config, load_config
from cifar100.terminal import temporary_line

if TYPE_CHECKING:
    from lightning import LightningDataModule
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from cifar100.data.folder.layout import DatasetInfo
    from cifar100.models import NetworkSource
    from cifar100.models.facts import ModelFacts
    from cifar100.results.audit import AuditReport, Exclusion
    from cifar100.results.comparison.result import Comparison
    from cifar100.results.evaluate import Evaluation
    from cifar100.results.export.formats import Format
    from cifar100.results.export.result import Export
    from cifar100.results.exported.onnx_network import ExportedNetwork
    from cifar100.results.predict import Prediction
    from cifar100.runs.listing import RunSummary
    from cifar100.runs.trained_network import TrainedNetwork
    from cifar100.training.loss import Loss
    from cifar100.training.lr_finder.suggestions import RangeTestResult


def prepare(source: str | PathLike[str] = "download", root: str | PathLike[str] = "dataset") -> DatasetInfo:
    """Fetch and verify the data, write images, labels and packed arrays.

    Args:
        source: `download`, `generated` (Shapes-100) or the path of an official folder or archive.
        root: folder to write to.
    """
    from cifar100.data.prepare import prepare

    return prepare(source=str(user_path(source)), root=user_path(root))


def find_lr(
    config: Config | None = None,
    *,
    network: NetworkSource | None = None,
    loss: Loss | None = None,
    datamodule: LightningDataModule | None = None,
    experiment: str | None = None,
) -> RangeTestResult:
    """Find a learning rate by a range test.

    Args:
        config: all settings; the default is the recipe `original`.
        network: see `train`, as for `loss` and `datamodule`.
        loss: replaces the one that `config.optimization.loss` names.
        datamodule: replaces the data folder.
        experiment: name of the folder below `logs/`; the default is the next free `experiment<N>`.
    """
    check_config(config)
    check_name(experiment)
    check_launcher()
    with _loading():
        from cifar100.devices import resolve
        from cifar100.training.preflight.custom_parts import CustomParts
        from cifar100.training.train import find_learning_rate

    parts = CustomParts(network=network, loss=loss, datamodule=datamodule)
    config = resolve(config or load_config(), may_start_processes=not parts.are_given())
    return find_learning_rate(config, experiment=experiment, parts=parts)


def train(
    config: Config | None = None,
    *,
    network: NetworkSource | None = None,
    loss: Loss | None = None,
    datamodule: LightningDataModule | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] | None = None,
    experiment: str | None = None,
    resume: str | PathLike[str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Train a network and keep the best weights.

    Args:
        config: all settings; the default is the recipe `original`.
        network: replaces the one that `config.model` names: maps images (N, 3, H, W) to logits (N, num_classes). Or a
            function from the number of classes to such a network.
        loss: replaces the one that `config.optimization.loss` names: maps logits (N, num_classes) and labels, int64
            (N,) or float (N, num_classes), to a scalar.
        datamodule: replaces the data folder. Its batches are images, float (N, 3, H, W), and labels, int64 (N,). It has
            an attribute `num_classes`, and may have `class_names`. A run that stops mid-epoch resumes exactly only if
            the training loader has `state_dict` and `load_state_dict`, as torchdata's `StatefulDataLoader` has.
        callbacks: added to the built-in ones.
        loggers: replace those that `config.training.loggers` names.
        experiment: name of the folder below `logs/`; the default is the next free `experiment<N>`.
        resume: an interrupted run, to be resumed with its own settings. Give the same network, loss and datamodule as
            at its start.
        changes: with `resume`, new values of settings by name, such as a larger `training.max_epochs`.

    Raises:
        UserError: a setting, the data or the run cannot be used; the message says what to do.
    """
    started = time.monotonic()  # before torch is loaded, which counts
    check_config(config)
    check_mapping("changes", changes)
    if resume is None and changes:
        raise UserError("train(changes=...) needs resume; for a new run, give the settings in config.")
    if resume is not None and (config is not None or experiment is not None):
        raise UserError("--resume continues in the run's own folder; leave out --recipe, --config and --experiment.")
    check_name(experiment)
    check_launcher()
    with _loading():
        from cifar100.devices import resolve
        from cifar100.training.preflight.custom_parts import CustomParts
        from cifar100.training.train import resume_run, start_run

    parts = CustomParts(network=network, loss=loss, datamodule=datamodule, callbacks=callbacks, loggers=loggers)
    if resume is None:
        config = resolve(config or load_config(), may_start_processes=not parts.are_given())
        return start_run(config, experiment=experiment, started=started, parts=parts)
    return resume_run(find_run_folder(resume), changes=changes, parts=parts)


def evaluate(
    run: str | PathLike[str],
    *,
    split: Literal["test", "validation"] = "test",
    checkpoint: str | PathLike[str] = "best",
    flip_tta: bool = False,
    calibrate: bool = False,
    fair: bool = False,
    duplicates: str | PathLike[str] | None = None,
    corrected: bool = False,
    label_errors: str | PathLike[str] | None = None,
    corruptions: str | PathLike[str] | None = None,
    network: NetworkSource | None = None,
    data_root: str | PathLike[str] | None = None,
) -> Evaluation:
    """Measure a trained network on the test or validation images.

    Args:
        run: a run folder or an experiment's name. Or an exported .onnx file, which is measured on the test images of
            `data_root` (default: `dataset`) without further options; nothing is saved.
        split: `test` opens the test images; choose settings on `validation`.
        checkpoint: `best`, `last` or a path.
        flip_tta: also measure with flip test-time augmentation; its metrics are reported separately.
        calibrate: fit a temperature on the validation images and save it in the run, for calibrated probabilities.
        fair: also measure without the test images that have a near-duplicate among the training images.
        duplicates: a list in the form of ciFAIR's, which is downloaded otherwise; implies `fair`.
        corrected: also measure without the test images whose label is wrong, and with corrected labels.
        label_errors: a list in the form of cleanlab's, which is downloaded otherwise; implies `corrected`.
        corruptions: also measure on corrupted images: the folder of CIFAR-100-C, or `generated`.
        network: replaces the network that config.yaml names, for a run that was trained with a custom one: a module, or
            a function of the number of classes that returns one.
        data_root: another data folder with the same classes; the default is the run's own, with the same images.
    """
    check_flag("fair", fair)
    check_flag("corrected", corrected)
    given = {
        **{"split": split != "test", "checkpoint": checkpoint != "best", "flip_tta": flip_tta, "calibrate": calibrate},
        **{"fair": fair, "duplicates": duplicates, "corrected": corrected, "label_errors": label_errors},
        **{"corruptions": corruptions, "network": network},
    }
    if (exported := _exported(run, given)) is not None:
        with _loading():
            from cifar100.results.exported.evaluate import evaluate_exported
        return evaluate_exported(exported, data_root=user_path(data_root or load_config().data.root))
    with _loading():
        from cifar100.results.evaluate import evaluate
        from cifar100.results.robustness.parts import Parts

    parts = Parts(
        fair=fair,
        duplicates=None if duplicates is None else user_path(duplicates),
        corrected=corrected,
        label_errors=None if label_errors is None else user_path(label_errors),
        corruptions=None if corruptions is None else user_path(corruptions),
    )
    return evaluate(
        find_run_folder(run),
        split=split,
        checkpoint=checkpoint,
        flip_tta=flip_tta,
        calibrate=calibrate,
        parts=parts,
        network=network,
        data_root=None if data_root is None else user_path(data_root),
    )


def compare(runs: Iterable[str | PathLike[str]], *, split: Literal["test", "validation"] = "test") -> Comparison:
    """Compare evaluated runs: which is better, and is it more than chance?

    Reads what `evaluate` has saved, and measures nothing anew.

    Args:
        runs: at least two run folders or experiments' names; the first is the reference of the others. Runs that differ
            only in the seed are also compared as groups.
        split: `test` or `validation`; choose between runs on `validation`.
    """
    folders = [find_run_folder(run) for run in run_arguments(runs)]
    from cifar100.results.comparison.compare import compare

    return compare(folders, split=split)


def audit(
    root: str | PathLike[str] | None = None,
    *,
    run: str | PathLike[str] | None = None,
    folds: int | None = None,
    config: Config | None = None,
    out: str | PathLike[str] = "audit",
    checkpoint: str | PathLike[str] = "best",
    network: NetworkSource | None = None,
) -> AuditReport:
    """Look for duplicates, label errors and odd images in the data.

    Writes `audit.html`, and `audit.csv`, whose column `verdict` a person edits; see `apply_audit`. The data are never
    changed.

    Args:
        root: data folder; the default is that of `run` or of `config`, else `dataset`.
        run: a run on these data. Its network finds more duplicates, odd images, and the label errors of the images
            that it has not seen.
        folds: train this many networks, each without one fold, to find the label errors of all images.
        config: with `folds`, the settings of these runs; the default is the recipe `laptop`.
        out: folder to write to.
        checkpoint: with `run`: `best`, `last` or a path.
        network: with `run`, see `evaluate`.

    Raises:
        UserError: the data or the run cannot be used; or `out` holds an edited table.
    """
    check_config(config)
    if run is not None and folds is not None:
        raise UserError("--run and --folds exclude each other; give one.")
    if folds is None and config is not None:
        raise UserError("config has no effect without folds: it holds the settings of the runs of --folds K.")
    if folds is not None and (not isinstance(folds, int) or isinstance(folds, bool) or not 2 <= folds <= 100):
        raise UserError(f"--folds is {shown(folds)}, but it must be a whole number from 2 to 100.")
    if folds is not None:
        config = config or load_config("laptop")
        if root is not None:
            config = replace(config, data=replace(config.data, root=user_path(root)))
        with _loading():
            from cifar100.search.folds import audit_with_folds
        return audit_with_folds(config, num_folds=folds, out=user_path(out))
    run_folder = None if run is None else find_run_folder(run)
    if root is None:
        root = "dataset" if run_folder is None else load_complete_config(run_folder.config).data.root
    with _loading():
        from cifar100.results.audit import audit_folder
    return audit_folder(user_path(root), user_path(out), run=run_folder, checkpoint=checkpoint, network=network)


def apply_audit(table: str | PathLike[str], root: str | PathLike[str] = "dataset") -> Exclusion:
    """Check an edited `audit.csv` against the data, and return what it rejects.

    Train without the rejected images: `train(load_config(overrides={"data.exclude": table}))`.

    Args:
        table: the edited file.
        root: the data folder that was audited.
    """
    from cifar100.results.audit import read_exclusion

    return read_exclusion(user_path(table), user_path(root))


def predict(
    run: str | PathLike[str],
    images: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    top: int = 5,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    network: NetworkSource | None = None,
) -> list[Prediction]:
    """Classify image files.

    Args:
        run: a run folder or an experiment's name, or an exported .onnx file, which needs no torch.
        images: files of any size and format.
        top: number of classes to return for each image, the most probable first.
        checkpoint: `best`, `last` or a path.
        calibrated: see `load_model`.
        network: see `evaluate`.
    """
    files = image_paths(images)
    from cifar100.results.predict import classify

    given = {"checkpoint": checkpoint != "best", "calibrated": calibrated, "network": network}
    if (exported := _exported(run, given)) is not None:
        return list(classify(exported, files, top=top))
    trained = load_model(run, checkpoint=checkpoint, calibrated=calibrated, network=network)
    return list(classify(trained, files, top=top))


def report(
    runs: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    output: str | PathLike[str] | None = None,
    network: NetworkSource | None = None,
) -> Path:
    """Write a report as one HTML file: of one run, or of several side by side.

    It shows what there is, also of a run that has not ended or was not measured, and never measures. Returns its path.

    Args:
        runs: a run or several; each a run folder or an experiment's name.
        output: the file; the default is `report.html` in the run folder, or `logs/report-RUN-RUN.html` for several.
        network: see `evaluate`; for the activation maps of a single run.
    """
    folders = unique_runs([runs] if isinstance(runs, (str, PathLike)) else runs)
    with _loading():
        from cifar100.results.report.page import write_report

    return write_report(folders, output=None if output is None else user_path(output), network=network)


def export(
    run: str | PathLike[str],
    *,
    format: Format = "onnx",  # noqa: A002  # the name of the option
    output: str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    int8: bool = False,
    int8_limit: float = 1.0,
    network: NetworkSource | None = None,
    data_root: str | PathLike[str] | None = None,
) -> Export:
    """Export a trained network to one file, and check it.

    `onnx`, `torch` (`torch.export`) and `torchscript` map images, uint8 (N, 3, H, W) of any size, to probabilities.
    `safetensors` holds the weights alone. The metadata hold the class names and the model card.

    Args:
        run: a run folder or an experiment's name.
        format: `onnx`, `torch`, `torchscript` (which PyTorch has deprecated) or `safetensors`.
        output: the file, which must not exist; the default is in `export/` of the run.
        checkpoint: `best`, `last` or a path.
        calibrated: see `load_model`.
        int8: quantize an ONNX file, calibrated on training images.
        int8_limit: accuracy on validation images that int8 may lose, in percentage points; if it loses more, nothing is
            written.
        network: see `evaluate`.
        data_root: another folder with the run's data, for the check; the default is the run's own.

    Raises:
        UserError: a package, the run or the place of the file cannot be used, or the export is too inaccurate.
    """
    folder = find_run_folder(run)
    with _loading():
        from cifar100.results.export.export import export

    return export(
        folder,
        format=format,
        output=None if output is None else user_path(output),
        checkpoint=checkpoint,
        calibrated=calibrated,
        int8=int8,
        int8_limit=int8_limit,
        network=network,
        data_root=None if data_root is None else user_path(data_root),
    )


def load_model(
    run: str | PathLike[str],
    *,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    network: NetworkSource | None = None,
) -> TrainedNetwork:
    """Load a trained network, to call with images.

    Returns a callable on the best device that works. It maps images, uint8 (N, 3, 32, 32), RGB, to probabilities,
    float32 (N, num_classes). The probabilities are on the device of the images.

    Args:
        run: a run folder or an experiment's name.
        checkpoint: `best`, `last` or a path.
        calibrated: divide the logits by the temperature that `evaluate(..., calibrate=True)` has fitted.
        network: see `evaluate`.
    """
    check_flag("calibrated", calibrated)
    with _loading():
        from cifar100.results.calibration import with_temperature
        from cifar100.runs.trained_network import load_trained

    folder = find_run_folder(run)
    trained = load_trained(folder, checkpoint, network=network)
    return with_temperature(trained, folder) if calibrated else trained


def list_runs() -> list[RunSummary]:
    """List the runs below `logs/` with their status."""
    from cifar100.runs.listing import list_runs

    return list_runs()


def list_recipes() -> list[dict[str, str]]:
    """List the recipes: name, purpose, measured time and accuracy."""
    from cifar100.settings import read_recipe, recipe_names

    return [{"name": name, **read_recipe(name).about} for name in recipe_names()]


def list_models() -> list[ModelFacts]:
    """List the networks: paper, size, measured speed and published accuracy."""
    from cifar100.models.facts import model_facts

    return model_facts()


def info(root: str | PathLike[str] = "dataset") -> dict[str, Any]:
    """Show versions, devices and the state of the data.

    Args:
        root: data folder to look at.
    """
    from cifar100.environment import describe_data, describe_devices, describe_versions

    return {"versions": describe_versions(), "devices": describe_devices(), "data": describe_data(user_path(root))}


def _exported(run: str | PathLike[str], given: Mapping[str, Any]) -> ExportedNetwork | None:
    """Load an exported file that a user has named in place of a run; None if it is a run.

    given: options that need a run, with whether they were given.
    """
    from cifar100.results.exported.onnx_network import exported_file, load_exported

    path = exported_file(run)
    if path is None:
        return None
    for name, is_given in given.items():
        if is_given:
            raise UserError(
                f"--{name.replace('_', '-')} needs a run, but {path} is an exported file; leave it out or give the run."
            )
    return load_exported(path)


def _loading() -> AbstractContextManager[None]:
    """On a terminal, say that PyTorch is being loaded, and erase the line afterwards."""
    return nullcontext() if "torch" in sys.modules else temporary_line("loading PyTorch ...")
