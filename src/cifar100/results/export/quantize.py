"""Static quantization of an ONNX model to int8, calibrated on images (Jacob et al., 2018, arXiv:1712.05877)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cifar100.results.export.torch_file import quiet
from cifar100.results.exported.onnx_network import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto

NUM_IMAGES = 512
"""Training images that set the ranges of the activations."""

_BATCH_SIZE = 64

_TYPES = ("Conv", "Gemm", "MatMul", "Add", "MaxPool", "GlobalAveragePool", "ReduceMean")
"""Operators that gain from int8; the others compute in float32 between them."""


def quantized(model: ModelProto, images: NDArray[np.uint8]) -> ModelProto:
    """Return a model whose convolutions and linear layers compute in int8; resizing and softmax stay in float32.

    Weights have a scale for each output channel, activations one for each tensor: the range over the images.

    Args:
        model: maps images to probabilities.
        images: training images, uint8 (N, 3, S, S).
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder, quiet():
        original, prepared, result = (Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        onnx.save(model, original)
        quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)  # folds batch normalisation
        quantize_static(
            str(prepared),
            str(result),
            _reader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=_nodes_of_the_network(onnx.load(prepared)),
        )
        return onnx.load(result)


def _nodes_of_the_network(model: ModelProto) -> list[str]:
    """Return the names of the nodes to quantize: from the first convolution on, so that resizing stays exact."""
    follows: set[str] = set()
    names = []
    for node in model.graph.node:  # in topological order
        if node.op_type == "Conv" or follows & set(node.input):
            follows |= set(node.output)
            if node.op_type in _TYPES:
                names.append(node.name)
    return names


def _reader(images: NDArray[np.uint8]) -> Any:
    """Return what onnxruntime reads the calibration images from."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """Yields the images in batches; None at the end."""

        def __init__(self) -> None:
            self.batches: Iterator[NDArray[np.uint8]] = iter(
                np.split(images, range(_BATCH_SIZE, len(images), _BATCH_SIZE))
            )

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            """Return the next batch as the inputs of the model."""
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: np.ascontiguousarray(batch)}

    return Reader()
