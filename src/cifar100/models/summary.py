"""The layer table, the number of parameters and the multiply-adds of a network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def model_table(model: nn.Module, *, image_shape: Sequence[int] = (3, 32, 32), batch_size: int = 1) -> str:
    """Return torchinfo's table of the layers of `model`, with output shapes and parameters.

    Does not change the network or the random state. image_shape: channels, height and width.
    """
    return str(_statistics(model, image_shape, batch_size=batch_size))


def model_info(model: nn.Module, *, image_shape: Sequence[int] = (3, 32, 32)) -> str:
    """Return the table of layers, and the multiply-adds as `cifar100 models` counts them."""
    count = mult_adds(model, image_shape=image_shape)
    table = model_table(model, image_shape=image_shape)
    return f"{table}\nMult-adds of the convolutions and matrix products, one image: {count:,}"


def mult_adds(model: nn.Module, *, image_shape: Sequence[int] = (3, 32, 32)) -> int:
    """Return the multiply-adds of the convolutions and matrix products in a forward pass of one image.

    Counted by torch. torchinfo's total in `model_table` adds the parameters of normalisations (0.03 % in a ResNet-18),
    leaves out attention, and counts a linear layer once for all tokens of an image.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        _shapes_only(model).eval()(torch.empty(1, *image_shape, device="meta"))
    return int(counter.get_total_flops()) // 2


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def _statistics(model: nn.Module, image_shape: Sequence[int], *, batch_size: int) -> Any:
    """Run torchinfo on a copy.

    By default torchinfo moves the network to another device, sets the mode of all layers to that of the outermost, uses
    the global random state, and keeps the last network of each class alive. Only the copy is affected.
    """
    images = torch.empty(batch_size, *image_shape, device="meta")
    return torchinfo.summary(_shapes_only(model), input_data=images, device="meta", verbose=0)


def _shapes_only(model: nn.Module) -> nn.Module:
    """Return a copy on the meta device, where tensors have shapes but no values."""
    return copy.deepcopy(model).to("meta")
