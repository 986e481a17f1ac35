"""Look at an ONNX file before onnxruntime does: no other files, no endless loops, no code of others.

An ONNX file is a program. These checks keep it from reading files and from endless loops. They do not bound the
memory of its operators: run files from sources that you trust.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cifar100.errors import UserError
from cifar100.files.regular import read_bytes
from cifar100.foreign_text import printable, reason

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

MAX_FILE_BYTES = 2**30
"""Of an ONNX file: 250 million parameters in float32."""

DOMAINS = {"", "ai.onnx"}
"""Of the standard operators. Quantized networks of this program need no others."""

CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}


def read_onnx(path: Path) -> tuple[bytes, ModelProto]:
    """Return the content of an ONNX file and what it parses to.

    Raises:
        UserError: it cannot be read, is too large, is no ONNX file, or could do more than compute.
    """
    import onnx

    try:
        content = read_bytes(path, limit=MAX_FILE_BYTES)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); pass an exported .onnx file.") from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's and onnx's own errors have no common class
        raise UserError(f"{path} is not an ONNX file, or is damaged; export it again: cifar100 export RUN") from error
    problem = next(_problems(model), None)
    if problem is not None:
        raise UserError(f"{path} {problem}, which an exported network never does, so it was not run.")
    return content, model


def metadata(model: ModelProto) -> dict[str, str]:
    """Return the metadata of a model."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _problems(model: ModelProto) -> Iterator[str]:
    """Yield what a model contains that an exported network does not, as the end of a sentence."""
    if len(model.functions):
        yield "defines functions"
    for domain in (entry.domain for entry in model.opset_import):
        if domain not in DOMAINS:
            yield f"uses operators of the domain {printable(domain, max_length=40)!r}"
    yield from _problems_of(model.graph)


def _problems_of(graph: GraphProto) -> Iterator[str]:
    yield from map(_external, _external_tensors(graph))
    for node in graph.node:
        if node.domain not in DOMAINS:
            yield f"uses operators of the domain {printable(node.domain, max_length=40)!r}"
        if node.op_type in CONTROL_FLOW or any(part.HasField("g") or len(part.graphs) for part in node.attribute):
            yield f"contains control flow ({printable(node.op_type, max_length=40)})"


def _external_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield the tensors whose values are in another file."""
    from onnx import TensorProto

    tensors = [*graph.initializer]
    for sparse in graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        tensors += [attribute.t, *attribute.tensors, attribute.sparse_tensor.values, attribute.sparse_tensor.indices]
        tensors += [part for sparse in attribute.sparse_tensors for part in (sparse.values, sparse.indices)]
    yield from (tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data)


def _external(tensor: TensorProto) -> str:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return f"reads values from another file ({printable(location, max_length=80)!r})"
