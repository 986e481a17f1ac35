"""The layer table, the size and the operations of a network."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torchinfo
from torch import nn


def model_table(model: nn.Module, *, image_size: int = 32, batch_size: int = 1) -> str:
    """Return torchinfo's table of the layers of `model`, their output shapes and parameters.

    The network does not change: weights, device, training mode, batch-norm statistics and the random state.
    """
    return str(_statistics(model, image_size=image_size, batch_size=batch_size))


def mult_adds(model: nn.Module, *, image_size: int = 32) -> int:
    """Return the multiply-and-adds of a forward pass of one image, as torchinfo counts them."""
    return int(_statistics(model, image_size=image_size, batch_size=1).total_mult_adds)


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def _statistics(model: nn.Module, *, image_size: int, batch_size: int) -> Any:
    """Run torchinfo on a copy on the meta device.

    torchinfo moves a network to another device unless told, puts all layers in the mode of the outermost, draws its
    input from the global random state, and keeps the last network of each class alive. None of it matters to the copy.
    """
    shapes_only = copy.deepcopy(model).to("meta")
    images = torch.empty(batch_size, 3, image_size, image_size, device="meta")
    return torchinfo.summary(shapes_only, input_data=images, device="meta", verbose=0)
