"""Export a run's network to one file, check it against the network, and time it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from cifar100.config.arguments import check_choice, check_flag
from cifar100.config.shown_values import shown_setting
from cifar100.data.folder.splits import load_split
from cifar100.errors import UserError
from cifar100.files.atomic import what_to_do, write_atomically
from cifar100.foreign_text import reason
from cifar100.models import NetworkSource
from cifar100.process.processors import usable_processors
from cifar100.results.calibration import with_temperature
from cifar100.results.evaluation_data import images_of
from cifar100.results.export import check
from cifar100.results.export.card import facts_of, model_card
from cifar100.results.export.deployed import DeployedNetwork
from cifar100.results.export.formats import (
    FORMATS,
    SUFFIXES,
    Format,
    check_packages,
    file_content,
    opened,
    run_by_onnxruntime,
    runtime,
)
from cifar100.results.export.onnx_file import onnx_model, with_metadata
from cifar100.results.export.quantize import NUM_IMAGES, quantized
from cifar100.results.export.result import Export, Int8Accuracy
from cifar100.results.exported.facts import CARD_KEY, KEY, Precision
from cifar100.runs.folder import RunFolder
from cifar100.runs.trained_network import TrainedNetwork, load_trained
from cifar100.terminal import temporary_line

MAX_DIFFERENCE = 1e-4
"""Of a probability in float32. Sums in another order give about 1e-6."""

INT8_LIMIT = 1.0
"""Accuracy on validation images that int8 may lose, in percentage points."""


def export(
    run: RunFolder,
    *,
    format: Format = "onnx",  # noqa: A002  # the name of the option
    output: Path | None = None,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    int8: bool = False,
    int8_limit: float = INT8_LIMIT,
    network: NetworkSource | None = None,
    data_root: Path | None = None,
) -> Export:
    """Export a run's network. The file is written last, complete or not at all.

    Args:
        run: the run folder.
        format: one of `FORMATS`.
        output: the file; None: in `export/` of the run.
        checkpoint: `best`, `last` or a path.
        calibrated: divide the logits by the run's temperature.
        int8: quantize; for `onnx`.
        int8_limit: accuracy on validation images that this may lose, in percentage points.
        network: see `load_trained`.
        data_root: data folder with the run's training images; None: that of the run.

    Raises:
        UserError: the run, a package or the place of the file cannot be used, or the export is too inaccurate.
    """
    _check_options(format, calibrated=calibrated, int8=int8, int8_limit=int8_limit)
    path = output or run.path / "export" / f"model{'-int8' if int8 else ''}{SUFFIXES[format]}"
    check_place(path, format)
    check_packages(format)
    trained = load_trained(run, checkpoint, network=network, device=torch.device("cpu"))
    as_nchw: dict[str, Any] = {"memory_format": torch.contiguous_format}  # a keyword that older torch's types lack
    trained.network.to(**as_nchw)
    if calibrated:
        trained = with_temperature(trained, run)
    precision: Precision = "int8" if int8 else "float32"
    facts = facts_of(trained, run, precision=precision)
    metadata = {KEY: facts.to_json(), CARD_KEY: model_card(facts)}
    images = check.check_images(trained, run, data_root=data_root)
    accuracies = None
    with temporary_line(f"exporting to {format} ..."), _naming_a_custom_network(trained, format, network):
        if int8:
            content, accuracies = _quantized(trained, run, metadata, limit=int8_limit, data_root=data_root)
        else:
            content = file_content(trained, format, metadata)
    with temporary_line("checking the export ..."):
        result = _checked(content, trained, images, path=path, format=format, precision=precision, int8=accuracies)
    _write(path, content)
    return result


def check_place(path: Path, format: Format) -> None:  # noqa: A002
    """Refuse a file that exists, that has the suffix of something else, or that cannot be written.

    Raises:
        UserError: says where to write instead.
    """
    if path.suffix.lower() != SUFFIXES[format]:
        raise UserError(f"--output is {path}, expected a name that ends in {SUFFIXES[format]} for --format {format}.")
    if os.path.lexists(path):
        raise UserError(f"{path} already exists and is never overwritten; remove it, or choose another --output.")
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    number = errno.ENOTDIR if not folder.is_dir() else errno.EACCES
    if number == errno.ENOTDIR or not os.access(folder, os.W_OK | os.X_OK):
        error = OSError(number, os.strerror(number))
        raise UserError(
            f"{path} cannot be written ({folder}: {error.strerror}); {what_to_do(error)}, or choose another --output."
        )


def _check_options(format: str, *, calibrated: bool, int8: bool, int8_limit: float) -> None:  # noqa: A002
    check_choice("format", format, FORMATS)
    check_flag("calibrated", calibrated)
    check_flag("int8", int8)
    if int8 and format != "onnx":
        raise UserError(f"--int8 is for --format onnx, not {format}; leave one of them out.")
    if not int8 and int8_limit != INT8_LIMIT:
        raise UserError("--int8-limit has no effect without --int8; add --int8 or leave it out.")
    is_number = isinstance(int8_limit, (int, float)) and not isinstance(int8_limit, bool)
    if not is_number or not 0 <= int8_limit <= 100:
        raise UserError(f"--int8-limit is {shown_setting(int8_limit)}, but it must be from 0 to 100 percentage points.")


@contextmanager
def _naming_a_custom_network(
    trained: TrainedNetwork,
    format: Format,  # noqa: A002
    network: NetworkSource | None,
) -> Iterator[None]:
    """Turn any failure to export a network from Python into a `UserError`. Those of this program have no excuse."""
    try:
        yield
    except Exception as error:
        if network is None or isinstance(error, UserError):
            raise
        raise UserError(
            f"network={type(trained.network).__name__} cannot be exported to {format} ({reason(error)}); choose "
            "another --format, or write its forward method without Python conditions on tensors."
        ) from error


def _quantized(
    trained: TrainedNetwork, run: RunFolder, metadata: dict[str, str], *, limit: float, data_root: Path | None
) -> tuple[bytes, Int8Accuracy]:
    """Return the file in int8 with the accuracies; refuse it if int8 loses more than `limit` percentage points."""
    if len(load_split(run.split).validation) == 0:
        raise UserError(
            f"{run.path} was trained on all training images, but --int8 measures the loss of accuracy on validation "
            "images; leave it out."
        )
    images, labels, _ = images_of(trained, run, split="validation", data_root=data_root)
    calibration = images_of(trained, run, split="train", data_root=data_root, most=NUM_IMAGES)[0]
    model = onnx_model(DeployedNetwork(trained))
    exact = run_by_onnxruntime(with_metadata(model, metadata))
    content = with_metadata(quantized(model, calibration), metadata)
    accuracies = Int8Accuracy(
        float32=check.accuracy(exact, images, labels),
        int8=check.accuracy(run_by_onnxruntime(content), images, labels),
        num_images=len(labels),
    )
    if accuracies.lost_points > limit:
        raise UserError(
            f"int8 loses {accuracies.lost_points:.2f} points of accuracy on {len(labels):,} validation images "
            f"({accuracies.int8:.2%} instead of {accuracies.float32:.2%}), expected at most {limit:g}; nothing was "
            "written. Export without --int8, or allow more with --int8-limit."
        )
    return content, accuracies


def _checked(
    content: bytes,
    trained: TrainedNetwork,
    images: check.CheckImages,
    *,
    path: Path,
    format: Format,  # noqa: A002
    precision: Precision,
    int8: Int8Accuracy | None,
) -> Export:
    """Run a file and compare it with the network; refuse one in float32 that differs."""
    exported = opened(content, trained, format)
    network = trained.probabilities
    difference = check.largest_difference(exported, network, images.images)
    if precision == "float32" and difference > MAX_DIFFERENCE:
        raise UserError(
            f"the export differs from the network by {difference:.2g} in a probability, expected at most "
            f"{MAX_DIFFERENCE:g}; nothing was written. Choose another --format."
        )
    of_other_sizes = None
    if format != "safetensors":
        of_other_sizes = check.largest_difference_of_other_sizes(exported, network, images.images)
    return Export(
        path=path,
        format=format,
        precision=precision,
        num_bytes=len(content),
        largest_difference=difference,
        difference_of_other_sizes=of_other_sizes,
        compared_on=images.description,
        int8_accuracy=int8,
        milliseconds_single=check.milliseconds(exported, images.images, batch_size=1),
        milliseconds_batch=check.milliseconds(exported, images.images, batch_size=check.BATCH_SIZE),
        batch_size=check.BATCH_SIZE,
        runtime=runtime(format),
        num_threads=usable_processors() if format == "onnx" else torch.get_num_threads(),
    )


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); {what_to_do(error)}, or choose another --output."
        ) from error
