"""The networks, by name.

A network maps images, float (N, 3, H, W) and normalised, to logits (N, num_classes). One that needs training images to
set its first weights has a method `init_from_images(images)`, to be called once before training, on images as the
network will see them; after that all it knows is in its state dict, like any other network's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models.fast_net import FastNet
from cifar100.models.resnet import BasicBlock, Bottleneck, ResNet
from cifar100.models.wide_resnet import WideResNet

MODELS: dict[str, Callable[[ModelConfig, int], nn.Module]] = {
    "resnet18": lambda config, num_classes: ResNet(
        BasicBlock, (2, 2, 2, 2), num_classes=num_classes, stem=config.stem or "cifar"
    ),
    "resnet34": lambda config, num_classes: ResNet(
        BasicBlock, (3, 4, 6, 3), num_classes=num_classes, stem=config.stem or "cifar"
    ),
    "resnet50": lambda config, num_classes: ResNet(
        Bottleneck, (3, 4, 6, 3), num_classes=num_classes, stem=config.stem or "cifar"
    ),
    "wide_resnet28_10": lambda config, num_classes: WideResNet(depth=28, widen_factor=10, num_classes=num_classes),
    "fast_net": lambda config, num_classes: FastNet(config.widths or (64, 256, 256), num_classes=num_classes),
}
"""Name -> constructor, which takes the settings and the number of classes."""


def build_model(config: ModelConfig, num_classes: int) -> nn.Module:
    """Build the network that `config` names, its weights drawn from torch's global random state."""
    return MODELS[config.name](config, num_classes)


def use_channels_last(network: nn.Module) -> None:
    """Move the weights of the convolutions to the (N, H, W, C) memory layout, in place; the outputs follow."""
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
