"""Layers from the input to the output."""

from __future__ import annotations

import pytest
import torch
from installed_timm import TINY, TINY_TRANSFORMER
from torch import nn

from cifar100.config import ModelConfig
from cifar100.models import build_model, networks
from cifar100.models.classifier import classifier_parameters
from cifar100.training.finetuning.layers import block_depths, stage_depths


def built(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(ModelConfig(name=name), 10)


def test_the_blocks_and_stages_of_a_resnet() -> None:
    blocks, stages = block_depths(built("resnet18")), stage_depths(built("resnet18"))
    assert blocks["conv1.weight"] == blocks["bn1.weight"] == 0
    names = ("layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1")
    assert [blocks[f"{name}.conv2.weight"] for name in names] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert blocks["layer2.0.downsample.1.weight"] == 3
    assert blocks["fc.weight"] == blocks["fc.bias"] == 9
    assert [stages[f"layer{stage}.1.bn2.bias"] for stage in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert (stages["conv1.weight"], stages["fc.weight"]) == (0, 5)


@pytest.mark.parametrize("name", networks())
def test_every_parameter_has_a_layer_and_the_classifier_is_the_last(name: str) -> None:
    network = built(name)
    classifier = classifier_parameters(network)
    for depths in (block_depths(network), stage_depths(network)):
        assert depths.keys() == {name for name, _ in network.named_parameters()}
        last = max(depths.values())
        assert {name for name, depth in depths.items() if depth == last} == classifier
        assert set(depths.values()) == set(range(last + 1))
        assert last > 0
    assert max(block_depths(network).values()) > 2


def test_a_classifier_inside_of_a_larger_block_is_a_layer_of_its_own() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(4, 4)
            self.out = nn.Linear(4, 2)

    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), Head())
    assert block_depths(network) == {
        **dict.fromkeys(("0.weight", "0.bias", "1.weight", "1.bias"), 0),
        **dict.fromkeys(("2.mix.weight", "2.mix.bias"), 1),
        **dict.fromkeys(("2.out.weight", "2.out.bias"), 2),
    }


@pytest.mark.parametrize("name", [TINY, TINY_TRANSFORMER])
def test_a_network_of_timm_says_what_its_layers_are(name: str) -> None:
    from installed_timm import skip_without_timm

    skip_without_timm()
    network = built(name)
    for depths in (block_depths(network), stage_depths(network)):
        last = max(depths.values())
        assert depths.keys() == {name for name, _ in network.named_parameters()}
        assert classifier_parameters(network) <= {name for name, depth in depths.items() if depth == last}
        assert last > 2
