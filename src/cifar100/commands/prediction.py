"""The commands that classify images: `predict`, also as a stream, and `load_model`."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar100.commands.loading import loading
from cifar100.config.arguments import check_flag
from cifar100.errors import UserError
from cifar100.runs.folder import find_run_folder

if TYPE_CHECKING:
    from cifar100.data.given_images import GivenImages
    from cifar100.models import NetworkSource
    from cifar100.results.exported.onnx_network import ExportedNetwork
    from cifar100.results.prediction.stream import Errors, Prediction, PredictionStream
    from cifar100.runs.trained_network import TrainedNetwork


def predict(
    run: str | PathLike[str],
    images: GivenImages,
    *,
    top: int = 5,
    probabilities: bool = False,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    network: NetworkSource | None = None,
    errors: Errors = "raise",
) -> list[Prediction]:
    """Classify images: files, folders, globs, URLs, arrays.

    Args:
        run: see `load_model`.
        images: one or several. Text and paths name an image file of any size, a folder (all image files below it), a
            glob or a URL; `-` is standard input. Or anything that the result of `load_model` takes.
        top: number of classes to return for each image, the most probable first.
        probabilities: also return the probability of every class.
        checkpoint: `best`, `last` or a path.
        calibrated: see `load_model`.
        network: see `evaluate`.
        errors: `raise` ends at the first image that cannot be read. `keep` returns a prediction without classes for it,
            whose `error` says why.

    Returns:
        A prediction for each image, in order.

    Raises:
        UserError: the run or an argument cannot be used, nothing is found, or an image cannot be read.
    """
    return list(
        predict_stream(
            run,
            images,
            top=top,
            probabilities=probabilities,
            checkpoint=checkpoint,
            calibrated=calibrated,
            network=network,
            errors=errors,
        )
    )


def predict_stream(
    run: str | PathLike[str],
    images: GivenImages,
    *,
    top: int = 5,
    probabilities: bool = False,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    network: NetworkSource | None = None,
    errors: Errors = "raise",
) -> PredictionStream:
    """Classify images one after another, in constant memory: an iterator over what `predict` returns.

    `images` may be an endless iterator. Takes the arguments of `predict`.

    Returns:
        The iterator. Its `total` is the number of images, or None if it is not known; its `info` describes the classes.

    Raises:
        UserError: as `predict`; for an image that cannot be read, when its turn has come.
    """
    from cifar100.results.prediction.inputs import find_images
    from cifar100.results.prediction.stream import PredictionStream, Wanted

    wanted = Wanted(top=top, probabilities=probabilities, errors=errors)
    found = find_images(images)  # a mistake is found before the network is loaded
    model = load_model(run, checkpoint=checkpoint, calibrated=calibrated, network=network)
    return PredictionStream(model, found, wanted)


def load_model(
    run: str | PathLike[str],
    *,
    checkpoint: str | PathLike[str] = "best",
    calibrated: bool = False,
    network: NetworkSource | None = None,
) -> TrainedNetwork | ExportedNetwork:
    """Load a trained network, to call with images: `load_model(run)(images)` are their probabilities.

    Images: one or several of any size, each a path, the content of an image file (bytes), a Pillow image, or pixels,
    uint8 (H, W, 3) or (3, H, W), RGB. A batch of pixels, uint8 (N, H, W, 3) or (N, 3, H, W), is one array or tensor. If
    both fit, the colours are in the last dimension. All are scaled as `predict` scales files; images of the network's
    size stay as they are.

    Result: float32 (N, num_classes), also for one image (N = 1), in the order of the images. The columns are the
    classes of `.info.class_names`. A tensor gives a tensor on its device, everything else a numpy array.

    Images are classified in batches of up to 256 while threads read the next ones. Memory does not grow with their
    number, beyond that of the result. Several threads may call it at the same time. It keeps no image and, once it is
    loaded, calls no other host. The first image that cannot be used raises a `UserError` that names it: its path, or
    its place, such as `images[3]`.

    Args:
        run: a run folder or experiment name. Or an exported file: .onnx, which needs no torch, or .safetensors. Or what
            `publish` has written: a folder, or `hf:USER/NAME`, whose .onnx file is downloaded.
        checkpoint: `best`, `last` or a path.
        calibrated: divide the logits by the temperature that `evaluate(..., calibrate=True)` has fitted.
        network: see `evaluate`.

    Returns:
        The network: of a run or a .safetensors file on the best device that works, of an .onnx file on the CPU.

    Raises:
        UserError: the run or the file cannot be used, or the run has no temperature for these weights.
    """
    check_flag("calibrated", calibrated)
    given = {"checkpoint": checkpoint != "best", "calibrated": calibrated}
    from cifar100.results.exported.onnx_network import weights_file

    if (weights := weights_file(run)) is not None:
        _refuse_options(given, weights)
        with loading():
            from cifar100.results.exported.safetensors_network import load_safetensors
        return load_safetensors(weights, network=network)
    if (exported := exported_network(run, {**given, "network": network})) is not None:
        return exported
    with loading():
        from cifar100.results.calibration import with_temperature
        from cifar100.runs.trained_network import load_trained

    folder = find_run_folder(run)
    trained = load_trained(folder, checkpoint, network=network)
    return with_temperature(trained, folder) if calibrated else trained


def exported_network(run: str | PathLike[str], given: Mapping[str, Any]) -> ExportedNetwork | None:
    """Load an exported file that a user has named instead of a run; None if it is a run.

    given: options that need a run, with whether they were given.
    """
    from cifar100.results.exported.onnx_network import exported_file, load_exported
    from cifar100.results.publishing.fetch import fetched

    path = exported_file(fetched(run))
    if path is None:
        return None
    _refuse_options(given, path)
    return load_exported(path)


def _refuse_options(given: Mapping[str, Any], path: Path) -> None:
    for name, is_given in given.items():
        if is_given:
            raise UserError(
                f"--{name.replace('_', '-')} needs a run, but {path} is an exported file; leave it out, or pass the "
                "run."
            )
