"""The commands that measure and export trained networks: `evaluate`, `report`, `compare`, `export`."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cifar100.commands.loading import loading
from cifar100.commands.prediction import exported_network
from cifar100.config.arguments import check_flag, run_arguments
from cifar100.files.user_paths import user_path
from cifar100.runs.folder import find_run_folder, unique_runs
from cifar100.settings import load_config
from cifar100.terminal import temporary_line

if TYPE_CHECKING:
    from cifar100.models import NetworkSource
    from cifar100.results.comparison.result import Comparison
    from cifar100.results.evaluate import Evaluation
    from cifar100.results.export.formats import Format
    from cifar100.results.export.result import Export


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
        run: a run folder or experiment name. Or an exported .onnx file, a folder written by `publish` or
            `hf:USER/NAME`: these are measured on the test images of `data_root` (default: `dataset`) without further
            options; nothing is saved.
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

    Returns:
        Every figure with its 95 % interval and its number of images. Accuracies are fractions, losses are in nats.

    Raises:
        UserError: the run or its data are missing, damaged or have changed, or an option does not fit them.
    """
    check_flag("fair", fair)
    check_flag("corrected", corrected)
    given = {
        **{"split": split != "test", "checkpoint": checkpoint != "best", "flip_tta": flip_tta, "calibrate": calibrate},
        **{"fair": fair, "duplicates": duplicates, "corrected": corrected, "label_errors": label_errors},
        **{"corruptions": corruptions, "network": network},
    }
    if (exported := exported_network(run, given)) is not None:
        with loading():
            from cifar100.results.exported.evaluate import evaluate_exported
        return evaluate_exported(exported, data_root=user_path(data_root or load_config().data.root))
    with loading():
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


def report(
    runs: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    output: str | PathLike[str] | None = None,
    network: NetworkSource | None = None,
) -> Path:
    """Write a report of one run, or of several, as one HTML file.

    It shows what exists, also for a run that is not finished or not measured, and measures nothing.

    Args:
        runs: a run or several; each a run folder or experiment name.
        output: the file; the default is `report.html` in the run folder, or `logs/report-RUN-RUN.html` for several.
        network: see `evaluate`; for the activation maps of a single run.

    Returns:
        The path of the file.

    Raises:
        UserError: a run does not exist or a file of it is damaged, or the report cannot be written.
    """
    folders = unique_runs(run_arguments([runs] if isinstance(runs, (str, PathLike)) else runs))
    with loading():
        from cifar100.results.report.page import write_report

    return write_report(folders, output=None if output is None else user_path(output), network=network)


def compare(runs: Iterable[str | PathLike[str]], *, split: Literal["test", "validation"] = "test") -> Comparison:
    """Compare evaluated runs: which is better, and by more than chance?

    Reads what `evaluate` has saved, and measures nothing again.

    Args:
        runs: at least two run folders or experiment names; the first is the reference of the others. Runs that differ
            only in the seed are also compared as groups.
        split: `test` or `validation`; choose between runs on `validation`.

    Returns:
        The runs, the groups, and the differences with their 95 % intervals and p-values. Accuracies are fractions.

    Raises:
        UserError: a run was not evaluated on these images, or the runs were evaluated on different ones.
    """
    folders = [find_run_folder(run, may_be_ensemble=True) for run in run_arguments(runs)]
    with temporary_line("comparing ..."):
        from cifar100.results.comparison.compare import compare

        return compare(folders, split=split)


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
        run: a run folder or experiment name.
        format: `onnx`, `torch`, `torchscript` (which PyTorch has deprecated) or `safetensors`.
        output: the file, which must not exist; the default is in `export/` of the run.
        checkpoint: `best`, `last` or a path.
        calibrated: see `load_model`.
        int8: quantize an ONNX file, calibrated on training images.
        int8_limit: accuracy on validation images that int8 may lose, in percentage points; if it loses more, nothing is
            written.
        network: see `evaluate`.
        data_root: another folder with the run's data, for the check; the default is the run's own.

    Returns:
        The file, its difference from the network, and its times in milliseconds.

    Raises:
        UserError: a package, the run or the place of the file cannot be used, or the export is too inaccurate.
    """
    folder = find_run_folder(run)
    with loading():
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
