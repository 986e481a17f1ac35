"""The formats: how each is written, and how its file is run to check it."""

from __future__ import annotations

import io
from importlib import metadata as installed
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from cifar100.results.export.check import Classifier
from cifar100.results.export.deployed import DeployedNetwork
from cifar100.results.export.onnx_file import onnx_model, with_metadata
from cifar100.results.export.safetensors_file import safetensors_bytes, with_weights_from
from cifar100.results.export.torch_file import pt2_bytes, quiet, torchscript_bytes
from cifar100.results.exported.extra import need
from cifar100.results.exported.onnx_network import INPUT, open_session
from cifar100.runs.trained_network import TrainedNetwork

Format = Literal["onnx", "torch", "torchscript", "safetensors"]
FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2", "torchscript": ".pt", "safetensors": ".safetensors"}


def check_packages(format: Format) -> None:  # noqa: A002  # the name of the option
    """Check that the packages of a format are installed, before anything slow.

    Raises:
        UserError: one is missing.
    """
    if format == "onnx":
        need("onnx", "onnxruntime", "onnxscript", to="export to ONNX")
    elif format == "safetensors":
        need("safetensors", to="write a safetensors file")


def file_content(trained: TrainedNetwork, format: Format, metadata: dict[str, str]) -> bytes:  # noqa: A002
    """Return the file of a network, in float32.

    Args:
        trained: on the CPU.
        format: its format.
        metadata: texts by key.
    """
    if format == "safetensors":
        return safetensors_bytes(trained.network, metadata)
    deployed = DeployedNetwork(trained)
    if format == "onnx":
        return with_metadata(onnx_model(deployed), metadata)
    return (pt2_bytes if format == "torch" else torchscript_bytes)(deployed, metadata)


def opened(content: bytes, trained: TrainedNetwork, format: Format) -> Classifier:  # noqa: A002
    """Return what maps images to probabilities with nothing but a file, and the network's code for safetensors."""
    if format == "onnx":
        return run_by_onnxruntime(content)
    if format == "safetensors":
        network: torch.nn.Module = DeployedNetwork(trained)
        network.network = with_weights_from(content, trained.network)
    elif format == "torch":
        with quiet():
            network = torch.export.load(io.BytesIO(content)).module()
    else:
        with quiet():
            network = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = network(torch.from_numpy(images)).numpy()
        return probabilities

    return classify


def run_by_onnxruntime(content: bytes) -> Classifier:
    """Return what maps images to probabilities with an ONNX file."""
    session = open_session(content)

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = session.run(None, {INPUT: np.ascontiguousarray(images)})[0]
        return probabilities

    return classify


def runtime(format: Format) -> str:  # noqa: A002
    """Return the package that runs a format, with its version."""
    package = "onnxruntime" if format == "onnx" else "torch"
    return f"{package} {installed.version(package)}"
