"""Where a network looked: Grad-CAM.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cifar100.errors import UserError
from cifar100.foreign_text import reason
from cifar100.models import NetworkSource
from cifar100.results.report.facts import RunFacts
from cifar100.results.report.measured import Measured, measured_checkpoint
from cifar100.runs.advice import how_to_evaluate
from cifar100.runs.trained_network import TrainedNetwork, load_trained

MIN_SIDE = 4
"""Positions on each side of a layer's output; fewer say hardly where in the image. The last layer of a network for
224x224 images has a single one for 32x32."""


@dataclass(frozen=True, kw_only=True)
class ActivationMaps:
    """How much each position of some images mattered for a class."""

    maps: NDArray[np.float32]
    """(N, H, W), 0 to 1; the maximum of each image is 1, or 0 if nothing counted for the class."""

    layer: str
    """The layer whose output was weighted."""

    size: tuple[int, int]
    """Height and width of its output."""


def evaluated_network(facts: RunFacts, measured: Measured, network: NetworkSource | None) -> TrainedNetwork:
    """Return the network with the weights that were measured.

    Raises:
        UserError: they are missing, or the run has others now; or as `load_trained`.
    """
    trained = load_trained(facts.run, measured_checkpoint(facts, measured), network=network)
    if change := measured.change(trained.weights):
        again = how_to_evaluate(facts.run, split=measured.split, checkpoint=trained.checkpoint)
        raise UserError(f"{trained.checkpoint} {change}; measure again: {again}")
    return trained


def activation_maps(trained: TrainedNetwork, images: NDArray[np.uint8], classes: NDArray[np.int64]) -> ActivationMaps:
    """Return the Grad-CAM maps of images for one class each.

    Args:
        trained: the network.
        images: uint8 (N, 3, H, W).
        classes: int64 (N,).

    Raises:
        UserError: the network has no layer with positions, or the library cannot map it.
    """
    from captum.attr import LayerAttribution, LayerGradCam  # takes a second to import

    batch = trained.normalized(torch.from_numpy(images))
    name, layer, size = find_layer(trained.network, batch[:1])
    try:
        grad_cam = LayerGradCam(trained.network, layer)
        targets = torch.from_numpy(classes).to(batch.device)
        weighted = grad_cam.attribute(batch.requires_grad_(), target=targets, relu_attributions=True)
        maps = LayerAttribution.interpolate(weighted.detach().float(), images.shape[2:], "bilinear")[:, 0]
    except Exception as error:  # of custom networks; captum and torch raise many kinds
        raise UserError(f"captum cannot map {type(trained.network).__name__} ({reason(error)}).") from error
    maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    return ActivationMaps(maps=maps.cpu().numpy(), layer=name, size=size)


def find_layer(network: nn.Module, image: Tensor) -> tuple[str, nn.Module, tuple[int, int]]:
    """Return name, module and size of the last layer whose output has at least `MIN_SIDE` positions on each side.

    image: float (1, 3, H, W).

    Raises:
        UserError: there is none.
    """
    found: list[tuple[str, nn.Module, tuple[int, int]]] = []

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and _has_positions(output, image):
                found.append((name, module, (output.shape[2], output.shape[3])))

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError(f"{type(network).__name__} has no layer with {MIN_SIDE} x {MIN_SIDE} positions or more.")
    return found[-1]


def _has_positions(output: Tensor, image: Tensor) -> bool:
    """Return whether an output is (1, C, H, W) with enough positions.

    The positions of a square image form a square. The vectors of attention, (1, heads, tokens, D), and outputs with the
    channels last, (1, H, W, C), do not.
    """
    if output.ndim != 4 or len(output) != len(image) or min(output.shape[2:]) < MIN_SIDE:
        return False
    return output.shape[2] == output.shape[3] or image.shape[2] != image.shape[3]
