"""Export to ONNX: the graph with its weights and metadata in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cifar100.results.export.deployed import DeployedNetwork
from cifar100.results.export.torch_file import program, quiet
from cifar100.results.exported.extra import need
from cifar100.results.exported.onnx_network import INPUT, OUTPUT

if TYPE_CHECKING:
    from onnx import ModelProto

SIZES = ("batch", "height", "width")
"""Names of the dynamic dimensions of the images."""


def onnx_model(network: DeployedNetwork) -> ModelProto:
    """Return the ONNX model of a network, without metadata.

    Raises:
        UserError: a package is not installed.
    """
    need("onnx", "onnxscript", "onnxruntime", to="export to ONNX")
    exported = program(network)
    with quiet():
        converted = torch.onnx.export(
            exported, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False, external_data=False
        )
    assert converted is not None
    model: ModelProto = converted.model_proto
    _tidy(model)
    return model


def with_metadata(model: ModelProto, metadata: dict[str, str]) -> bytes:
    """Return the file of a model."""
    used = {node.domain for node in model.graph.node}
    needed = [entry for entry in model.opset_import if entry.domain in used]  # onnxruntime's quantization names more
    del model.opset_import[:]
    model.opset_import.extend(needed)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def _tidy(model: ModelProto) -> None:
    """Name the dynamic dimensions, and remove torch's notes, among them paths of source files."""
    graph = model.graph
    sides = [graph.input[0].type.tensor_type.shape.dim[axis] for axis in (0, 2, 3)]
    names = {side.dim_param: name for side, name in zip(sides, SIZES, strict=True)}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in names:
                dimension.dim_param = names[dimension.dim_param]
    for entry in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
