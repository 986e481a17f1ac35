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
from cifar100.models.residual import set_stochastic_depth
from cifar100.models.resnet import BasicBlock, Bottleneck, ResNet
from cifar100.models.wide_resnet import WideResNet

MODELS: dict[str, Callable[[ModelConfig, int], nn.Module]] = {
    "resnet18": lambda config, num_classes: _resnet(BasicBlock, (2, 2, 2, 2), config, num_classes),
    "resnet34": lambda config, num_classes: _resnet(BasicBlock, (3, 4, 6, 3), config, num_classes),
    "resnet50": lambda config, num_classes: _resnet(Bottleneck, (3, 4, 6, 3), config, num_classes),
    "wide_resnet28_10": lambda config, num_classes: WideResNet(depth=28, widen_factor=10, num_classes=num_classes),
    "fast_net": lambda config, num_classes: FastNet(config.widths or (64, 256, 256), num_classes=num_classes),
}
"""Name -> constructor, which takes the settings and the number of classes."""


def build_model(config: ModelConfig, num_classes: int) -> nn.Module:
    """Build the network that `config` names, its weights drawn from torch's global random state."""
    network = MODELS[config.name](config, num_classes)
    if config.stochastic_depth:
        set_stochastic_depth(network, config.stochastic_depth)
    return network


def _resnet(
    block: type[BasicBlock | Bottleneck],
    blocks_per_stage: tuple[int, int, int, int],
    config: ModelConfig,
    num_classes: int,
) -> ResNet:
    stem, shortcut = config.stem or "cifar", config.shortcut or "projection"
    return ResNet(block, blocks_per_stage, num_classes=num_classes, stem=stem, shortcut=shortcut)


def use_channels_last(network: nn.Module) -> None:
    """Move the weights of the convolutions to the (N, H, W, C) memory layout, in place; the outputs follow."""
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
