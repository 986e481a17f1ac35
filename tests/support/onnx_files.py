"""Small ONNX files made by hand, sound and hostile: the mean colour of an image is its three probabilities."""

from __future__ import annotations

from typing import Any

from exportable_runs import with_classes
from onnx import ModelProto, NodeProto, TensorProto, helper
from trained_networks import INFO

from cifar100.results.exported.facts import KEY, Facts

NODES = (
    helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
    helper.make_node("GlobalAveragePool", ["float"], ["mean"]),
    helper.make_node("Flatten", ["mean"], ["flat"]),
    helper.make_node("Softmax", ["flat"], ["probabilities"]),
)


def facts(**changes: Any) -> Facts:
    return Facts(
        **{
            "info": with_classes(INFO, "red", "green", "blue"),
            "run": "x",
            "network": "Mean",
            "model_settings": {},
            "num_parameters": 0,
            "checkpoint": "best.ckpt",
            "epoch": 1,
            "averaged": False,
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "temperature": 1.0,
            "precision": "float32",
            "versions": {},
            "accuracies": {},
            **changes,
        }
    )


def model(*nodes: NodeProto, metadata: dict[str, str] | None = None, num_classes: int = 3) -> ModelProto:
    """Return a model with the signature of an exported one; without nodes, the mean colour."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, "height", "width"])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", num_classes])
    graph = helper.make_graph(list(nodes or NODES), "test", [images], [output])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(made, {KEY: facts().to_json()} if metadata is None else metadata)
    return made
